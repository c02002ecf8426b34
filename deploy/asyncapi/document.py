"""From channels to one AsyncAPI 3.0 document: pure, and the same at each call.

One document for all services, so an operation is called after who does it:
``<service>.<send or receive>.<channel>``.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel

from deploy.asyncapi.channel import Channel, Flow, Payload, Raw
from deploy.asyncapi.nats_channels import nats_channels
from deploy.asyncapi.schemas import Schemas
from deploy.asyncapi.sockets import SERVER as _SOCKETS
from deploy.asyncapi.sockets import socket_channels
from shared.contracts.subjects import LANES

_SERVERS: Final = {
    "nats": {
        "host": "127.0.0.1:4222",
        "protocol": "nats",
        "description": "The broker between the services (NATS_URL).",
    },
    "gateway": {
        "host": "127.0.0.1:8000",
        "protocol": "ws",
        "description": "A gateway; its HTTP routes are in /openapi.json.",
    },
}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "model": {"description": "Slug of the engine's full name of the model."},
    "lane": {"enum": list(LANES), "description": "`a` while its user has few unfinished requests."},
    "gateway": {"description": "Who asked for the completion."},
    "completion_id": {"description": "`chatcmpl-` and 32 hex digits."},
    "user": {"description": "Hash of the user's id."},
    "session_id": {"description": "A UUID."},
    "service": {"description": "Who could not take it."},
}
_REPLY_TO: Final = {
    "location": "$message.header#/reply",
    "description": "The inbox that the request names.",
}


def text() -> str:
    """The document as it is committed."""
    document = build([*nats_channels(), *socket_channels()])
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def build(channels: Sequence[Channel]) -> dict[str, Any]:
    """The document of these channels."""
    payloads = [
        payload
        for channel in channels
        for payload in (*channel.messages, *((channel.reply,) if channel.reply else ()))
    ]
    sockets = [channel for channel in channels if channel.server == _SOCKETS]
    clients, server = _models(sockets, "receive"), _models(sockets, "send")
    services = [it for it in payloads if not isinstance(it, Raw) and it not in {*clients, *server}]
    schemas = Schemas(services, clients, server)
    writer = _Writer(schemas)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley",
            "version": version("parley"),
            "description": "What Parley's services say to each other on NATS, and its gateways to "
            "clients over WebSockets. Generated: python -m deploy.asyncapi > docs/asyncapi.json",
        },
        "defaultContentType": "application/json",
        "servers": _SERVERS,
        "channels": {
            key: value for channel in channels for key, value in writer.channel(channel).items()
        },
        "operations": {
            key: value for channel in channels for key, value in writer.operations(channel).items()
        },
        "components": {
            "messages": {writer.name(payload): writer.message(payload) for payload in payloads},
            "schemas": schemas.definitions,
        },
    }


class _Writer:
    """Channels, operations and messages as AsyncAPI has them."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def name(self, payload: Payload) -> str:
        return payload.name if isinstance(payload, Raw) else self._schemas.name(payload)

    def message(self, payload: Payload) -> dict[str, Any]:
        if isinstance(payload, Raw):
            message = {
                "name": payload.name,
                "description": payload.description,
                "contentType": payload.content_type,
                "payload": payload.payload,
            }
            return message if payload.headers is None else {**message, "headers": payload.headers}
        return {
            "name": self.name(payload),
            "description": _first_lines(payload),
            "payload": {"$ref": f"#/components/schemas/{self.name(payload)}"},
        }

    def channel(self, channel: Channel) -> dict[str, dict[str, Any]]:
        written: dict[str, Any] = {
            "address": channel.address,
            "description": channel.description,
            "servers": [{"$ref": f"#/servers/{channel.server}"}],
            "messages": self._messages(channel.messages),
        }
        if channel.parameters:
            written["parameters"] = {name: _PARAMETERS[name] for name in channel.parameters}
        if channel.stream:
            written["x-jetstream-stream"] = channel.stream
        if channel.bindings:
            written["bindings"] = channel.bindings
        if channel.reply is None:
            return {channel.key: written}
        answers = {
            "address": None,
            "description": f"Replies to `{channel.key}`, each at the inbox of who asked.",
            "servers": written["servers"],
            "messages": self._messages((channel.reply,)),
        }
        return {channel.key: written, _reply_key(channel): answers}

    def operations(self, channel: Channel) -> dict[str, dict[str, Any]]:
        return {
            f"{flow.service}.{flow.action}.{channel.key}": self._operation(channel, flow)
            for flow in channel.flows
        }

    def _operation(self, channel: Channel, flow: Flow) -> dict[str, Any]:
        written: dict[str, Any] = {
            "action": flow.action,
            "channel": {"$ref": f"#/channels/{channel.key}"},
            "messages": self._refs(channel.key, flow.messages),
        }
        if channel.reply is not None:
            key = _reply_key(channel)
            written["reply"] = {
                "address": _REPLY_TO,
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": self._refs(key, (channel.reply,)),
            }
        return written

    def _messages(self, payloads: Sequence[Payload]) -> dict[str, Any]:
        names = [self.name(payload) for payload in payloads]
        return {name: {"$ref": f"#/components/messages/{name}"} for name in names}

    def _refs(self, channel: str, payloads: Sequence[Payload]) -> list[dict[str, str]]:
        names = [self.name(payload) for payload in payloads]
        return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _models(channels: Sequence[Channel], action: str) -> list[type[BaseModel]]:
    return [
        payload
        for channel in channels
        for flow in channel.flows
        if flow.action == action
        for payload in flow.messages
        if not isinstance(payload, Raw)
    ]


def _reply_key(channel: Channel) -> str:
    return f"{channel.key}.reply"


def _first_lines(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or model.__name__).split("\n\n")[0].split())
