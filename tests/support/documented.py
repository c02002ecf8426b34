"""What ``docs/asyncapi.json`` says of the messages that come out of a socket."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

_DOCUMENT = Path(__file__).parents[2] / "docs/asyncapi.json"
_SOCKETS = ("session_socket", "sessions_socket")


def check(message: dict[str, Any]) -> None:
    """Fail unless the document has a message of this type with these fields and no others."""
    kind = message["type"]
    validators = _validators()
    assert kind in validators, f"no message of type {kind} in the document"
    problems = [
        [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(message)]
        for validator in validators[kind]
    ]
    assert [] in problems, f"{message} is not as documented: {problems}"


@cache
def _validators() -> dict[str, list[jsonschema_rs.Draft7Validator]]:
    document = json.loads(_DOCUMENT.read_text())
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            # The document leaves room for what is to come; here nothing may be forgotten.
            schema.setdefault("additionalProperties", False)
    result: dict[str, list[jsonschema_rs.Draft7Validator]] = {}
    names = {
        message["$ref"].rsplit("/", 1)[1]
        for socket in _SOCKETS
        for message in document["operations"][f"gateway.send.{socket}"]["messages"]
    }
    for name in sorted(names):
        kinds = schemas[name]["properties"]["type"]
        validator = jsonschema_rs.Draft7Validator(
            {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )
        for kind in kinds.get("enum", [kinds.get("const")]):
            result.setdefault(kind, []).append(validator)
    return result
