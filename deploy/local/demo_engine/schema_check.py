"""Can a grammar be made of a JSON schema? What Ollama cannot use, it answers with status 500."""

from typing import Any

_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


def fits_grammar(schema: Any) -> bool:  # noqa: ANN401 - any JSON may stand there
    """Whether every type that the schema names exists, at every depth."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            if not _named_types_exist(value.get("type")):
                return False
            # Values of an enumeration may look like anything.
            waiting.extend(
                _schemas(key, inner) for key, inner in value.items() if key not in ("enum", "const")
            )
    return True


def _schemas(key: str, value: Any) -> Any:  # noqa: ANN401
    named = key in ("properties", "$defs", "definitions", "patternProperties")
    return list(value.values()) if named and isinstance(value, dict) else value


def _named_types_exist(named: Any) -> bool:  # noqa: ANN401
    if named is None:
        return True
    several = named if isinstance(named, list) else [named]
    return all(isinstance(one, str) and one in _TYPES for one in several)
