"""The subjects of JetStream's own API that Parley uses: calls and permission lists share them.

An *operation* is what follows ``$JS.API.``; ``*`` for a name stands for all of them.
"""

from typing import Final

API: Final = "$JS.API."


def stream_info(stream: str) -> str:
    """Ask for a stream's state and configuration."""
    return f"STREAM.INFO.{stream}"


def stream_create(stream: str) -> str:
    """Make a stream."""
    return f"STREAM.CREATE.{stream}"


def stream_update(stream: str) -> str:
    """Change a stream's configuration."""
    return f"STREAM.UPDATE.{stream}"


def stream_purge(stream: str) -> str:
    """Remove a stream's messages, or the oldest of them."""
    return f"STREAM.PURGE.{stream}"


def message_delete(stream: str) -> str:
    """Remove one message."""
    return f"STREAM.MSG.DELETE.{stream}"


def message_get(stream: str) -> str:
    """Read one message with its head as it was stored."""
    return f"STREAM.MSG.GET.{stream}"


def direct_get(stream: str, subject: str | None = None) -> str:
    """Read a stream by sequence, by time or in batches; with ``subject`` only its last message."""
    return f"DIRECT.GET.{stream}" if subject is None else f"DIRECT.GET.{stream}.{subject}"


def consumer_info(stream: str, consumer: str) -> str:
    """Ask for a consumer's state and configuration."""
    return f"CONSUMER.INFO.{stream}.{consumer}"


def consumer_create(stream: str, consumer: str) -> str:
    """Make or change a durable consumer."""
    return f"CONSUMER.DURABLE.CREATE.{stream}.{consumer}"


def consumer_next(stream: str, consumer: str) -> str:
    """Pull messages."""
    return f"CONSUMER.MSG.NEXT.{stream}.{consumer}"


def acknowledgements(stream: str, consumer: str) -> str:
    """Where the deliveries of a consumer are acknowledged."""
    return f"$JS.ACK.{stream}.{consumer}.>"


def bucket_key(bucket: str, key: str) -> str:
    """The subject that holds a key of a KV bucket; ``>`` for all of them."""
    return f"$KV.{bucket}.{key}"
