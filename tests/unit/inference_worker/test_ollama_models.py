"""What an engine says of its models, and what of that may be odd."""

from typing import Any

import httpx
import pytest

from services.inference_worker.adapters.ollama_client import OllamaClient
from services.inference_worker.adapters.ollama_models import OllamaModels
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
        return httpx.Response(200, json=reply)

    async def names(self) -> list[str]:
        """The models that a worker would offer."""
        client = OllamaClient("http://engine", transport=httpx.MockTransport(self.answer))
        try:
            view = await OllamaModels(client, "http://engine", timeout=5).look()
        finally:
            await client.aclose()
        return [card.name for card in view.models]


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
