"""Does the prompt fit into the context, and how many tokens of it are evaluated?"""

from collections.abc import Sequence

import orjson

from deploy.local.demo_engine.chat_request import ChatRequest, Message, SamplingOptions
from deploy.local.demo_engine.errors import Refused
from deploy.local.demo_engine.models import Model
from deploy.local.demo_engine.tokenizer import IMAGE_TOKENS, MESSAGE_OVERHEAD, count_tokens

_NO_SHIFT = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


def evaluated_tokens(request: ChatRequest, model: Model, options: SamplingOptions) -> int:
    """Tokens of the prompt as the model gets to see it.

    A prompt that is too long loses messages from its front, but no system message and never the
    last; if it still is too long, half of the context is left free for the answer (Ollama's
    ``server/prompt.go`` and ``completionPromptForRequest``).

    Raises:
        Refused: the prompt is too long and must not be made shorter.
    """
    window = model.window(options.num_ctx)
    around = count_tokens(orjson.dumps(request.tools).decode()) if request.tools else 0
    counts = [_tokens(message, model) for message in request.messages]
    total = around + sum(counts)
    if total < window:
        return total
    if request.truncate is False:
        raise Refused(400, _too_long(total, window))
    total = around + _without_the_oldest(request.messages, counts, window - around)
    if total < window:
        return total
    if request.shift is False:
        raise Refused(400, _NO_SHIFT)
    keep = min(max(0, options.num_keep or 0), window - 1)
    return keep + (window - keep) // 2


def _tokens(message: Message, model: Model) -> int:
    calls = orjson.dumps(message.tool_calls).decode() if message.tool_calls else ""
    texts = (message.content, message.thinking, calls)
    images = IMAGE_TOKENS * len(message.images) if model.sees else 0
    return MESSAGE_OVERHEAD + images + sum(count_tokens(text) for text in texts)


def _without_the_oldest(messages: Sequence[Message], counts: Sequence[int], room: int) -> int:
    """Tokens that are left when the oldest messages are dropped until the rest fits."""
    left = sum(counts)
    for message, count in zip(messages[:-1], counts[:-1], strict=True):
        if left < room:
            break
        if message.role.lower() != "system":
            left -= count
    return left


def _too_long(tokens: int, window: int) -> str:
    """The text of Ollama's error: the runner's own error, passed on as JSON in a string."""
    message = (
        f"request ({tokens} tokens) exceeds the available context size ({window} tokens), "
        "try increasing it"
    )
    error = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": window,
    }
    return orjson.dumps({"error": error}).decode()
