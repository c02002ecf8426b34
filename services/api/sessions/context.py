"""Which messages of a session the model is shown: the newest that fit its window. Pure.

Tokens are estimated, in the proportion in which the engine's own count of the last turn stood to
such an estimate of all that it was shown. An image is few tokens and many bytes, so what one
message to a worker may carry is a bound of its own.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from shared.contracts.chat import Message
from shared.contracts.history import StoredMessage
from shared.contracts.token_estimates import CHARACTERS, PREAMBLE, roughly

_WILD: Final = (0.25, 4.0)
"""Beyond it a count says nothing of the text: most of it was something else."""
_RESERVE: Final = 1024
"""Tokens for an answer that has no limit of its own, or a quarter of a small window."""


class Fitted(NamedTuple):
    """What the model is shown."""

    messages: list[Message]
    omitted: int
    """Older messages of the branch that it is not shown."""
    droppable: int
    """Messages after the leading system ones that could be left out, too."""


def budget(window: int, max_tokens: int | None) -> int:
    """Tokens that a prompt may have in a window, so that there is room for the answer.

    A limit is kept free in full. One that the window cannot hold, even without a prompt, is none
    that could be kept: half of the window is, and the window ends the answer (``length``).
    """
    if max_tokens is None:
        return window - min(_RESERVE, window // 4)
    return window - (max_tokens if max_tokens < window else window // 2)


def fit(
    branch: Sequence[StoredMessage],
    new: Sequence[Message],
    *,
    system: str | None,
    tokens: int | None,
    size: int | None = None,
    leading: Sequence[StoredMessage] = (),
) -> Fitted:
    """The system prompts, the newest messages of ``branch`` that fit, and all of ``new``.

    Args:
        branch: Stored messages up to where ``new`` goes on, the oldest first.
        new: What is asked now; the engine may find it too long, nobody cuts it.
        system: The session's system prompt.
        tokens: How many all may have; ``None`` where nobody knows the window.
        size: Bytes that all may have on their way; ``None`` where nothing bounds them.
        leading: The first messages of the session, where ``branch`` does not reach back to them.
    """
    unread = branch[0].depth - 1 if branch else 0
    start_of = leading if unread else branch
    systems = list(itertools.takewhile(lambda stored: stored.role == "system", start_of))
    spoken = [stored for stored in settled(branch) if not _says_nothing(stored)]
    spoken = spoken if unread else spoken[len(systems) :]
    first = [Message(role="system", content=system)] if system else []
    first += [_message(stored) for stored in systems]
    rest = [_message(stored) for stored in spoken]
    if not new:
        # Another answer to a question that is stored: that is what is asked now.
        rest, new = _split(rest)
    scale = _scale(first, spoken, 0 if not unread else unread - len(systems))
    start = _start(rest, [*first, *new], scale, tokens, size)
    # A conversation that begins with an answer, or with what a tool said, confuses models.
    while (start or unread) and start < len(rest) and rest[start].role != "user":
        start += 1
    shown = rest[start:]
    omitted = start + (unread - len(systems) if unread else 0)
    return Fitted([*first, *shown, *new], omitted, len(shown))


def estimate(stored: StoredMessage) -> int:
    """Tokens of a stored message, roughly."""
    return roughly(_message(stored))


def size_of(stored: StoredMessage) -> int:
    """Bytes of a stored message on its way to a worker."""
    return _size(_message(stored))


def _start(
    rest: Sequence[Message],
    whole: Sequence[Message],
    scale: float,
    tokens: int | None,
    size: int | None,
) -> int:
    left = math.inf if tokens is None else tokens - scale * sum(map(roughly, whole))
    room = math.inf if size is None else size - sum(map(_size, whole))
    start = len(rest)
    while start:
        left -= scale * roughly(rest[start - 1])
        room -= _size(rest[start - 1])
        if left < 0 or room < 0:
            break
        start -= 1
    return start


def _split(rest: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    at = next((n for n in range(len(rest) - 1, -1, -1) if rest[n].role == "user"), len(rest) - 1)
    return list(rest[: max(at, 0)]), list(rest[max(at, 0) :])


def _scale(first: Sequence[Message], spoken: Sequence[StoredMessage], unread: int) -> float:
    """What the engine counts for a token of the estimate: 1.0 where nothing tells.

    Args:
        first: The system prompts of now. If the last turn had another one, its count is off by the
            difference: that much may be left out too early or too late, until the next count.
        spoken: Messages after them, the last of which may have been counted.
        unread: Messages before ``spoken``.
    """
    for index in range(len(spoken) - 1, -1, -1):
        answer = spoken[index]
        usage = answer.usage
        if answer.role != "assistant" or usage is None or usage.estimated:
            continue
        skipped = (answer.context_omitted or 0) - unread
        if skipped < 0:
            # It counts messages that are not here.
            break
        guessed = sum(map(roughly, first)) + sum(map(estimate, spoken[skipped : index + 1]))
        guessed += math.ceil(len(answer.thinking or "") / CHARACTERS)
        # Most of a short talk may be what a template adds.
        scale = (usage.total_tokens + PREAMBLE) / (guessed + PREAMBLE)
        return scale if _WILD[0] <= scale <= _WILD[1] else 1.0
    return 1.0


def settled(branch: Sequence[StoredMessage]) -> list[StoredMessage]:
    """The branch without calls that nobody answered, and without answers that nobody called for.

    Engines and templates refuse either, or make things up; what was said beside a call stays.
    """
    kept: list[StoredMessage] = []
    for index, stored in enumerate(branch):
        if stored.role == "tool":
            # Its call may be before what was read; whoever cuts leaves it out, and counts it.
            unread = branch[0].depth > 1 and all(former.role == "tool" for former in kept)
            if unread or _open_calls(kept):
                kept.append(stored)
        elif stored.tool_calls and not _answered(stored, branch[index + 1 :]):
            kept.append(stored.model_copy(update={"tool_calls": None}))
        else:
            kept.append(stored)
    return kept


def _answered(call: StoredMessage, after: Sequence[StoredMessage]) -> bool:
    answers = itertools.takewhile(lambda stored: stored.role == "tool", after)
    said = {answer.tool_call_id for answer in answers}
    return all(wanted.id in said for wanted in call.tool_calls or ())


def _open_calls(kept: Sequence[StoredMessage]) -> bool:
    before = next((stored for stored in reversed(kept) if stored.role != "tool"), None)
    return before is not None and bool(before.tool_calls)


def _says_nothing(stored: StoredMessage) -> bool:
    # An answer that failed or was stopped before its first word.
    return stored.role == "assistant" and not stored.content and not stored.tool_calls


def _message(stored: StoredMessage) -> Message:
    return Message(
        role=stored.role,
        content=stored.content,
        tool_calls=stored.tool_calls,
        tool_call_id=stored.tool_call_id,
    )


def _size(message: Message) -> int:
    # With the comma after it.
    return len(message.to_bytes()) + 1
