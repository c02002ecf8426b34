"""What an answer is charged that its engine has not counted: its client has left, or it failed."""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from services.inference_worker.ports import Batch, Call, Part, Text, Thinking
from services.inference_worker.stop import StopReason
from shared.contracts.chat import ContentPart, FunctionTool, Message, Usage
from shared.contracts.token_estimates import call_at_most, prompt_at_most
from tests.fakes.inference_worker.one_worker import OneWorker
from tests.fakes.inference_worker.requests import request
from tests.fakes.inference_worker.scripted_engine import stop, words
from tests.support.waiting import eventually

CHINESE: Final = "我们走到港口一直等到船只回来" * 100
TOOLS: Final = [
    FunctionTool(
        name="weather",
        description="What the weather will be like. " * 100,
        parameters={"type": "object", "properties": {"city": {"type": "string"}}},
    )
]
IMAGE: Final = ContentPart(type="image_url", image_url="data:image/png;base64,iVBORw0KGgo=")
PICTURE: Final = Message(role="user", content=[ContentPart(type="text", text="Look"), IMAGE])


HELLO: Final = Message(role="user", content="Hello")


async def left(
    *parts: Part,
    messages: Sequence[Message] = (HELLO,),
    tools: Sequence[FunctionTool] = (),
    window: int | None = None,
) -> Usage:
    """The usage of an answer whose client leaves after ``parts`` of it."""
    run = request(messages=messages, tools=tools, window=window)
    world = OneWorker([Batch(list(parts)), asyncio.Event()], run=run)
    running = world.start()
    await eventually(lambda: world.broker.text if parts else world.engine.open)
    world.stop.set(StopReason.CANCELLED)
    await running
    usage = world.broker.end.usage
    assert usage is not None
    assert usage.estimated
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage


async def test_who_leaves_pays_for_tools_images_and_every_script() -> None:
    plain = (await left()).prompt_tokens
    chinese = await left(messages=[Message(role="user", content=CHINESE)])
    # A vocabulary of Llama 2's size makes 1.3 tokens of each of these characters, at least.
    assert chinese.prompt_tokens >= plain + 1.3 * len(CHINESE)
    tools = await left(tools=TOOLS)
    assert tools.prompt_tokens >= plain + 100 * 7
    picture = await left(messages=[PICTURE])
    assert picture.prompt_tokens >= plain + 3000
    for messages, offered in ([PICTURE], []), ([Message(role="user", content=CHINESE)], TOOLS):
        used = await left(messages=messages, tools=offered)
        assert used.prompt_tokens == prompt_at_most(messages, offered, None)


async def test_who_leaves_before_the_engine_has_refused_pays_no_more_than_a_window() -> None:
    long = [Message(role="user", content=CHINESE)]
    assert (await left(messages=long, window=2048)).prompt_tokens == 2048


async def test_what_was_said_is_counted_by_the_tokens_that_came_and_those_nobody_saw() -> None:
    assert (await left(*map(Text, ["Hel", "lo"]))).completion_tokens == 2
    # Three bytes each, which may have been three tokens.
    assert (await left(Text("我"), Text("们"), Text("!"))).completion_tokens == 7
    # Held back as the beginning of a stop string, and said at once.
    assert (await left(Text("word " * 40))).completion_tokens == 50
    call = Call("weather", '{"city":"Oslo"}')
    said = (await left(Text("Hm"), Thinking("so"), call)).completion_tokens
    assert said == 3 + call_at_most(call.name, call.arguments)


@pytest.mark.parametrize("prompt", [7, 0])
async def test_an_answer_that_the_engine_has_counted_is_charged_that(prompt: int) -> None:
    world = OneWorker(
        [words("Hi"), stop(prompt=prompt, completion=2)],
        run=request(messages=[PICTURE], tools=TOOLS, window=5),
    )
    usage = (await world.run()).usage
    assert usage == Usage(prompt_tokens=prompt, completion_tokens=2, total_tokens=prompt + 2)
