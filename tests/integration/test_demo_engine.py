"""The demo engine as its users see it: a process, driven by the official client."""

import asyncio
import base64
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import ollama
import pytest
from pydantic import BaseModel

from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480) + bytes(9)
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 33, 44) + bytes(9)
HELLO = [{"role": "user", "content": "Hello, what is a bridge for?"}]
GREEDY = {"temperature": 0}


@contextmanager
def engine_process(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "deploy.local.demo_engine", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    speed = ("--tokens-per-second", "0", "--first-token-ms", "0")
    with engine_process(*speed, "--parallel", "2", "--max-queue", "1") as (_, address):
        yield address


@pytest.fixture
async def http(url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        await client.delete("/demo/log")
        await client.delete("/demo/faults")
        yield client
        await client.post("/demo/gate", json={"closed": False})


@pytest.fixture
async def engine(url: str, http: httpx.AsyncClient) -> AsyncGenerator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=url) as client:
        yield client


async def streamed(
    engine: ollama.AsyncClient,
    text: str,
    model: str = "demo",
    *,
    tools: Sequence[Callable[..., Any]] = (),
    options: dict[str, Any] | None = None,
    think: bool | None = None,
) -> AsyncIterator[ollama.ChatResponse]:
    messages = [{"role": "user", "content": text}]
    return await engine.chat(
        model, messages, tools=tools, options=options, think=think, stream=True
    )


async def collected(parts: AsyncIterator[ollama.ChatResponse]) -> list[ollama.ChatResponse]:
    seen: list[ollama.ChatResponse] = []
    await collected_into(seen, parts)
    return seen


async def collected_into(
    seen: list[ollama.ChatResponse], parts: AsyncIterator[ollama.ChatResponse]
) -> None:
    async for part in parts:
        seen.append(part)


def text_of(parts: Sequence[ollama.ChatResponse]) -> str:
    return "".join(part.message.content or "" for part in parts)


async def read_until_done(reply: httpx.Response) -> None:
    async for line in reply.aiter_lines():
        if json.loads(line)["done"]:
            return


async def log_until(
    http: httpx.AsyncClient, condition: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []

    async def holds() -> bool:
        entries[:] = (await http.get("/demo/log")).json()
        return condition(entries)

    await eventually(holds, within=5)
    return entries


def outcomes(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["outcome"] for entry in entries]


async def test_a_streamed_answer_comes_token_by_token_and_ends_with_its_counts(
    engine: ollama.AsyncClient,
) -> None:
    parts = await collected(await streamed(engine, "What is a bridge for?"))

    assert "What is a bridge for?" in text_of(parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert last.done_reason == "stop"
    assert last.eval_count == len(parts) - 1 > 40
    assert last.prompt_eval_count == 4 + 6
    durations = (last.load_duration, last.prompt_eval_duration, last.eval_duration)
    assert all(durations)
    assert (last.total_duration or 0) >= (last.eval_duration or 0) > 0


async def test_a_whole_answer_has_the_same_words_as_a_streamed_one(
    engine: ollama.AsyncClient,
) -> None:
    parts = await collected(await streamed(engine, "Hello", options=GREEDY))
    whole = await engine.chat("demo", [{"role": "user", "content": "Hello"}], options=GREEDY)

    assert whole.message.content == text_of(parts)
    assert whole.eval_count == parts[-1].eval_count
    assert whole.done


async def test_each_token_is_a_line_with_its_own_time(http: httpx.AsyncClient) -> None:
    reply = await http.post("/api/chat", json={"model": "demo", "messages": HELLO})

    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert list(lines[0]) == ["model", "created_at", "message", "done"]
    assert len(lines[0]["created_at"]) == len("2026-11-01T12:00:00.000000000Z")
    assert list(lines[-1])[4:6] == ["done_reason", "total_duration"]


@pytest.mark.parametrize("options", [{}, GREEDY, {"seed": 3}])
async def test_an_answer_cut_at_any_length_is_continued_word_for_word(
    engine: ollama.AsyncClient, options: dict[str, Any]
) -> None:
    first = await engine.chat("demo", HELLO, options=options | {"num_predict": 30})
    assert first.done_reason == "length"
    begun = first.message.content or ""
    whole = await engine.chat(
        "demo", [*HELLO, {"role": "assistant", "content": begun}], options=options
    )
    complete = begun + (whole.message.content or "")

    for length in range(20, len(complete), 40):
        broken_off = {"role": "assistant", "content": complete[:length]}
        rest = await engine.chat("demo", [*HELLO, broken_off], options=options)
        assert complete[:length] + (rest.message.content or "") == complete


async def test_a_seed_and_temperature_0_give_the_same_answer_twice(
    engine: ollama.AsyncClient,
) -> None:
    for options in (GREEDY, {"seed": 11}):
        answers = [await engine.chat("demo", HELLO, options=options) for _ in range(2)]
        assert answers[0].message.content == answers[1].message.content
        assert answers[0].eval_count == answers[1].eval_count


async def test_the_model_that_cannot_continue_begins_anew(engine: ollama.AsyncClient) -> None:
    whole = await engine.chat("demo-nocontinue", HELLO, options=GREEDY)
    begun = {"role": "assistant", "content": (whole.message.content or "")[:50]}

    again = await engine.chat("demo-nocontinue", [*HELLO, begun], options=GREEDY)

    assert again.message.content == whole.message.content


async def test_the_diverging_model_never_says_the_same_thing_twice(
    engine: ollama.AsyncClient,
) -> None:
    answers = [await engine.chat("demo-diverge", HELLO, options=GREEDY) for _ in range(3)]

    assert len({answer.message.content for answer in answers}) == 3


async def test_stop_strings_end_the_answer_before_them(engine: ollama.AsyncClient) -> None:
    whole = (await engine.chat("demo", HELLO, options=GREEDY)).message.content or ""
    stop = whole[43:57]

    parts = await collected(
        await streamed(engine, HELLO[0]["content"], options=GREEDY | {"stop": ["never", stop]})
    )

    assert text_of(parts) == whole[:43]
    assert parts[-1].done_reason == "stop"


async def test_a_directive_sets_the_length(engine: ollama.AsyncClient) -> None:
    parts = await collected(await streamed(engine, "Hello [demo tokens=777]"))
    by_option = await engine.chat("demo", HELLO, options={"demo_tokens": 1234})

    assert parts[-1].eval_count == 777
    assert by_option.eval_count == 1234


async def test_the_speed_can_be_set(engine: ollama.AsyncClient) -> None:
    began = time.monotonic()
    reply = await engine.chat(
        "demo",
        HELLO,
        options={"demo_tokens": 20, "demo_tokens_per_second": 100, "demo_first_token_ms": 150},
    )

    assert 0.15 + 0.19 <= time.monotonic() - began < 1.0
    assert (reply.prompt_eval_duration or 0) >= 150e6


async def test_the_thinking_model_thinks_unless_told_not_to(engine: ollama.AsyncClient) -> None:
    parts = await collected(await streamed(engine, "Hello", "demo-thinking", options=GREEDY))
    thoughtless = await engine.chat("demo-thinking", HELLO, think=False)
    hard = await engine.chat("demo-thinking", HELLO, think="high")
    easy = await engine.chat("demo-thinking", HELLO, think="low")

    kinds = [bool(part.message.thinking) for part in parts]
    assert kinds == sorted(kinds, reverse=True)
    assert 5 < sum(kinds) < len(kinds) - 5
    assert parts[-1].eval_count == len(parts) - 1
    assert thoughtless.message.thinking is None
    assert len(hard.message.thinking or "") > len(easy.message.thinking or "") > 0


def add_numbers(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The name of the city.
    """
    return f"Rain in {city}"


async def test_the_tools_model_calls_a_tool_and_then_speaks_of_its_result(
    engine: ollama.AsyncClient,
) -> None:
    question = {"role": "user", "content": "What is the weather in Lisbon today?"}
    called = await engine.chat("demo-tools", [question], tools=[add_numbers, get_weather])
    (call,) = called.message.tool_calls or []
    result = get_weather(**call.function.arguments)
    answered = await engine.chat(
        "demo-tools",
        [question, called.message, {"role": "tool", "content": result, "tool_name": "get_weather"}],
        tools=[add_numbers, get_weather],
    )

    assert call.function.name == "get_weather"
    assert dict(call.function.arguments) == {"city": "Lisbon"}
    assert called.message.content == ""
    assert "get_weather returned: Rain in Lisbon" in (answered.message.content or "")
    assert not answered.message.tool_calls


async def test_several_named_tools_are_all_called(engine: ollama.AsyncClient) -> None:
    parts = await collected(
        await streamed(
            engine, "add_numbers 2 and get_weather", "demo-tools", tools=[add_numbers, get_weather]
        )
    )

    calls = [call for part in parts for call in part.message.tool_calls or []]
    assert [call.function.name for call in calls] == ["add_numbers", "get_weather"]
    assert parts[-1].done_reason == "stop"


class Country(BaseModel):
    """What the structured answer must be."""

    name: str
    population: int
    languages: list[str]


async def test_a_schema_gets_an_answer_that_fits_it(engine: ollama.AsyncClient) -> None:
    answers = [
        (await engine.chat(model, HELLO, format=Country.model_json_schema())).message.content
        for model in ("demo-json", "demo")
    ]
    free = (await engine.chat("demo-json", HELLO, format="json")).message.content

    for answer in answers:
        Country.model_validate_json(answer or "")
    assert json.loads(free or "")["demo"] is True


async def test_the_vision_model_tells_what_the_images_are(engine: ollama.AsyncClient) -> None:
    images = [base64.b64encode(PNG).decode(), base64.b64encode(JPEG).decode()]
    message = {"role": "user", "content": "Look", "images": images}

    seen = (await engine.chat("demo-vision", [message])).message.content or ""
    ignored = (await engine.chat("demo", [message])).message.content or ""

    assert "2 images" in seen
    assert f"PNG, {len(PNG)} bytes, 640 x 480 pixels" in seen
    assert "JPEG" in seen
    assert "44 x 33 pixels" in seen
    assert "PNG" not in ignored


async def test_list_show_and_version_look_like_ollamas(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    models = (await engine.list()).models
    shown = await engine.show("demo-thinking")

    assert {"demo:latest", "demo-slow:latest", "demo-small:latest"} <= {m.model for m in models}
    assert all(m.details and m.details.format == "gguf" and m.size and m.digest for m in models)
    assert shown.capabilities == ["completion", "thinking"]
    assert (shown.modelinfo or {})["demo.context_length"] == 131_072
    assert "num_ctx" in (shown.parameters or "")
    assert (await http.get("/")).text == "Ollama is running"
    assert (await http.head("/")).status_code == 200
    assert (await http.get("/api/version")).json()["version"]
    assert (await http.get("/api/nothing")).status_code == 404


async def test_ps_lists_what_is_loaded_and_keep_alive_0_unloads(
    engine: ollama.AsyncClient,
) -> None:
    loaded = await engine.chat("demo-json", [], options={"num_ctx": 2000}, keep_alive="10m")
    during = {model.model: model for model in (await engine.ps()).models}
    unloaded = await engine.chat("demo-json", [], keep_alive=0)
    after = [model.model for model in (await engine.ps()).models]

    assert loaded.done_reason == "load"
    assert during["demo-json:latest"].context_length == 2000
    assert during["demo-json:latest"].expires_at is not None
    assert unloaded.done_reason == "unload"
    assert "demo-json:latest" not in after


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "nope", "messages": HELLO}, 404, "model 'nope' not found"),
        ({"messages": HELLO}, 400, "model is required"),
        ({"model": "demo", "messages": HELLO, "think": True}, 400,
         '"demo" does not support thinking'),
        ({"model": "demo", "messages": HELLO, "tools": [{"type": "function"}]}, 400,
         "registry.ollama.ai/library/demo:latest does not support tools"),
        ({"model": "demo", "messages": "hello"}, 400,
         "json: cannot unmarshal field ChatRequest.messages: Input should be a valid list"),
        ({"model": "demo", "messages": [{"role": "user", "content": "[demo tps=x]"}]}, 400,
         "demo engine: tps=x is not understood; "
         "it takes tokens per second, 0 for as fast as possible"),
        ({"model": "demo", "messages": [{"role": "user", "content": "[demo fault=hang]"}]}, 400,
         "demo engine: fault=hang is not understood; "
         "it takes stall, cut, half, eof, loop or error with @tokens, slowclose, busy or 500"),
        ({"model": "demo", "messages": [{"role": "user", "content": "[demo x=1]"}]}, 400,
         "demo engine: x=1 is not understood; there are tokens, tps, first_token_ms, fault"),
    ],
)  # fmt: skip
async def test_errors_have_ollamas_status_and_words(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, text: str
) -> None:
    reply = await http.post("/api/chat", json=body)

    assert (reply.status_code, reply.json()) == (status, {"error": text})


async def test_the_official_client_raises_its_own_errors(engine: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as missing:
        await engine.chat("nope", HELLO)
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as thoughtless:
        await collected(await streamed(engine, "Hello", think=True))
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
        await engine.show("nope")

    assert missing.value.status_code == 404
    assert thoughtless.value.status_code == 400


async def test_a_body_that_is_not_json_is_400(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/chat", content=b"{nope")).status_code == 400
    assert (await http.post("/api/chat", content=b"")).json() == {"error": "missing request body"}


async def test_an_overlong_prompt_is_cut_or_refused_as_asked(http: httpx.AsyncClient) -> None:
    words = "word " * 120
    messages = [{"role": "system", "content": "Be brief."}] + [
        {"role": "user", "content": words} for _ in range(6)
    ]
    body = {"model": "demo-small", "messages": messages, "stream": False}

    cut = await http.post("/api/chat", json=body)
    refused = await http.post("/api/chat", json=body | {"truncate": False})

    assert 380 < cut.json()["prompt_eval_count"] < 512
    assert refused.status_code == 400
    inner = json.loads(refused.json()["error"])["error"]
    assert "exceeds the available context size (512 tokens)" in inner["message"]
    assert inner["n_prompt_tokens"] > 700


async def test_an_error_in_the_middle_of_the_stream_is_a_line(engine: ollama.AsyncClient) -> None:
    parts = await streamed(engine, "Hello [demo fault=error@5]")

    seen: list[ollama.ChatResponse] = []
    with pytest.raises(ollama.ResponseError, match="an error was asked for"):
        await collected_into(seen, parts)
    assert len(seen) == 5


@pytest.mark.parametrize(("fault", "lines"), [("cut@4", 4), ("half@4", 4), ("cut@0", 0)])
async def test_a_cut_reply_ends_without_its_end(
    http: httpx.AsyncClient, fault: str, lines: int
) -> None:
    body = {"model": "demo", "messages": HELLO, "options": {"demo_fault": fault}}
    received = bytearray()

    async def read_to_the_end() -> None:
        async with http.stream("POST", "/api/chat", json=body) as reply:
            async for data in reply.aiter_raw():
                received.extend(data)

    with pytest.raises(httpx.RemoteProtocolError):
        await read_to_the_end()

    assert received.count(b"\n") == lines
    assert received.endswith(b"\n") == (fault == "cut@4")
    assert outcomes((await http.get("/demo/log")).json()) == [f"fault:{fault}"]


async def test_a_reply_can_end_cleanly_without_saying_done(engine: ollama.AsyncClient) -> None:
    parts = await collected(await streamed(engine, "Hello [demo fault=eof@3]"))

    assert [part.done for part in parts] == [False] * 3


async def test_a_model_that_only_repeats_itself_is_broken_off_without_a_last_word(
    engine: ollama.AsyncClient,
) -> None:
    parts = await collected(await streamed(engine, "Hello [demo fault=loop@3]"))
    assert [part.message.content for part in parts[3:]] == [" loop"] * 31
    assert not parts[-1].done


async def test_a_schema_of_which_no_grammar_can_be_made_is_refused_as_ollama_does(
    engine: ollama.AsyncClient,
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
    with pytest.raises(ollama.ResponseError, match="invalid JSON schema") as refused:
        await engine.chat("demo", HELLO, format=schema)
    assert refused.value.status_code == 500


async def test_a_fault_for_the_first_time_only_lets_the_continuation_through(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    text = "Hello, first time [demo fault=cut@20x1]"
    seen: list[ollama.ChatResponse] = []
    with pytest.raises(httpx.RemoteProtocolError):
        await collected_into(seen, await streamed(engine, text))
    begun = {"role": "assistant", "content": text_of(seen)}
    rest = await engine.chat("demo", [{"role": "user", "content": text}, begun])
    again = await engine.chat(
        "demo", [{"role": "user", "content": text}, {**begun, "content": text_of(seen)[:9]}]
    )

    assert text_of(seen) + (rest.message.content or "") == text_of(seen)[:9] + (
        again.message.content or ""
    )
    entries = (await http.get("/demo/log")).json()
    assert outcomes(entries) == ["fault:cut@20", "done", "done"]
    assert [entry["continued"] for entry in entries] == [False, True, True]
    assert len({entry["digest"] for entry in entries}) == 1
    assert entries[0]["tokens_sent"] == 20


async def test_armed_faults_meet_the_next_requests(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    armed = await http.post("/demo/faults", json={"fault": "busy", "times": 1})
    with pytest.raises(ollama.ResponseError, match="server busy, please try again") as busy:
        await engine.chat("demo", HELLO)
    await engine.chat("demo", HELLO)
    with pytest.raises(ollama.ResponseError) as broken:
        await engine.chat("demo", HELLO, options={"demo_fault": "500"})

    assert armed.json()["armed"] == ["busy"]
    assert busy.value.status_code == 503
    assert broken.value.status_code == 500
    assert outcomes((await http.get("/demo/log")).json()) == ["fault:busy", "done", "fault:500"]


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("before the first token", {"demo_first_token_ms": 60_000}),
        ("in a stall", {"demo_fault": "stall@3"}),
        ("in a stall before the first token", {"demo_fault": "stall@0"}),
        ("between slow tokens", {"demo_tokens_per_second": 0.02}),
        ("in full run", {"demo_tokens": 200_000, "demo_tokens_per_second": 0}),
    ],
)
async def test_a_client_that_leaves_stops_the_generation_at_once(
    url: str, http: httpx.AsyncClient, how: str, options: dict[str, Any]
) -> None:
    body = {"model": "demo", "messages": HELLO, "options": options}
    async with httpx.AsyncClient(base_url=url) as leaver:
        asking = asyncio.create_task(leaver.post("/api/chat", json=body))
        await log_until(http, lambda log: outcomes(log) == ["running"])
        if "first token" not in how:
            await log_until(http, lambda log: log[0]["tokens_sent"] > 0)
        asking.cancel()
        await asyncio.wait([asking])
        left_at = time.time()
    (entry,) = await log_until(http, lambda log: outcomes(log) != ["running"])

    assert entry["outcome"] == "closed_by_client"
    assert entry["closed_at"] - left_at < 0.25
    assert entry["stopped_after"] < 0.05
    assert (await http.get("/demo/state")).json()["running"] == 0


async def test_a_client_that_leaves_after_the_last_line_has_got_all_of_it(
    url: str, http: httpx.AsyncClient
) -> None:
    body = {"model": "demo", "messages": HELLO}
    async with (
        httpx.AsyncClient(base_url=url) as leaver,
        leaver.stream("POST", "/api/chat", json=body) as reply,
    ):
        await read_until_done(reply)
    (entry,) = await log_until(http, lambda log: outcomes(log) != ["running"])

    assert entry["outcome"] == "done"


async def test_the_gate_holds_all_generation_until_it_opens(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    await http.post("/demo/gate", json={"closed": True})
    asking = [asyncio.create_task(engine.chat("demo", HELLO)) for _ in range(2)]
    await log_until(http, lambda log: outcomes(log) == ["running", "running"])
    state = (await http.get("/demo/state")).json()
    assert (state["running"], state["gate_closed"]) == (2, True)
    assert [entry["tokens_sent"] for entry in (await http.get("/demo/log")).json()] == [0, 0]

    await http.post("/demo/gate", json={"closed": False})

    assert [answer.done for answer in await asyncio.gather(*asking)] == [True, True]


async def test_requests_queue_when_all_slots_are_taken_and_the_queue_ends(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    await http.post("/demo/gate", json={"closed": True})
    asking = [asyncio.create_task(engine.chat("demo", HELLO)) for _ in range(3)]
    await log_until(http, lambda log: sorted(outcomes(log)) == ["queued", "running", "running"])
    with pytest.raises(ollama.ResponseError, match="maximum pending requests exceeded") as busy:
        await engine.chat("demo", HELLO)
    state = (await http.get("/demo/state")).json()

    await http.post("/demo/gate", json={"closed": False})
    await asyncio.gather(*asking)

    assert busy.value.status_code == 503
    assert (state["running"], state["queued"]) == (2, 1)
    log = (await http.get("/demo/log")).json()
    assert outcomes(log) == ["done", "done", "done", "refused:503"]


async def test_a_client_that_leaves_the_queue_leaves_its_place(
    engine: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    await http.post("/demo/gate", json={"closed": True})
    asking = [asyncio.create_task(engine.chat("demo", HELLO)) for _ in range(3)]
    entries = await log_until(http, lambda log: outcomes(log).count("queued") == 1)
    waiting = outcomes(entries).index("queued")
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)

    await log_until(http, lambda log: outcomes(log) == ["closed_by_client"] * 3)
    assert entries[waiting]["started_at"] is None
    state = (await http.get("/demo/state")).json()
    assert (state["running"], state["queued"]) == (0, 0)


async def test_a_reply_left_open_after_done_is_ended_by_its_client(
    url: str, http: httpx.AsyncClient
) -> None:
    body = {"model": "demo", "messages": HELLO, "options": {"demo_fault": "slowclose"}}
    async with (
        httpx.AsyncClient(base_url=url) as leaver,
        leaver.stream("POST", "/api/chat", json=body) as reply,
    ):
        await read_until_done(reply)
        assert (await http.get("/demo/state")).json()["running"] == 1
    (entry,) = await log_until(http, lambda log: log[0]["closed_at"] is not None)

    assert entry["outcome"] == "fault:slowclose"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_engine_at_once_with_open_streams(number: signal.Signals) -> None:
    with engine_process() as (process, url):
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps({"model": "demo", "messages": HELLO, "options": {"demo_tokens": 9999}})
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(
                f"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}"
                .encode()
            )  # fmt: skip
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
            began = time.monotonic()
            process.send_signal(number)

            assert process.wait(timeout=5) == 0
            assert time.monotonic() - began < 1
