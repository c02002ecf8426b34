"""Every engine in turn."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.contract.engine.rigs import OllamaRig, Rig, ScriptedRig


@pytest.fixture(params=["scripted", "ollama"])
async def rig(request: pytest.FixtureRequest) -> AsyncGenerator[Rig]:
    make: dict[str, Callable[[AsyncExitStack], Rig]] = {
        "scripted": lambda _: ScriptedRig(),
        "ollama": OllamaRig,
    }
    async with AsyncExitStack() as stack:
        yield make[request.param](stack)
