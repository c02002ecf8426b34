"""JSON schemas of all models, in the dialect that AsyncAPI 3.0 has: draft 7."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_TEMPLATE: Final = "#/components/schemas/{model}"
_NAMED: Final = frozenset({"properties", "$defs", "patternProperties"})
"""Whose keys are names that people chose."""


class Schemas:
    """The schemas of some models, each under one name."""

    def __init__(self, models: Iterable[type[BaseModel]]) -> None:
        found, document = models_json_schema(
            [(model, "validation") for model in dict.fromkeys(models)], ref_template=_TEMPLATE
        )
        definitions = document.get("$defs", {})
        self._names = {
            model: str(schema["$ref"]).rsplit("/", 1)[1] for (model, _), schema in found.items()
        }
        self.definitions = {name: _older(definitions[name]) for name in sorted(definitions)}

    def name(self, model: type[BaseModel]) -> str:
        """Under which a model stands: its own, unless two models are called alike."""
        return self._names[model]


def _older(schema: object, *, named: bool = False) -> Any:  # noqa: ANN401 - a JSON document
    """The same in draft 7: a tuple's items are called ``items``, and nothing discriminates."""
    if isinstance(schema, list):
        return [_older(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if named:
        return {key: _older(value) for key, value in schema.items()}
    return {
        "items" if key == "prefixItems" else key: _older(value, named=key in _NAMED)
        for key, value in schema.items()
        if key != "discriminator"
    }
