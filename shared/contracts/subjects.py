"""Every subject, once. Permission lists are generated from these patterns."""

import hashlib
import re
from typing import Final

from shared.contracts.ids import CompletionId, SessionId, UserId

REQUESTS: Final = "chat.requests.*.*"
CHUNKS: Final = "chat.chunks.*.*"
CONTROL: Final = "chat.control.*"
WATCHED: Final = "chat.watched.*"
WORKERS: Final = "chat.workers.*"
SYNC: Final = "chat.sync"
"""To all workers at once: list your engine's models anew, now."""
EVENTS: Final = "chat.events.>"
EVENTS_ACCEPTED: Final = "chat.events.accepted.*"
EVENTS_COMPLETED: Final = "chat.events.completed.*"
HISTORY: Final = "chat.history.*"
LIVE: Final = "chat.live.*.*"
SETTINGS: Final = "chat.settings"
"""From history to all gateways: preferences or settings of models have changed."""
PROVISION_MODEL: Final = "chat.provision.model"
DEAD_LETTERS: Final = "chat.dead_letters.*"

LANES: Final = ("a", "b")
"""Lane ``a`` while its user has fewer than 2 unfinished completions, else ``b``."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")


def full_model_name(name: str) -> str:
    """The engine's name of a model: no tag means ``:latest``."""
    last = name.rsplit("/", 1)[-1]
    return name if ":" in last else f"{name}:latest"


def model_slug(name: str) -> str:
    """A model's name as one subject token: readable, and unique by 6 hex digits of its hash."""
    full = full_model_name(name)
    digest = hashlib.sha256(full.encode()).hexdigest()[:6]
    return f"{_UNSAFE.sub('_', full)[:100]}-{digest}"


def requests(model: str, lane: str) -> str:
    """Where a request for ``model`` is queued."""
    return f"chat.requests.{model_slug(model)}.{lane}"


def chunks(gateway: str, completion_id: CompletionId) -> str:
    """The reply subject of a completion that ``gateway`` asked for."""
    return f"chat.chunks.{gateway}.{completion_id}"


def gateway_inbox(gateway: str) -> str:
    """The one subscription of a gateway for all its completions."""
    return f"chat.chunks.{gateway}.*"


def followed(completion_id: CompletionId) -> str:
    """The frames of a completion, whoever asked for it."""
    return f"chat.chunks.*.{completion_id}"


def control(completion_id: CompletionId) -> str:
    """Who runs this completion listens here; *no responders* means nobody does."""
    return f"chat.control.{completion_id}"


def watched(completion_id: CompletionId) -> str:
    """Gateways with a viewer of this completion say so here, to its worker and to each other.

    Not on the control subject: who listens there to hear of other viewers would count as somebody
    who runs it.
    """
    return f"chat.watched.{completion_id}"


def workers(model: str) -> str:
    """Who serves ``model`` answers here, in a queue group."""
    return f"chat.workers.{model_slug(model)}"


def accepted(completion_id: CompletionId) -> str:
    """The ``CompletionAccepted`` of a completion."""
    return f"chat.events.accepted.{completion_id}"


def completed(completion_id: CompletionId) -> str:
    """The ``CompletionCompleted`` of a completion."""
    return f"chat.events.completed.{completion_id}"


def history(operation: str) -> str:
    """A query or command to the history service."""
    return f"chat.history.{operation}"


def live(user_id: UserId, session_id: SessionId) -> str:
    """Live events of a session; the user is hashed, as an id may hold any character."""
    return f"chat.live.{hashlib.sha256(user_id.encode()).hexdigest()[:32]}.{session_id}"


def dead_letters(service: str) -> str:
    """Poison messages that ``service`` could not take."""
    return f"chat.dead_letters.{service}"
