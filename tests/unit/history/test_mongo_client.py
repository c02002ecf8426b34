"""Which errors of the driver speak of the document, and which of the database."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)

from services.history.adapters.mongo_client import border
from services.history.ports import RefusedByStore, TooLargeForStore
from shared.errors import HistoryUnavailable

BAD_VALUE, DUPLICATE, NOT_PRIMARY, TOO_LARGE = 2, 11000, 10107, 10334


def bulk(*codes: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": 0, "code": code} for code in codes]})


@pytest.mark.parametrize(
    "error",
    [DocumentTooLarge("17 MB"), OperationFailure("no", BAD_VALUE), bulk(DUPLICATE, BAD_VALUE)],
)
def test_a_document_that_is_refused_for_ever_is_not_waited_for(error: PyMongoError) -> None:
    with pytest.raises(RefusedByStore), border():
        raise error


@pytest.mark.parametrize(
    "error",
    [DocumentTooLarge("17 MB"), OperationFailure("no", TOO_LARGE), bulk(DUPLICATE, TOO_LARGE)],
)
def test_a_document_that_is_refused_for_its_size_is_told_apart(error: PyMongoError) -> None:
    with pytest.raises(TooLargeForStore), border():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        OperationFailure("no", NOT_PRIMARY),
        DuplicateKeyError("raced", DUPLICATE),
        bulk(DUPLICATE),
        bulk(),
    ],
)
def test_whatever_may_pass_is_waited_for(error: PyMongoError) -> None:
    with pytest.raises(HistoryUnavailable), border():
        raise error
