"""Which path leads where, and what a refused request gets."""

import asyncio
from collections.abc import Awaitable, Callable

from deploy.local.demo_engine import control
from deploy.local.demo_engine.chat import Defaults, EngineState, chat
from deploy.local.demo_engine.chat_request import read_json
from deploy.local.demo_engine.errors import Refused
from deploy.local.demo_engine.http_server import TEXT, Exchange, Handler
from deploy.local.demo_engine.slots import Slots

VERSION = "0.99.0-demo"

Route = Callable[[Exchange, EngineState], Awaitable[None]]


async def root(exchange: Exchange, _: EngineState) -> None:
    """``GET /``, by which clients see whether Ollama is there."""
    exchange.reply(200, b"Ollama is running", TEXT)


async def version(exchange: Exchange, _: EngineState) -> None:
    """``GET /api/version``."""
    exchange.reply_json({"version": VERSION})


async def tags(exchange: Exchange, state: EngineState) -> None:
    """``GET /api/tags``: the models there are."""
    exchange.reply_json({"models": [model.tag() for model in state.shelf.models()]})


async def show(exchange: Exchange, state: EngineState) -> None:
    """``POST /api/show``: what there is to know about one model."""
    body = read_json(exchange.request.body)
    name = body.get("model") or body.get("name")
    if not isinstance(name, str):
        raise Refused(400, "model is required")
    model = state.shelf.find(name)
    if model is None:
        raise Refused(404, f"model '{name}' not found")
    exchange.reply_json(model.show())


async def ps(exchange: Exchange, state: EngineState) -> None:
    """``GET /api/ps``: the models that are loaded."""
    exchange.reply_json({"models": state.residency.ps()})


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/"): root,
    ("GET", "/api/version"): version,
    ("GET", "/api/tags"): tags,
    ("GET", "/api/ps"): ps,
    ("POST", "/api/show"): show,
    ("POST", "/api/chat"): chat,
    ("GET", "/demo/log"): control.get_log,
    ("DELETE", "/demo/log"): control.delete_log,
    ("GET", "/demo/state"): control.get_state,
    ("POST", "/demo/faults"): control.post_faults,
    ("DELETE", "/demo/faults"): control.delete_faults,
    ("POST", "/demo/gate"): control.post_gate,
    ("POST", "/demo/models"): control.post_models,
}


def build_handler(defaults: Defaults, parallel: int, max_queue: int) -> Handler:
    """The engine as one handler, with a state of its own; to be called in a running loop."""
    state = EngineState(slots=Slots(parallel, max_queue), defaults=defaults, gate=asyncio.Event())
    state.gate.set()

    async def handle(exchange: Exchange) -> None:
        request = exchange.request
        method = "GET" if request.method == "HEAD" else request.method
        route = ROUTES.get((method, request.path))
        if route is None:
            exchange.reply(404, b"404 page not found", TEXT)
            return
        try:
            await route(exchange, state)
        except Refused as refused:
            exchange.reply_json({"error": refused.text}, refused.status)

    return handle
