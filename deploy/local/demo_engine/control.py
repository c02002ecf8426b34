"""``/demo/``: what tests see of the engine, and how they steer it.

- ``GET /demo/log``: the journal, a JSON list. ``DELETE /demo/log`` clears it.
- ``GET /demo/state``: ``{running, queued, gate_closed, armed}``.
- ``POST /demo/faults`` ``{"fault": "cut@20", "times": 1, "model": "demo"}``: that fault meets the
  next ``times`` (1) requests, of ``model`` if named. ``DELETE /demo/faults`` forgets what is armed
  and which prompts have met their faults.
- ``POST /demo/gate`` ``{"closed": true}``: no generation goes beyond its next token until
  ``{"closed": false}``.
- ``POST /demo/models`` ``{"absent": ["demo-json"], "renewed": ["demo"]}``: from now on the first
  are not there, as after ``ollama rm``, and the others have new weights; ``{}`` undoes it.
"""

from typing import Any

from deploy.local.demo_engine.chat import EngineState
from deploy.local.demo_engine.chat_request import read_json
from deploy.local.demo_engine.errors import Refused
from deploy.local.demo_engine.faults import InvalidFault, parse_fault
from deploy.local.demo_engine.http_server import Exchange
from deploy.local.demo_engine.models import Model, find_model


async def get_log(exchange: Exchange, state: EngineState) -> None:
    """The journal."""
    exchange.reply_json(state.journal.as_json())


async def delete_log(exchange: Exchange, state: EngineState) -> None:
    """Clear the journal."""
    state.journal.clear()
    exchange.reply_json({})


async def get_state(exchange: Exchange, state: EngineState) -> None:
    """What goes on now."""
    exchange.reply_json(_state(state))


async def post_faults(exchange: Exchange, state: EngineState) -> None:
    """Arm a fault."""
    body = read_json(exchange.request.body)
    times, name = body.get("times", 1), body.get("model")
    model = find_model(str(name)) if name is not None else None
    if not isinstance(times, int) or times < 0:
        raise Refused(400, "times must be a whole number of zero or more")
    if name is not None and model is None:
        raise Refused(404, f"model '{name}' not found")
    try:
        fault = parse_fault(str(body.get("fault", "")))
    except InvalidFault as error:
        raise Refused(400, str(error)) from error
    state.faults.arm(fault, times, model.name if model else None)
    exchange.reply_json(_state(state))


async def delete_faults(exchange: Exchange, state: EngineState) -> None:
    """Forget all faults."""
    state.faults.disarm()
    exchange.reply_json(_state(state))


async def post_gate(exchange: Exchange, state: EngineState) -> None:
    """Close or open the gate."""
    closed = read_json(exchange.request.body).get("closed")
    if not isinstance(closed, bool):
        raise Refused(400, "closed must be true or false")
    if closed:
        state.gate.clear()
    else:
        state.gate.set()
    exchange.reply_json(_state(state))


async def post_models(exchange: Exchange, state: EngineState) -> None:
    """Change which models there are."""
    body = read_json(exchange.request.body)
    state.shelf.arrange(absent=_models(body, "absent"), renewed=_models(body, "renewed"))
    exchange.reply_json({"models": [model.full_name for model in state.shelf.models()]})


def _models(body: dict[str, Any], field: str) -> list[Model]:
    names = body.get(field, [])
    if not isinstance(names, list):
        raise Refused(400, f"{field} must be a list of names")
    models = []
    for name in names:
        model = find_model(str(name))
        if model is None:
            raise Refused(404, f"model '{name}' not found")
        models.append(model)
    return models


def _state(state: EngineState) -> dict[str, Any]:
    return {
        "running": state.slots.running,
        "queued": state.slots.queued,
        "gate_closed": not state.gate.is_set(),
        "armed": state.faults.armed,
    }
