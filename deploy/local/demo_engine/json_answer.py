"""Values that fit a JSON schema: the same for the same dice.

Understood: type (one or several), properties, required, additionalProperties, minProperties,
items, prefixItems, min/maxItems, uniqueItems, min/maxLength, format, minimum, maximum, both
exclusive ones, multipleOf, enum, const, anyOf, oneOf, allOf, $ref within the schema. Not
understood, and so not obeyed: pattern, not, if/then/else, patternProperties.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.demo_engine.dice import Dice

Schema = Mapping[str, Any]

DEEP = 6
"""From this depth on only what is required is given, so that recursive schemas come to an end."""
BOTTOM = 40
_DEFAULT_WORDS = ("demo", "answer", "river", "lantern", "bridge", "letter", "garden", "signal")
_FORMATS = {
    "date-time": "2026-11-01T12:00:00Z",
    "date": "2026-11-01",
    "time": "12:00:00Z",
    "duration": "PT5M",
    "email": "demo@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaAnswer:
    """Makes one value for one schema.

    Args:
        root: the schema, within which ``$ref`` is looked up.
        dice: decides everything that the schema leaves open.
        words: what strings are made of; the first ones are used first.
        numbers: what numbers are chosen from where the schema allows them.
    """

    def __init__(
        self, root: Schema, dice: Dice, words: Sequence[str] = (), numbers: Sequence[int] = ()
    ) -> None:
        self._root = root
        self._dice = dice
        self._words = list(words)
        self._numbers = list(numbers)

    def value(self) -> Any:  # noqa: ANN401 - any JSON value may be asked for
        """The value for the whole schema."""
        return self._any(self._root, 0)

    def _any(self, schema: Any, depth: int) -> Any:  # noqa: ANN401
        if depth > BOTTOM:
            return None
        schema = self._resolved(schema, depth)
        if constants := [schema["const"]] if "const" in schema else schema.get("enum"):
            return self._dice.pick(constants)
        match self._type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._dice.below(2) == 1
            case "null":
                return None
            case _:
                return self._string(schema)

    def _resolved(self, schema: Any, depth: int) -> dict[str, Any]:  # noqa: ANN401
        found = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(BOTTOM):
            if "$ref" in found:
                target = self._target(str(found.pop("$ref")))
                found = {**target, **found}
            elif choices := found.pop("anyOf", None) or found.pop("oneOf", None):
                found = _merged(found, self._choice(choices, depth))
            elif parts := found.pop("allOf", None):
                for part in parts:
                    found = _merged(found, self._resolved(part, depth))
            else:
                break
        return found

    def _target(self, ref: str) -> Schema:
        found: Any = self._root
        for part in ref.removeprefix("#").strip("/").split("/"):
            if part:
                key = part.replace("~1", "/").replace("~0", "~")
                found = found.get(key, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    def _choice(self, choices: Sequence[Any], depth: int) -> Schema:
        schemas = [choice for choice in choices if isinstance(choice, Mapping)] or [{}]
        nulls = [choice for choice in schemas if choice.get("type") == "null"]
        others = [choice for choice in schemas if choice.get("type") != "null"]
        if depth >= DEEP:
            # The way out of a recursion is the choice that does not refer back.
            plain = nulls or [choice for choice in others if "$ref" not in choice]
            return (plain or schemas)[0]
        return self._dice.pick(others or nulls)

    def _type(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            others = [name for name in kind if name != "null"]
            kind = "null" if depth >= DEEP and "null" in kind else (others or ["null"])[0]
        if isinstance(kind, str):
            return kind
        for keyword, implied in (
            ("properties", "object"),
            ("required", "object"),
            ("items", "array"),
            ("prefixItems", "array"),
            ("minimum", "number"),
            ("maximum", "number"),
        ):
            if keyword in schema:
                return implied
        return "string"

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = list(schema.get("required") or ())
        names = list(properties) if depth < DEEP else [n for n in properties if n in required]
        names += [name for name in required if name not in properties]
        found = {name: self._any(properties.get(name, {}), depth + 1) for name in names}
        extra = schema.get("additionalProperties")
        wanted = int(schema.get("minProperties", 0))
        if isinstance(extra, Mapping) and not properties and depth < DEEP:
            wanted = max(wanted, 1)
        if extra is not False:
            for number in range(wanted - len(found)):
                found[f"{self._word()}_{number + 1}"] = self._any(extra or {}, depth + 1)
        return found

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        fixed = schema.get("prefixItems") or ()
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        usual = least if depth >= DEEP else max(least, len(fixed), min(2, most))
        found = [self._any(item, depth + 1) for item in fixed[:most]]
        items = schema.get("items", {})
        unique = bool(schema.get("uniqueItems"))
        for _ in range(200 if unique else usual):
            if len(found) >= min(usual, most) or items is False:
                break
            value = self._any(items, depth + 1)
            if not (unique and value in found):
                found.append(value)
        return found

    def _number(self, schema: Schema, *, whole: bool) -> float:
        step = schema.get("multipleOf") or (1 if whole else 0.5)
        low = schema.get("minimum", -math.inf)
        high = schema.get("maximum", math.inf)
        over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        first = -math.inf if low == -math.inf else math.ceil(low / step)
        last = math.inf if high == math.inf else math.floor(high / step)
        if isinstance(over, int | float) and not isinstance(over, bool):
            first = max(first, math.floor(over / step) + 1)
        if isinstance(under, int | float) and not isinstance(under, bool):
            last = min(last, math.ceil(under / step) - 1)
        if first > last and not whole:
            return float((low + high) / 2)  # narrower than the usual step
        if first == -math.inf:
            first = min(0, last - 100)
        last = min(last, first + 100)
        said = [n for n in self._numbers if first <= n / step <= last and n % step == 0]
        chosen = said[0] if said else (int(first) + self._dice.below(int(last - first) + 1)) * step
        return int(chosen) if whole else float(chosen)

    def _string(self, schema: Schema) -> str:
        least = int(schema.get("minLength", 0))
        most = int(schema.get("maxLength", 10**6))
        known = _FORMATS.get(str(schema.get("format", "")))
        if known is not None and least <= len(known) <= most:
            return known
        text = self._word()
        while len(text) < least:
            text = f"{text} {self._word()}"
        return text[:most].ljust(least, ".") if len(text) > most else text

    def _word(self) -> str:
        return self._words.pop(0) if self._words else self._dice.pick(_DEFAULT_WORDS)


def _merged(one: Schema, other: Schema) -> dict[str, Any]:
    """Both schemas at once, as far as that is a union of properties and of what is required."""
    both = {**one, **other}
    for key in ("properties", "required"):
        if key in one and key in other:
            mine, theirs = one[key], other[key]
            both[key] = {**mine, **theirs} if key == "properties" else [*mine, *theirs]
    return both
