"""From the bytes of an event to what it says."""

from pydantic import ValidationError

from services.history.event_ports import RawEvent
from shared.contracts import subjects
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.wire import WireModel

Event = CompletionAccepted | CompletionCompleted


class Poison(Exception):
    """An event that nobody will ever be able to read; the message says why, without its text."""


def parse_event(raw: RawEvent) -> Event:
    """Read an event.

    Raises:
        Poison: an unknown subject, bytes of another shape, or another completion's event.
    """
    for kind, subject_of in (
        (CompletionAccepted, subjects.accepted),
        (CompletionCompleted, subjects.completed),
    ):
        event = _read(kind, raw.data) if _fits(raw.subject, kind) else None
        if event is None:
            continue
        if raw.subject != subject_of(event.completion_id):
            raise Poison("the event names another completion than its subject")
        return event
    raise Poison("no event is known by this subject")


_PREFIXES: dict[type[WireModel], str] = {
    CompletionAccepted: subjects.EVENTS_ACCEPTED.removesuffix("*"),
    CompletionCompleted: subjects.EVENTS_COMPLETED.removesuffix("*"),
}


def _fits(subject: str, kind: type[Event]) -> bool:
    return subject.startswith(_PREFIXES[kind])


def _read(kind: type[Event], data: bytes) -> Event:
    try:
        return kind.from_bytes(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        first = problems[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        message = f"{len(problems)} problems, the first in {where}: {first['type']}"
        raise Poison(message) from error
