"""A person who talks for minutes, and comes back whenever a connection breaks."""

import asyncio
import json
import random

from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.faults.reader import COMPLETIONS, Reader
from tests.faults.transcript import Transcript, read
from tests.faults.words import answers

_RESUMABLE = {"X-Stream-Resume": "true"}
_AGAIN = frozenset({0, 409, 429, 503})


class SoakClient:
    """Asks in one session, one question after another; keeps what went wrong."""

    def __init__(self, cluster: Cluster, gateways: list[Process], session: str, seed: int) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._session = session
        self._dice = random.Random(seed)
        self._number = seed * 1_000_000
        self.answered: dict[str, str] = {}
        """Texts by completion."""
        self.resumed = 0
        self.repaired = 0
        """Answers of which the broker had lost frames."""
        self.referred = 0
        """Answers that could not be resumed, as a broker and a worker had died together."""
        self.wrong: list[str] = []

    async def run(self, until: asyncio.Event) -> None:
        """Talk until told to stop."""
        while not until.is_set():
            self._number += 1
            tokens = self._dice.randint(10, 80)
            await self._turn(f"Say {self._number} [demo tokens={tokens} tps=20]")

    async def _turn(self, text: str) -> None:
        seed = self._dice.choice([None, 7])
        gateway = self._dice.choice(self._gateways)
        reader = self._cluster.ask(
            text, gateway=gateway, sessionId=self._session, seed=seed, headers=_RESUMABLE
        )
        async with reader:
            await reader.ended(within=120)
        if reader.status in _AGAIN:
            # Refused: nothing was begun, or nobody knows its id.
            await asyncio.sleep(0.2)
            return
        raw = await self._to_the_end(reader)
        if raw is None:
            await self._look_it_up(reader, text, seed)
        else:
            self._judge(reader, read(raw, repaired=True), text, seed)

    async def _look_it_up(self, reader: Reader, text: str, seed: int | None) -> None:
        """Where nobody can tell what the client has, it is referred to the whole answer."""
        self.referred += 1
        address = f"{COMPLETIONS}/{reader.completion_id}"
        while True:
            async with Reader.following(self._dice.choice(self._gateways).url, address) as whole:
                await whole.ended(within=120)
            if whole.status == 200 and (body := json.loads(whole.raw))["status"] == "completed":
                break
            await asyncio.sleep(0.2)
        said = body["choices"][0]["message"]["content"]
        if said not in answers(text, seed=seed):
            self.wrong.append(f"{reader.completion_id}: looked up, and another text than its own")
        self.answered[reader.completion_id] = said

    async def _to_the_end(self, reader: Reader) -> bytes | None:
        raw = _whole_events(reader.raw)
        while reader.broken or not read(raw).terminals:
            if len(raw) == 0 and reader.status >= 400:
                return reader.raw
            self.resumed += 1
            last = read(raw).indices[-1:]
            cursor = {"Last-Event-ID": f"{reader.completion_id}:{last[0]}"} if last else {}
            address = f"{COMPLETIONS}/{reader.completion_id}?stream=true"
            back = Reader.following(self._dice.choice(self._gateways).url, address, **cursor)
            async with back:
                await back.ended(within=120)
            if back.status == 200:
                raw += _whole_events(back.raw)
            elif back.status == 410:
                return None
            elif back.status not in _AGAIN:
                return raw + back.raw
            await asyncio.sleep(0.2)
            reader.broken = back.broken if back.status == 200 else reader.broken
            if read(raw).terminals:
                break
        return raw

    def _judge(self, reader: Reader, said: Transcript, text: str, seed: int | None) -> None:
        completion_id = reader.headers.get("x-completion-id", "?")
        if said.oddities or not said.whole:
            self.wrong.append(f"{completion_id}: {said.oddities[:2]} {said.error} {reader.status}")
        elif said.text not in answers(text, seed=seed):
            self.wrong.append(f"{completion_id}: another text than its own")
        else:
            self.answered[completion_id] = said.text
            self.repaired += bool(said.jumps)


def _whole_events(raw: bytes) -> bytes:
    return raw[: raw.rfind(b"\n\n") + 2] if b"\n\n" in raw else b""
