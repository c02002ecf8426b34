"""What an engine says of its models, and what of that may be odd."""

import json
from typing import Any

import httpx
import pytest

from services.inference_worker.adapters.ollama_client import OllamaClient
from services.inference_worker.adapters.ollama_models import OllamaModels
from services.inference_worker.offering_ports import EngineView
from shared.errors import EngineError

SOUND = {
    "details": {"family": "llama", "format": "gguf", "parameter_size": "1B"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
    "capabilities": ["completion", "tools"],
}


class Described:
    """An engine that answers each path with what a test says."""

    def __init__(self, **shown: object) -> None:
        self.replies: dict[str, Any] = {
            "/api/version": {"version": "0.9.0"},
            "/api/tags": {"models": [{"model": name, "digest": name} for name in shown]},
            "/api/ps": {"models": []},
        }
        self._shown = shown

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One reply; a number is a status."""
        reply = self.replies.get(request.url.path)
        if request.url.path == "/api/show":
            (reply,) = (said for name, said in self._shown.items() if name in str(request.read()))
        if isinstance(reply, int):
            return httpx.Response(reply, json={"error": "as the test says"})
        # As json.dumps has it: halves of characters as escapes.
        return httpx.Response(200, content=json.dumps(reply))

    async def names(self) -> list[str]:
        """The models that a worker would offer."""
        return [card.name for card in (await self.look()).models]

    async def look(self) -> EngineView:
        """What a worker sees."""
        client = OllamaClient("http://engine", transport=httpx.MockTransport(self.answer))
        try:
            return await OllamaModels(client, "http://engine", timeout=5).look()
        finally:
            await client.aclose()


@pytest.mark.parametrize(
    "odd",
    [
        500,
        404,
        ["no", "object"],
        {"details": "no object either"},
        {"model_info": {"general.architecture": "x", "x.context_length": [4096]}},
        {"model_info": {"general.architecture": "x", "x.context_length": "many"}},
    ],
)
async def test_a_model_with_an_odd_description_is_passed_over_and_the_others_are_offered(
    odd: object,
) -> None:
    assert await Described(bad=odd, good=SOUND).names() == ["good:latest"]


async def test_a_model_that_cannot_chat_is_not_offered() -> None:
    embedding = {**SOUND, "capabilities": ["embedding"]}
    assert await Described(bad=embedding, good=SOUND).names() == ["good:latest"]


@pytest.mark.parametrize("path", ["/api/version", "/api/tags", "/api/ps"])
@pytest.mark.parametrize("reply", [[], "a page", None, {"models": 5, "version": []}, 500])
async def test_an_engine_that_is_something_else_is_an_engine_that_failed(
    path: str, reply: object
) -> None:
    engine = Described(good=SOUND)
    engine.replies[path] = reply
    with pytest.raises(EngineError):
        await engine.names()


@pytest.mark.parametrize("odd", ["\nb", "\x1b[31m", "\ud800", "\u202eb", "x" * 256])
async def test_a_model_whose_name_cannot_be_shown_is_passed_over(odd: str) -> None:
    engine = Described(good=SOUND)
    engine.replies["/api/tags"]["models"].append({"model": f"good{odd}", "digest": "d"})
    assert await engine.names() == ["good:latest"]


async def test_what_is_said_of_a_model_can_be_announced_whatever_it_is() -> None:
    odd = {
        "details": {"family": "\ud800", "format": "a\0b", "parameter_size": "x" * 10_000},
        "capabilities": ["completion", "\udfff"] + ["y" * 10_000] * 1000,
        "model_info": {"general.architecture": "x", "x.context_length": 10**400},
    }
    engine = Described(odd=odd)
    engine.replies["/api/version"] = {"version": "\ud800" + "1" * 10_000}
    view = await engine.look()
    (card,) = view.models
    assert len(card.to_bytes()) < 10_000
    assert (card.family, card.format, card.context_length) == ("", "AB", None)
    assert len(view.state.to_bytes()) < 1000


async def test_more_models_than_fit_into_a_message_are_left_out() -> None:
    engine = Described(good=SOUND)
    one = engine.replies["/api/tags"]["models"]
    engine.replies["/api/tags"]["models"] = one * 2500
    assert len(await engine.names()) == 2000
