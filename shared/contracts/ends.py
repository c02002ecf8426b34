"""The frame that tells every reader of the end: one form, whoever owned the end."""

from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind


def end_frame(event: CompletionCompleted) -> Frame:
    """The ``END`` frame of a recorded event, without the text that ``completed`` holds."""
    said = event.model_dump_json(
        exclude={"text", "thinking", "tool_calls"}, exclude_none=True
    ).encode()
    return Frame(
        FrameKind.END,
        event.ended_by,
        event.events,
        0,
        event.usage.completion_tokens if event.usage else 0,
        len(event.text),
        len(event.thinking),
        said,
    )
