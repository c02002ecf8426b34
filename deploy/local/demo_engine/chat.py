"""``POST /api/chat``: from the request to a running generation."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from deploy.local.demo_engine.answer import Piece, rest_of_answer, variant_of, whole_answer
from deploy.local.demo_engine.chat_request import (
    ChatRequest,
    SamplingOptions,
    read_chat_request,
    read_sampling_options,
)
from deploy.local.demo_engine.directive import (
    InvalidWish,
    Wishes,
    wishes_in_options,
    wishes_in_text,
)
from deploy.local.demo_engine.errors import Refused
from deploy.local.demo_engine.faults import FaultBook
from deploy.local.demo_engine.generation import Generation, Pace, Sampling
from deploy.local.demo_engine.http_server import Exchange
from deploy.local.demo_engine.journal import Entry, Journal
from deploy.local.demo_engine.models import Model, Shelf
from deploy.local.demo_engine.prompt import evaluated_tokens
from deploy.local.demo_engine.question import Question, question_of
from deploy.local.demo_engine.replies import StreamedReply, WholeReply
from deploy.local.demo_engine.residency import Residency, keep_alive_seconds
from deploy.local.demo_engine.schema_check import fits_grammar
from deploy.local.demo_engine.slots import ServerBusy, Slots
from deploy.local.demo_engine.timestamps import now_rfc3339

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BODY = 100_000
"""Bytes from which on a request is worth a thread."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(frozen=True)
class Defaults:
    """How fast the engine is where a request does not say."""

    tokens_per_second: float = 40.0
    first_token_ms: float = 100.0


@dataclass(frozen=True)
class EngineState:
    """What all requests share."""

    slots: Slots
    defaults: Defaults = field(default_factory=Defaults)
    residency: Residency = field(default_factory=Residency)
    journal: Journal = field(default_factory=Journal)
    faults: FaultBook = field(default_factory=FaultBook)
    shelf: Shelf = field(default_factory=Shelf)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while tokens may pass."""


class _Aside:
    """Runs what may take long in a thread if the request is large; others go on meanwhile."""

    def __init__(self, exchange: Exchange) -> None:
        self._large = len(exchange.request.body) > LARGE_BODY

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._large:
            return await asyncio.to_thread(work, *args, **kwargs)
        return work(*args, **kwargs)


async def chat(exchange: Exchange, state: EngineState) -> None:
    """Answer one chat request, and note in the journal what became of it.

    Raises:
        Refused: nothing was sent; the client gets this error.
    """
    request = read_chat_request(exchange.request.body)
    entry = state.journal.open(request, exchange.request.received_at)
    try:
        await _answer(request, entry, exchange, state)
    except ServerBusy as error:
        entry.end("refused:503")
        raise Refused(503, BUSY) from error
    except InvalidWish as error:
        entry.end("refused:400")
        raise Refused(400, str(error)) from error
    except Refused as error:
        entry.end(f"refused:{error.status}")
        raise
    except asyncio.CancelledError:
        if exchange.closed_at is not None:
            entry.client_closed(exchange.closed_at)
        entry.end("shutdown")
        raise


async def _answer(
    request: ChatRequest, entry: Entry, exchange: Exchange, state: EngineState
) -> None:
    model = _model_for(request, state.shelf)
    keep_alive = keep_alive_seconds(request.keep_alive)
    options = read_sampling_options(request.options)
    if not request.messages:
        _load_or_unload(request, model, options, entry, exchange, state)
        return
    wishes = _wishes(request)
    nonce = f"{entry.id}-{secrets.token_hex(3)}" if model.continuation == "diverging" else ""
    question = question_of(request, model, wishes.tokens, nonce)
    entry.digest = question.key[:16]
    entry.continued = request.prefill is not None and model.continuation != "never"
    fault = state.faults.meet(wishes.fault, question.key, model.name)
    if fault is not None and fault.kind in ("busy", "500"):
        entry.fault = fault.name
        entry.end(f"fault:{fault.name}")
        raise ServerBusy if fault.kind == "busy" else Refused(500, "demo engine: 500 asked for")
    aside = _Aside(exchange)
    entry.prompt_tokens = await aside.run(evaluated_tokens, request, model, options)
    state.residency.use(model, model.window(options.num_ctx), keep_alive)
    sampling = Sampling(_budget(request, model, options, entry.prompt_tokens), options.stop or ())
    replies = WholeReply if request.stream is False else StreamedReply
    async with state.slots.slot():
        entry.start()
        generation = Generation(_pace(wishes, model, state.defaults), fault, state.gate, entry)
        answer = await aside.run(_pieces, request, question, options)
        await generation.run(answer, sampling, replies(exchange, request.model), exchange)
    if keep_alive == 0:
        state.residency.unload(model)


def _model_for(request: ChatRequest, shelf: Shelf) -> Model:
    """The model, if it exists and can do what is asked of it."""
    if not request.model:
        raise Refused(400, "model is required")
    model = shelf.find(request.model)
    if model is None:
        raise Refused(404, f"model '{request.model}' not found")
    if request.think and not model.thinks:
        raise Refused(400, f'"{request.model}" does not support thinking')
    if request.tools and "tools" not in model.capabilities:
        name = f"registry.ollama.ai/library/{model.full_name}"
        raise Refused(400, f"{name} does not support tools")
    if request.format not in (None, "", "json") and not isinstance(request.format, dict):
        allowed = 'expected "json" or a valid JSON Schema object'
        raise Refused(500, f'invalid format: "{request.format}"; {allowed}')
    if isinstance(request.format, dict) and not fits_grammar(request.format):
        raise Refused(500, "invalid JSON schema in format")
    return model


def _load_or_unload(
    request: ChatRequest,
    model: Model,
    options: SamplingOptions,
    entry: Entry,
    exchange: Exchange,
    state: EngineState,
) -> None:
    keep_alive = keep_alive_seconds(request.keep_alive)
    if keep_alive == 0:
        state.residency.unload(model)
    else:
        state.residency.use(model, model.window(options.num_ctx), keep_alive)
    reason = "unload" if keep_alive == 0 else "load"
    exchange.reply_json(
        {
            "model": request.model,
            "created_at": now_rfc3339(),
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": reason,
        }
    )
    entry.end(reason)


def _wishes(request: ChatRequest) -> Wishes:
    wishes = Wishes()
    for message in request.messages:
        if message.role.lower() == "system":
            wishes = wishes_in_text(message.content).over(wishes)
    users = [message for message in request.messages if message.role.lower() == "user"]
    if users:
        wishes = wishes_in_text(users[-1].content).over(wishes)
    return wishes_in_options(request.options).over(wishes)


def _pace(wishes: Wishes, model: Model, defaults: Defaults) -> Pace:
    first_token_ms = wishes.first_token_ms
    if first_token_ms is None:
        first_token_ms = model.first_token_ms
    if first_token_ms is None:
        first_token_ms = defaults.first_token_ms
    speed = wishes.tokens_per_second
    if speed is None:
        speed = defaults.tokens_per_second
    return Pace(first_token_ms / 1000, 1 / speed if speed else 0.0)


def _budget(
    request: ChatRequest, model: Model, options: SamplingOptions, prompt_tokens: int
) -> int | None:
    """New tokens that the answer may have, if there is a limit."""
    limits = []
    if options.num_predict is not None and options.num_predict >= 0:
        limits.append(options.num_predict)
    if request.shift is False:
        limits.append(model.window(options.num_ctx) - prompt_tokens)
    return min(limits, default=None)


def _pieces(request: ChatRequest, question: Question, options: SamplingOptions) -> Iterator[Piece]:
    variant = variant_of(question, options)
    if request.prefill is None or question.model.continuation == "never":
        return whole_answer(question, variant)
    return rest_of_answer(question, variant, request.prefill)
