"""What can go wrong on demand.

A fault is written ``kind[@k][xN]``: it strikes after ``k`` tokens of this request were sent (0 is
before the first), and with ``xN`` only the first N times that the same prompt is seen (a trailing
assistant message is no part of the prompt, so a run that continues counts as the same). A fault
whose ``k`` is beyond the end of the answer does not strike.

- ``stall@k``: silence for ever, until the client closes the connection.
- ``cut@k``: the TCP connection is closed in the middle of the reply.
- ``half@k``: as ``cut``, after half of the next line.
- ``eof@k``: the reply ends cleanly, without the line that says ``done``.
- ``loop@k``: the next token comes 31 times, then the reply ends cleanly without the line that says
  ``done``: what Ollama does with a model that only repeats itself.
- ``error@k``: a line ``{"error": ...}`` with status 200, then the end of the reply.
- ``slowclose``: everything is sent, ``done`` too, but the reply stays open until the client closes.
- ``busy``: 503 as from a full queue. ``500``: an internal error before the reply begins.
"""

import re
from collections import Counter, deque
from dataclasses import dataclass

ERROR_TEXT = "demo engine: an error was asked for"

_FAULT = re.compile(r"(?:(stall|cut|half|eof|loop|error)@(\d+)|(slowclose|busy|500))(?:x(\d+))?")


FAULTS = "it takes stall, cut, half, eof, loop or error with @tokens, slowclose, busy or 500"


class InvalidFault(ValueError):
    """Not a fault that the engine knows; the text says so."""

    def __init__(self, text: str) -> None:
        super().__init__(f"demo engine: unknown fault {text!r}")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, after ``after`` tokens, the first ``times`` times or always."""

    kind: str
    after: int = 0
    times: int | None = None

    @property
    def name(self) -> str:
        """The fault as it is written, without the number of times."""
        return f"{self.kind}@{self.after}" if self.kind in _AT_A_TOKEN else self.kind


_AT_A_TOKEN = frozenset({"stall", "cut", "half", "eof", "loop", "error"})


def parse_fault(text: str) -> Fault:
    """Read ``kind[@k][xN]``.

    Raises:
        InvalidFault: ``text`` is not of that form.
    """
    found = _FAULT.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidFault(text)
    kind, after, bare, times = found.groups()
    return Fault(
        kind=kind or bare,
        after=int(after) if after else 0,
        times=int(times) if times is not None else None,
    )


class FaultBook:
    """Decides which fault a request meets: first the armed ones, then the one it asked for."""

    def __init__(self) -> None:
        self._armed: deque[tuple[Fault, str | None]] = deque()
        self._struck: Counter[tuple[Fault, str]] = Counter()

    def arm(self, fault: Fault, times: int, model: str | None) -> None:
        """Let ``fault`` meet the next ``times`` requests (of ``model``, if it is named)."""
        self._armed.extend([(fault, model)] * times)

    def disarm(self) -> None:
        """Forget what was armed and which prompts have met their faults."""
        self._armed.clear()
        self._struck.clear()

    @property
    def armed(self) -> list[str]:
        """Names of the armed faults, the next one first."""
        return [fault.name for fault, _ in self._armed]

    def meet(self, asked: Fault | None, prompt: str, model: str) -> Fault | None:
        """The fault that this request meets, if any; counts it as met.

        Args:
            asked: the fault that the request itself asked for.
            prompt: the digest of the prompt, by which ``xN`` counts.
            model: the name of the model, by which armed faults choose.
        """
        for index, (fault, only) in enumerate(self._armed):
            if only in (None, model):
                del self._armed[index]
                return fault
        if asked is None or asked.times is None:
            return asked
        self._struck[asked, prompt] += 1
        return asked if self._struck[asked, prompt] <= asked.times else None
