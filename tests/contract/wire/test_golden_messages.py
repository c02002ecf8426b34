"""Wire messages written once and read for ever: a renamed field fails here, not in production."""

from pathlib import Path
from types import NoneType
from typing import get_args

import pytest

import shared.contracts.history  # noqa: F401 - its models are checked too
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.presets import Preset
from shared.contracts.wire import WireModel
from shared.contracts.workers import EngineRelisted, WorkerAnnouncement

GOLDEN = Path(__file__).parent / "golden"
MODELS: dict[str, type[WireModel]] = {
    "run_completion": RunCompletion,
    "accepted": CompletionAccepted,
    "completed": CompletionCompleted,
    "worker": WorkerAnnouncement,
    "relisted": EngineRelisted,
    "preset": Preset,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_message_of_the_first_version_is_still_read_and_written_alike(name: str) -> None:
    data = (GOLDEN / f"{name}.json").read_bytes().strip()

    message = MODELS[name].from_bytes(data)

    assert MODELS[name].from_bytes(message.to_bytes()) == message
    assert message.to_bytes() == data


@pytest.mark.parametrize("name", MODELS)
def test_fields_of_a_newer_version_are_ignored(name: str) -> None:
    data = (GOLDEN / f"{name}.json").read_bytes().strip()
    newer = data[:-1] + b',"a_field_of_tomorrow":[1,{"x":null}]}'

    assert MODELS[name].from_bytes(newer) == MODELS[name].from_bytes(data)


def test_every_field_that_may_be_null_may_be_absent() -> None:
    # ``to_bytes`` leaves null out, so a nullable field without a default could not be read back.
    broken = [
        f"{model.__name__}.{name}"
        for model in _all_models(WireModel)
        for name, field in model.model_fields.items()
        if field.is_required() and NoneType in get_args(field.annotation)
    ]
    assert broken == []


def _all_models(root: type[WireModel]) -> list[type[WireModel]]:
    return [found for sub in root.__subclasses__() for found in (sub, *_all_models(sub))]
