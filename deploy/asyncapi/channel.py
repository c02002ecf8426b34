"""What a channel is, before it is written as AsyncAPI has it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

_STAR: Final = re.compile(r"\*")


@dataclass(frozen=True)
class Raw:
    """A message whose bytes are no JSON of a model."""

    name: str
    description: str
    payload: Mapping[str, Any] = field(hash=False)
    content_type: str = "application/octet-stream"
    headers: Mapping[str, Any] | None = field(default=None, hash=False)


Payload = type[BaseModel] | Raw


@dataclass(frozen=True)
class Flow:
    """Who sends or receives which messages of a channel."""

    service: str
    action: str
    """``send`` or ``receive``."""
    messages: tuple[Payload, ...]


@dataclass(frozen=True)
class Channel:
    """One address and what goes over it."""

    key: str
    address: str
    """With ``{name}`` for what differs, or with the broker's own wildcards."""
    server: str
    description: str
    flows: tuple[Flow, ...]
    reply: Payload | None = None
    """What comes back to the inbox that the request names."""
    stream: str | None = None
    """The JetStream stream that keeps it."""
    bindings: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def messages(self) -> tuple[Payload, ...]:
        """Each once, in the order in which they are named."""
        return tuple(dict.fromkeys(one for flow in self.flows for one in flow.messages))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in the address."""
        return tuple(re.findall(r"{(\w+)}", self.address))


def address(pattern: str, *names: str) -> str:
    """A pattern of subjects with names in the place of its stars."""
    left = list(names)
    named = _STAR.sub(lambda _star: f"{{{left.pop(0)}}}", pattern)
    if left:
        message = f"{pattern} has fewer stars than {names}"
        raise ValueError(message)
    return named


def sends(service: str, *messages: Payload) -> Flow:
    """``service`` sends these."""
    return Flow(service, "send", messages)


def receives(service: str, *messages: Payload) -> Flow:
    """``service`` receives these."""
    return Flow(service, "receive", messages)
