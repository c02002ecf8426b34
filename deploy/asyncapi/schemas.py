"""JSON schemas of all models, in the dialect that AsyncAPI 3.0 has: draft 7."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_TEMPLATE: Final = "#/components/schemas/{model}"
_NAMED: Final = frozenset({"properties", "$defs", "patternProperties"})
"""Whose keys are names that people chose."""


Mode = Literal["validation", "serialization"]


class Schemas:
    """The schemas of some models, each under one name."""

    def __init__(
        self,
        services: Iterable[type[BaseModel]],
        clients: Iterable[type[BaseModel]] = (),
        server: Iterable[type[BaseModel]] = (),
    ) -> None:
        """Make them.

        Args:
            services: What services say to each other, in the spelling of its models.
            clients: What clients say at sockets: in snake_case, and what they may leave out.
            server: What sockets say: in snake_case, with all that is never left out.
        """
        self._names: dict[type[BaseModel], str] = {}
        definitions: dict[str, Any] = {}
        spoken: list[tuple[type[BaseModel], Mode]] = [
            *((model, "validation") for model in dict.fromkeys(clients)),
            *((model, "serialization") for model in dict.fromkeys(server)),
        ]
        heard: list[tuple[type[BaseModel], Mode]] = [
            (model, "validation") for model in dict.fromkeys(services)
        ]
        for models, by_alias in ((heard, True), (spoken, False)):
            found, document = models_json_schema(models, by_alias=by_alias, ref_template=_TEMPLATE)
            for name, schema in document.get("$defs", {}).items():
                if definitions.setdefault(name, schema) != schema:
                    message = f"Two schemas are called {name}; name one of them anew."
                    raise ValueError(message)
            self._names |= {
                model: str(schema["$ref"]).rsplit("/", 1)[1]
                for (model, _), schema in found.items()
                if issubclass(model, BaseModel)
            }
        for said in (definitions[self._names[model]] for model in dict.fromkeys(server)):
            # It has a default and is always said.
            said["required"] = list(dict.fromkeys(["type", *said.get("required", ())]))
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
