"""The gateway's ports in memory."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from datetime import datetime

from services.api.ports.broker import Alarm, AlreadyAccepted, Heard, Service
from services.api.ports.keys import HeldKey, KeyEntry, Mark
from services.api.ports.mailbox import Mailbox
from services.api.ports.queue import Waiting
from services.api.ports.queue_news import Depth
from services.api.ports.sessions import Held, TurnState
from shared.contracts.completions import RunCompletion
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.live import LiveEvent, SettingsChanged
from shared.errors import BrokerUnavailable, HistoryBacklog, QueueFull
from tests.fakes.api.history import NOON


class FakeClock:
    """The loop's time for deadlines, noon for people."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return NOON


class SetClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return NOON


class FakeBroker:
    def __init__(self) -> None:
        self.connected = True
        self.reconnects = 0
        self.max_payload = 8 * 2**20

    def ready(self) -> bool:
        return self.connected

    def connections(self) -> int:
        return self.reconnects

    async def ping(self) -> float:
        if not self.connected:
            raise BrokerUnavailable("away")
        return 0.001


class FakeWorkers:
    def __init__(self) -> None:
        self.service = Service.SERVED
        self.heard = Heard.YES
        self.cancelled: list[CompletionId] = []
        self.resends: list[tuple[CompletionId, int]] = []

    async def probe(self, model: str) -> Service:
        return self.service

    async def cancel(self, completion_id: CompletionId) -> Heard:
        self.cancelled.append(completion_id)
        return self.heard

    async def resend(self, completion_id: CompletionId, after: int) -> Heard:
        self.resends.append((completion_id, after))
        return self.heard


class FakeKnownModels:
    def __init__(self) -> None:
        self.names: set[str] = set()

    async def seen(self, model: str) -> bool:
        return model in self.names


class FakeBacklog:
    def __init__(self) -> None:
        self.full = False
        self.queued: int | None = 0

    def too_long(self) -> bool:
        return self.full

    def requests(self) -> int | None:
        return self.queued


class FakeJournal:
    """First writer wins."""

    def __init__(self) -> None:
        self.accepted_events: list[CompletionAccepted] = []
        self.ends: dict[CompletionId, CompletionCompleted] = {}
        self.full = False
        self.away = False
        self.deaf = False
        """It answers, and takes no end."""
        self.on_question: Callable[[], None] | None = None
        """What happens while it is first asked for an end."""

    async def accept(self, event: CompletionAccepted) -> None:
        self._must_be_there()
        if self.full:
            raise HistoryBacklog("full")
        if await self.accepted(event.completion_id) is not None:
            raise AlreadyAccepted
        self.accepted_events.append(event)

    async def complete(self, event: CompletionCompleted) -> CompletionCompleted:
        self._must_be_there()
        if self.deaf:
            raise BrokerUnavailable("away")
        return self.ends.setdefault(event.completion_id, event)

    async def accepted(self, completion_id: CompletionId) -> CompletionAccepted | None:
        self._must_be_there()
        return next((e for e in self.accepted_events if e.completion_id == completion_id), None)

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        self._must_be_there()
        happens, self.on_question = self.on_question, None
        if happens is not None:
            happens()
        return self.ends.get(completion_id)

    def _must_be_there(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


class FakeQueue:
    """Hands each request to ``on_request`` at once."""

    def __init__(self) -> None:
        self.requests: dict[int, bytes] = {}
        self.lanes: list[str] = []
        self.full = False
        self.away = False
        self.on_request: Callable[[RunCompletion], None] = lambda _command: None
        self._numbers = itertools.count(1)

    async def enqueue(self, command: bytes, model: str, lane: str) -> int:
        if self.full:
            raise QueueFull("full")
        if self.away:
            raise BrokerUnavailable("away")
        number = next(self._numbers)
        self.requests[number] = command
        self.lanes.append(lane)
        self.on_request(RunCompletion.from_bytes(command))
        return number

    async def withdraw(self, number: int, completion_id: CompletionId) -> bool:
        if completion_id.encode() not in self.requests.get(number, b""):
            return False
        return self.requests.pop(number, None) is not None


class FakeTombstones:
    def __init__(self) -> None:
        self.marked: list[CompletionId] = []
        self.asked: set[CompletionId] = set()
        self.failures = 0

    async def put(self, completion_id: CompletionId, *, asked: bool = False) -> None:
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("away")
        self.marked.append(completion_id)
        if asked:
            self.asked.add(completion_id)

    async def look(self, completion_id: CompletionId) -> Mark:
        if completion_id not in self.marked:
            return Mark.NONE
        return Mark.ASKED if completion_id in self.asked else Mark.FORSAKEN


class FakeKeys:
    def __init__(self) -> None:
        self.entries: dict[str, HeldKey] = {}
        self.reads = 0
        self._revisions = itertools.count(1)

    async def get(self, key: str) -> HeldKey | None:
        self.reads += 1
        return self.entries.get(key)

    async def set(self, key: str, entry: KeyEntry, revision: int | None) -> int | None:
        held = self.entries.get(key)
        if (held.revision if held is not None else None) != revision:
            return None
        self.entries[key] = HeldKey(entry, next(self._revisions))
        return self.entries[key].revision

    async def release(self, key: str, revision: int) -> None:
        held = self.entries.get(key)
        if held is not None and held.revision == revision:
            del self.entries[key]


class FakeFrameLog:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.away = False
        self.reads: list[int] = []

    async def replay(
        self, completion_id: CompletionId, start: int
    ) -> AsyncGenerator[tuple[int, Frame]]:
        self.reads.append(start)
        if self.away:
            raise BrokerUnavailable("away")
        for position, frame in enumerate(self.frames, start=1):
            if position >= start:
                yield position, frame


class FakeTurns:
    def __init__(self) -> None:
        self.entries: dict[SessionId, Held] = {}
        self.age = 0.0
        self.away = False
        self._revisions = itertools.count(1)

    async def get(self, session_id: SessionId) -> Held | None:
        self._must_be_there()
        held = self.entries.get(session_id)
        return held._replace(age=self.age) if held is not None else None

    async def set(
        self, session_id: SessionId, state: TurnState, revision: int | None
    ) -> int | None:
        self._must_be_there()
        held = self.entries.get(session_id)
        if (held.revision if held is not None else None) != revision:
            return None
        self.entries[session_id] = Held(state, next(self._revisions))
        return self.entries[session_id].revision

    def _must_be_there(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


class FakeMailboxes:
    def __init__(self) -> None:
        self.boxes: dict[CompletionId, Mailbox] = {}
        self.alarms: dict[CompletionId, Alarm] = {}

    def reply_subject(self, completion_id: CompletionId) -> str:
        return f"chat.chunks.fake.{completion_id}"

    def register(self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm) -> None:
        self.boxes[completion_id] = mailbox
        self.alarms[completion_id] = alarm

    def remove(self, completion_id: CompletionId, mailbox: Mailbox) -> None:
        if self.boxes.get(completion_id) is mailbox:
            del self.boxes[completion_id]


class FakeListening:
    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    async def close(self) -> None:
        self._stop()


class FakeFeeds:
    """``put`` brings a frame to every viewer."""

    def __init__(self) -> None:
        self.boxes: dict[CompletionId, list[Mailbox]] = {}

    async def follow(
        self, completion_id: CompletionId, mailbox: Mailbox, _alarm: Alarm
    ) -> FakeListening:
        boxes = self.boxes.setdefault(completion_id, [])
        boxes.append(mailbox)

        def stop() -> None:
            if mailbox in boxes:
                boxes.remove(mailbox)

        return FakeListening(stop)

    def put(self, completion_id: CompletionId, frame: Frame) -> None:
        for mailbox in self.boxes.get(completion_id, []):
            mailbox.put(frame)


class FakeSettingsFeed:
    """``tell`` and ``miss`` reach all who listen."""

    def __init__(self) -> None:
        self._ears: list[tuple[Callable[[SettingsChanged], None], Callable[[], None]]] = []

    def listen(self, heard: Callable[[SettingsChanged], None], missed: Callable[[], None]) -> None:
        self._ears.append((heard, missed))

    def tell(self, event: SettingsChanged) -> None:
        for heard, _ in self._ears:
            heard(event)

    def miss(self) -> None:
        for _, missed in self._ears:
            missed()


class FakeLive:
    """Everybody who listens hears what is said, at once."""

    gateway_id = "gw"

    def __init__(self) -> None:
        self.said: list[LiveEvent] = []
        self.ears: list[tuple[UserId, SessionId | None, Callable[[LiveEvent], None]]] = []
        self.missed: list[Callable[[], None]] = []
        self.away = False

    async def say(self, user_id: UserId, event: LiveEvent) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        self.said.append(event)
        for user, session_id, heard in list(self.ears):
            if user == user_id and session_id in (None, event.session_id):
                heard(event)

    async def listen(
        self,
        user_id: UserId,
        session_id: SessionId | None,
        heard: Callable[[LiveEvent], None],
        missed: Callable[[], None],
    ) -> FakeListening:
        if self.away:
            raise BrokerUnavailable("away")
        ear = (user_id, session_id, heard)
        self.ears.append(ear)
        self.missed.append(missed)

        def stop() -> None:
            if ear in self.ears:
                self.ears.remove(ear)
                self.missed.remove(missed)

        return FakeListening(stop)


class FakeWatchers:
    """Remembers what was said; ``hear`` is another gateway."""

    def __init__(self) -> None:
        self.said: list[tuple[CompletionId, bool]] = []
        self.ears: dict[CompletionId, list[Callable[[], None]]] = {}
        self.away = False
        self.surprise: Exception | None = None

    async def say(self, completion_id: CompletionId, *, grace: bool) -> None:
        if self.surprise is not None:
            raise self.surprise
        if self.away:
            raise BrokerUnavailable("away")
        self.said.append((completion_id, grace))

    async def listen(self, completion_id: CompletionId, heard: Callable[[], None]) -> FakeListening:
        if self.away:
            raise BrokerUnavailable("away")
        ears = self.ears.setdefault(completion_id, [])
        ears.append(heard)
        return FakeListening(lambda: ears.remove(heard))

    def hear(self, completion_id: CompletionId) -> None:
        for heard in self.ears.get(completion_id, []):
            heard()


class FakeQueueNotes:
    """Remembers where ``FakeQueue`` has what."""

    def __init__(self, queue: FakeQueue) -> None:
        self.numbers: dict[CompletionId, int] = {}
        self.answered: set[CompletionId] = set()
        self.ages: dict[CompletionId, float] = {}
        """Seconds; a minute where nothing is said."""
        self.looks = 0
        self.away = False
        self._queue = queue

    async def note(self, completion_id: CompletionId, number: int) -> None:
        self.numbers[completion_id] = number

    async def find(self, completion_id: CompletionId) -> Waiting | None:
        self.looks += 1
        if self.away:
            raise BrokerUnavailable("away")
        number = self.numbers.get(completion_id, 0)
        stored = self._queue.requests.get(number)
        if stored is None:
            return None
        command = RunCompletion.from_bytes(stored)
        return Waiting(number, command, completion_id in self.answered)

    async def waits(self, completion_id: CompletionId) -> bool:
        return await self.find(completion_id) is not None

    async def age(self, accepted: CompletionAccepted) -> float:
        return self.ages.get(accepted.completion_id, 60.0)

    async def search(self, accepted: CompletionAccepted) -> Waiting | None:
        for number, stored in self._queue.requests.items():
            command = RunCompletion.from_bytes(stored)
            if command.completion_id == accepted.completion_id:
                return Waiting(number, command, command.completion_id in self.answered)
        return None

    async def begun(self, reply_subject: str) -> bool:
        return any(reply_subject.endswith(answered) for answered in self.answered)


class FakeDepths:
    """What ``pending`` and the like say, for every lane."""

    def __init__(self) -> None:
        self.depths: dict[str, Depth] = {}
        self.looks: list[tuple[str, str]] = []
        """Models and lanes, in order."""

    async def look(self, model: str, lane: str) -> Depth:
        self.looks.append((model, lane))
        if lane not in self.depths:
            raise BrokerUnavailable("no such queue")
        return self.depths[lane]

    def looks_at(self, model: str) -> int:
        """How often anybody has looked at a lane of this model."""
        return [looked for looked, _ in self.looks].count(model)


class FakeAnnouncements:
    """Puts the end where the frames go."""

    def __init__(self, mailboxes: FakeMailboxes) -> None:
        self.ends: list[CompletionCompleted] = []
        self._mailboxes = mailboxes

    async def ended(self, reply_subject: str, end: CompletionCompleted) -> None:
        self.ends.append(end)
        box = self._mailboxes.boxes.get(end.completion_id)
        if box is not None:
            box.put(end_frame(end))
