"""A body is counted before it is parsed: exactly, and in slices."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.parsing import IMPORTED, read_object
from services.api.shapes import Shape, may_exceed, shape_of
from shared.errors import InvalidRequest
from tests.fakes.api.world import FakeWorld, client_of
from tests.support.stalls import stalled

SESSIONS = "/api/chat/sessions/"
ENDLESS = Shape(2**60, 2**60)
_texts = st.text(st.sampled_from('[]{},:"\\ab\n')) | st.text(st.characters(codec="utf-8"))
_json = st.recursive(
    _texts | st.integers(-(2**63), 2**63) | st.booleans() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(_texts, inner),
    max_leaves=30,
)


def counted(value: Any) -> Shape:  # noqa: ANN401 - any JSON
    """As a parser would have made them."""
    if isinstance(value, dict):
        parts = [counted(it) for it in value.values()]
        names = max(2 * len(value) - 1, 0)
    elif isinstance(value, list):
        parts = [counted(it) for it in value]
        names = max(len(value) - 1, 0)
    else:
        return Shape()
    return Shape(1 + sum(it.containers for it in parts), 1 + names + sum(it.items for it in parts))


@given(value=_json, cut=st.integers(1, 7))
def test_what_is_counted_is_what_a_parser_makes_however_it_is_cut(value: object, cut: int) -> None:
    for text in (orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_INDENT_2)):
        blocks = [text[at : at + cut] for at in range(0, len(text), cut)]
        assert shape_of(blocks, ENDLESS) == counted(value)
        assert shape_of([text], ENDLESS) == counted(value)


@given(value=_json)
def test_what_need_not_be_counted_is_within_bounds(value: object) -> None:
    text = orjson.dumps(value)
    shape = counted(value)
    for most in (Shape(shape.containers, shape.items - 1), Shape(shape.containers - 1, 2**60)):
        assert may_exceed(text, most)


HOSTILE = {
    "lists": b"[],",
    "objects": b"{},",
    "numbers": b"0,",
    "texts": b'"",',
    "half lists": b"[",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
async def test_no_file_of_millions_of_pieces_is_parsed(piece: bytes) -> None:
    file = b'{"messages":[' + piece * (8 * 2**20 // len(piece)) + b"0]}"
    async with client_of(FakeWorld()) as client:
        seen = await stalled(client.post(f"{SESSIONS}import/", content=file))
    message = seen.outcome.json()["error"]["message"]
    assert seen.outcome.status_code == 400
    # And not that it is no JSON: nobody has looked.
    assert message.startswith("The body holds more than ")


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_no_request_of_too_many_pieces_is_parsed(piece: bytes) -> None:
    body = b'{"messages":[' + piece * 500_001 + b"0]}"
    with pytest.raises(InvalidRequest, match="holds more than"):
        read_object(body)


def test_signs_in_texts_are_no_pieces() -> None:
    said = '[{,:\\"' * 100_000
    file = orjson.dumps({"messages": [said]})
    assert may_exceed(file, Shape(50_000, 500_000))
    assert read_object(file) == {"messages": [said]}
    assert shape_of([file], IMPORTED) == Shape(2, 3)


async def test_others_have_their_turns_while_a_file_is_counted() -> None:
    file = orjson.dumps({"messages": ['[{,:\\"' * 6_000_000, [""] * 700_000]})
    seen = await stalled(asyncio.to_thread(shape_of, [file], IMPORTED))
    assert seen.outcome.items > 700_000
    # All of it in one slice: a third.
    assert seen.share < 0.2
