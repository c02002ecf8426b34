"""Messages on NATS that are no JSON: frames, probes and what was buried."""

from typing import Final

from deploy.asyncapi.channel import Raw
from shared.contracts.dead_letters import REASON, REASON_LENGTH
from shared.contracts.frames import HEAD_SIZE, FrameKind

HEAD: Final = (
    ("version", 8, "1"),
    ("kind", 8, "what the body is"),
    ("attempt", 16, "rises with each takeover, not always by one"),
    ("first", 32, "index of the first event in the body, or the next one to come"),
    ("events", 32, "SSE events in the body; 0 for kinds other than tokens"),
    ("tokens", 32, "tokens that the engine has made so far, this frame included"),
    ("text_length", 32, "characters of answer text sent so far, this frame included"),
    ("thinking_length", 32, "characters of thinking sent so far, this frame included"),
)
"""Names, bits and meanings of the head, in network byte order without padding."""

BODIES: Final = {
    FrameKind.TOKENS: "finished SSE events (`data: {…}` and a blank line)",
    FrameKind.HEARTBEAT: "nothing, or `handed over` in the last one of a worker that stops",
    FrameKind.SNAPSHOT: "JSON `{text, thinking, tool_calls}`: everything so far",
    FrameKind.END: "JSON `CompletionCompleted` without its text, thinking and tool calls",
    FrameKind.TAKEOVER: "nothing: from here on only frames of this attempt, or a later one, count",
    FrameKind.FROM: "16 bytes of BLAKE2b over the token bodies that this attempt goes on from",
}

FRAME: Final = Raw(
    name="Frame",
    description=f"A head of {HEAD_SIZE} bytes and a body. A preview: `CompletionCompleted` is the "
    "truth.",
    payload={
        "type": "string",
        "format": "binary",
        "minLength": HEAD_SIZE,
        "x-head": [
            {"name": name, "offset": sum(bits for _, bits, _ in HEAD[:n]) // 8, "bits": bits}
            | {"description": description}
            for n, (name, bits, description) in enumerate(HEAD)
        ],
        "x-kinds": [
            {"kind": int(kind), "name": kind.name.lower(), "body": body}
            for kind, body in BODIES.items()
        ],
    },
)

PROBE: Final = Raw(
    name="Probe",
    description="Nothing: who is there answers.",
    payload={"type": "string", "maxLength": 0},
)

DEAD_LETTER: Final = Raw(
    name="DeadLetter",
    description="The original bytes of what could not be taken; why is in the headers.",
    payload={"type": "string", "format": "binary"},
    headers={
        "type": "object",
        "properties": {
            REASON: {"type": "string", "maxLength": REASON_LENGTH, "description": "In one line."},
            "Subject": {"type": "string", "description": "From history: where it was."},
            "Stream-Sequence": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "From history: which it was.",
            },
        },
    },
)
