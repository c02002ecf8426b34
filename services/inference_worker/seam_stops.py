"""Stop strings of a client, where an answer goes on after a break: pure."""

from collections.abc import Sequence


class SeamStops:
    """Finds stop strings that begin before the seam and end behind it."""

    def __init__(self, before: str, stops: Sequence[str]) -> None:
        """Describe the seam.

        Args:
            before: The answer up to it.
            stops: What ends the answer.
        """
        longest = max(map(len, stops), default=0)
        self._tail = before[-(longest - 1) :] if longest > 1 else ""
        self._stops = [stop for stop in stops if len(stop) > 1]
        self._seen = ""
        self._held = ""
        self.met = False
        """Whether a stop string is complete: nothing goes out any more."""

    def take(self, text: str) -> str:
        """What of ``text`` (and of what was held back before it) may go out."""
        if self.met or not self._tail:
            return "" if self.met else text
        self._seen += text
        self._held += text
        waits = False
        for stop in self._stops:
            for begin in range(max(0, len(self._tail) - len(stop) + 1), len(self._tail)):
                reach = self._tail[begin:] + self._seen
                if reach.startswith(stop):
                    self.met = True
                    return ""
                waits = waits or stop.startswith(reach)
        return "" if waits else self._release_for_good()

    def release(self) -> str:
        """What is still held back: no stop string came of it."""
        if self.met:
            return ""
        held, self._held = self._held, ""
        return held

    def _release_for_good(self) -> str:
        # Each stop string that began before the seam has been ruled out.
        self._tail = ""
        return self.release()
