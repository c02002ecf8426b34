"""One client: what it asked, and every byte that it got, with the time of its arrival."""

import asyncio
import itertools
import ssl
import time
from types import TracebackType
from typing import Self

import httpx

from tests.faults.transcript import Transcript, read
from tests.support.waiting import eventually

COMPLETIONS = "/v1/chat/completions"
_PATIENCE = 300.0
# Making a context takes longer than many answers; nothing here speaks TLS.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Reader:
    """``async with cluster.ask("Hello") as reader: await reader.ended()``."""

    def __init__(self, url: str, text: str, body: dict[str, object]) -> None:
        headers = body.pop("headers", {})
        assert isinstance(headers, dict)
        self.text = text
        self.url = url
        self.model = str(body.get("model", "demo"))
        self.status = 0
        self.headers = httpx.Headers()
        self.arrivals: list[tuple[float, bytes]] = []
        self.repaired = False
        """Whether the broker may lose frames of it, so that one event stands for several."""
        self.broken: str | None = None
        """How the connection ended, if not in good order."""
        self.asked_at = time.monotonic()
        self._request = httpx.Request(
            "POST", url + COMPLETIONS, headers=headers,
            extensions={"timeout": httpx.Timeout(_PATIENCE).as_dict()},
            json={
                "model": "demo", "stream": True,
                "messages": [{"role": "user", "content": text}],
                **body,
            },
        )  # fmt: skip
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def following(cls, url: str, address: str, **headers: str) -> Self:
        """A client that reads an answer which was asked for elsewhere."""
        reader = cls(url, "", {})
        reader._request = httpx.Request(
            "GET", url + address, headers=headers, extensions=reader._request.extensions
        )
        return reader

    def start(self) -> Self:
        """Send the request; the answer comes later."""
        self.asked_at = time.monotonic()
        self._task = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        try:
            async with httpx.AsyncClient(
                trust_env=False, timeout=_PATIENCE, verify=_NO_TLS
            ) as client:
                response = await client.send(self._request, stream=True)
                self.status, self.headers = response.status_code, response.headers
                async for data in response.aiter_raw():
                    self.arrivals.append((time.monotonic(), data))
                await response.aclose()
        except httpx.TransportError as error:
            self.broken = type(error).__name__

    async def leave(self) -> None:
        """Close the connection in the middle."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.leave()

    @property
    def raw(self) -> bytes:
        """Everything that came."""
        return b"".join(data for _, data in self.arrivals)

    @property
    def transcript(self) -> Transcript:
        """What it says so far."""
        return read(self.raw, repaired=self.repaired)

    @property
    def completion_id(self) -> str:
        """The completion's id."""
        return self.headers["x-completion-id"]

    @property
    def over(self) -> bool:
        """Whether the connection has ended."""
        return self._task is not None and self._task.done()

    @property
    def refused(self) -> bool:
        """Whether nothing was begun: the next gateway may be asked."""
        return self.status == 503 or (self.status == 0 and self.broken == "ConnectError")

    @property
    def unanswered(self) -> bool:
        """Whether the connection was closed without a byte."""
        return self.status == 0 and self.broken in ("ReadError", "RemoteProtocolError")

    @property
    def first_content(self) -> float:
        """Seconds to the first content."""
        return self._content()[0] - self.asked_at

    @property
    def longest_gap(self) -> float:
        """The longest time in seconds without content, once it had begun."""
        times = self._content()
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    @property
    def took(self) -> float:
        """Seconds to the last byte."""
        return self.arrivals[-1][0] - self.asked_at

    def _content(self) -> list[float]:
        return [at for at, data in self.arrivals if b"data: {" in data]

    async def has(self, characters: int = 1, *, within: float = 15.0) -> None:
        """Return once so much of the answer's text is there."""

        def there() -> bool:
            assert not self.over, (self.status, self.raw[-500:], self.broken)
            return len(self.transcript.text) >= characters

        await eventually(there, within=within)

    async def ended(self, *, within: float = 30.0) -> Transcript:
        """Wait for the end of the connection; gives what came."""
        assert self._task is not None
        done, _ = await asyncio.wait({self._task}, timeout=within)
        assert done, f"no end within {within} s: {self.raw[-300:]!r}"
        self._task.result()
        return self.transcript
