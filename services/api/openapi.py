"""The OpenAPI document: routes that parse their own body name its schema here."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.api.schemas.api_keys import KeyRequest
from services.api.schemas.archive import ImportRequest
from services.api.schemas.chat import ChatCompletionRequest
from services.api.schemas.offered_models import DefaultModelRequest, ModelSettingsRequest
from services.api.schemas.presets import (
    FromPresetRequest,
    PatchPresetRequest,
    PreferencesRequest,
    PresetRequest,
)
from services.api.schemas.sessions import CreateSessionRequest, UpdateSessionRequest
from services.api.schemas.turns import ForkRequest, SendMessageRequest, TurnRequest
from services.api.snake_document import respell

_BODIES: Sequence[type[BaseModel]] = (
    ChatCompletionRequest,
    CreateSessionRequest,
    UpdateSessionRequest,
    TurnRequest,
    SendMessageRequest,
    ForkRequest,
    ImportRequest,
    PresetRequest,
    PatchPresetRequest,
    FromPresetRequest,
    PreferencesRequest,
    ModelSettingsRequest,
    DefaultModelRequest,
    KeyRequest,
)
_SNAKE_FACE = "/ai-chat/api"
_ALIKE = frozenset({"ErrorBody"})
_FOREIGN = ("HTTPValidationError", "ValidationError")
_TEMPLATE = "#/components/schemas/{model}"


def document(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with the schemas of the request bodies."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, bodies = models_json_schema(
            [(model, "validation") for model in _BODIES], ref_template=_TEMPLATE
        )
        schema.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
        _drop_what_never_comes(schema)
        respell(schema, _SNAKE_FACE, keep=_ALIKE)
        app.openapi_schema = schema
    return app.openapi_schema


def _drop_what_never_comes(schema: dict[str, Any]) -> None:
    # FastAPI promises a 422 of its own for every parameter; ours are 400 with the one body.
    for item in schema["paths"].values():
        for operation in item.values():
            unprocessable = operation["responses"].get("422", {})
            if _FOREIGN[0] in str(unprocessable):
                del operation["responses"]["422"]
    for name in _FOREIGN:
        schema["components"]["schemas"].pop(name, None)
