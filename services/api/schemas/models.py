"""``GET /v1/models``: requirements 4 and OpenAI's fields in one object."""

from typing import Literal

from pydantic import BaseModel

from services.api.schemas.model import AnswerModel


class ModelMetadata(AnswerModel):
    """How the weights are built."""

    family: str
    format: str
    parameter_size: str
    quantization_level: str


class ModelBody(BaseModel):
    """A model; OpenAI's names in snake_case, the requirements' in camelCase."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    displayLabel: str  # noqa: N815 - the name on the wire
    contextLength: int | None  # noqa: N815 - the name on the wire
    capabilities: list[str]
    metadata: ModelMetadata


class ModelList(BaseModel):
    """All models that live workers offer."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
