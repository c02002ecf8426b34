"""Names of fields as an address spells them: pure. Whoever raises names them in either spelling.

Two faces show the same resources, and a client finds a field only by the name that it sends.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic.alias_generators import to_camel, to_snake

from shared.errors import ChatError

_FIELD: Final = re.compile(r"[a-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*")
_INDEX: Final = re.compile(r"\[(\d+)\]")
_ALIKE: Final = frozenset({"image_url"})
"""Of OpenAI's parts of a message, which both faces show as they are."""


class Naming(NamedTuple):
    """How an address names fields."""

    camel: bool | None
    """``None`` where they are named as they come."""
    others: Mapping[str, str | None]
    """Names that are others here; ``None`` where the client has sent no such field."""


class Told(NamedTuple):
    """An error in the words of an address."""

    message: str
    param: str | None


AS_IT_IS: Final = Naming(camel=None, others={})
SOCKETS: Final = Naming(camel=False, others={"messages": "message", "id": "completion_id"})
_CAMEL: Final = "/api/chat/"
_SNAKE: Final = "/ai-chat/api/"


def naming_of(path: str) -> Naming:
    """How the address of a request names fields."""
    if not path.startswith((_CAMEL, _SNAKE)):
        return AS_IT_IS
    others: dict[str, str | None] = {}
    if not path.endswith("/import"):
        # A worker knows the messages of a completion, not what was sent of them.
        others["messages"] = None if path.endswith("/regenerate") else "message"
    return Naming(path.startswith(_CAMEL), others)


def told(error: ChatError, naming: Naming) -> Told:
    """Message and ``param`` of an error; a field that the message names is respelled there too."""
    if naming.camel is None or error.param is None:
        return Told(error.message, error.param)
    if error.param in naming.others:
        return Told(error.message, naming.others[error.param])
    param = respelled(error.param, camel=naming.camel)
    return Told(error.message.replace(error.param, param), param)


def respelled(path: str, *, camel: bool) -> str:
    """A path of fields in one spelling; what is no field, as the name of a header, stays."""
    steps = _INDEX.sub(r".\1", path).split(".")
    return ".".join(_spelled(step, camel=camel) for step in steps)


def _spelled(step: str, *, camel: bool) -> str:
    if _FIELD.fullmatch(step) is None:
        return step
    snake = to_snake(step)
    return to_camel(snake) if camel and snake not in _ALIKE else snake
