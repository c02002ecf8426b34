"""A prompt that is too long for its engine, cut once more: pure.

A gateway cuts by what it knows of the window and of tokens; the engine has the last word.
"""

from collections.abc import Sequence

from shared.contracts.chat import Message
from shared.contracts.completions import RunCompletion


def shortened(run: RunCompletion) -> RunCompletion | None:
    """The request without the older half of what may be left out; ``None`` if nothing may be.

    What stays begins with a question, where there is one, and is never cut a second time.
    """
    if not run.droppable:
        return None
    begin = _system(run.messages)
    end = begin + min(run.droppable, len(run.messages) - begin - 1)
    cut = begin + _older_half(run.messages[begin:])
    while cut < end and run.messages[cut].role != "user":
        cut += 1
    cut = min(cut, end)
    if cut <= begin:
        return None
    return run.model_copy(
        update={
            "messages": [*run.messages[:begin], *run.messages[cut:]],
            "droppable": None,
            "omitted": (run.omitted or 0) + cut - begin,
        }
    )


def _system(messages: Sequence[Message]) -> int:
    count = 0
    while count < len(messages) and messages[count].role == "system":
        count += 1
    return count


def _older_half(messages: Sequence[Message]) -> int:
    half, before = sum(len(message.text()) for message in messages) / 2, 0
    for number, message in enumerate(messages):
        if before >= half:
            return number
        before += len(message.text())
    return len(messages) - 1
