"""The OpenAPI document of the face that speaks snake_case, made from that of the other: pure."""

import copy
from typing import Any, Final

from pydantic.alias_generators import to_snake

_REF: Final = "#/components/schemas/"
_SNAKE: Final = "Snake"


def respell(document: dict[str, Any], prefix: str, *, keep: frozenset[str]) -> None:
    """Let what is below ``prefix`` answer with snake_case schemas; bodies take either spelling.

    Args:
        document: Changed in place.
        prefix: Of the paths.
        keep: Schemas that are spelled alike on both.
    """
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for path, item in document["paths"].items():
        if not path.startswith(prefix):
            continue
        for operation in item.values():
            operation["responses"] = _answers(operation["responses"], schemas, keep)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query":
                    parameter["name"] = to_snake(parameter["name"])


def _answers(node: object, schemas: dict[str, Any], keep: frozenset[str]) -> object:
    if isinstance(node, list):
        return [_answers(each, schemas, keep) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref", "")
    name = reference.removeprefix(_REF)
    if not reference.startswith(_REF) or name in keep:
        return {key: _answers(value, schemas, keep) for key, value in node.items()}
    spelled = f"{_SNAKE}{name}"
    if spelled not in schemas:
        schemas[spelled] = {}  # first, as a schema may hold itself
        schemas[spelled] = _schema(copy.deepcopy(schemas[name]), schemas, keep)
    return {**node, "$ref": f"{_REF}{spelled}"}


def _schema(schema: dict[str, Any], schemas: dict[str, Any], keep: frozenset[str]) -> object:
    if "properties" in schema:
        schema["properties"] = {
            to_snake(name): value for name, value in schema["properties"].items()
        }
        if "required" in schema:
            schema["required"] = [to_snake(name) for name in schema["required"]]
    return _answers(schema, schemas, keep)
