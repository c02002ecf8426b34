"""A month's budget as OpenAI's own client meets it, on a stack as a user starts it."""

import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e

MESSAGES: Final[Any] = [{"role": "user", "content": "[demo tps=0] Hello"}]


@asynccontextmanager
async def client_of(
    stack: Stack, key: str = "any"
) -> AsyncGenerator[tuple[AsyncOpenAI, list[str]]]:
    """OpenAI's client with the patience that it has by itself, and what it has sent."""
    sent: list[str] = []

    async def note(request: Any) -> None:  # noqa: ANN401 - of whichever HTTP client it is made with
        sent.append(request.url.path)

    async with (
        DefaultAsyncHttpxClient(event_hooks={"request": [note]}) as http,
        AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=key, http_client=http) as client,
    ):
        yield client, sent


async def budget(stack: Stack, key: str = "any") -> list[dict[str, Any]]:
    async with stack.client() as http:
        reply = await http.get("/ai-chat/api/budget/", headers={"Authorization": f"Bearer {key}"})
    assert reply.status_code == 200, reply.text
    told: list[dict[str, Any]] = reply.json()["budgets"]
    return told


@pytest.mark.slow
async def test_openais_client_is_refused_once_and_does_not_try_again(tmp_path: Path) -> None:
    prices = '{"demo*": {"prompt": 1, "completion": 2}}'
    environment = {"API_TOKENS_PER_MONTH": "1", "API_MONEY_PER_MONTH": "5", "API_PRICES": prices}
    directory = tmp_path / "data"
    async with Stack(directory, "--gateways", "2", environment=environment) as stack:
        async with client_of(stack) as (client, sent):
            answer = await client.chat.completions.create(model="demo", messages=MESSAGES)
            assert answer.choices[0].finish_reason == "stop"
            assert answer.usage is not None
            for stream in (True, False):
                sent.clear()
                with pytest.raises(openai.RateLimitError) as refused:
                    await client.chat.completions.create(
                        model="demo", messages=MESSAGES, stream=stream
                    )
                assert (refused.value.code, refused.value.type) == ("insufficient_quota",) * 2
                assert "is used up" in refused.value.message
                assert len(sent) == 1
        (line,) = await budget(stack)
        assert line["tokens"] == {"limit": 1, "used": answer.usage.total_tokens, "remaining": 0}
        cost = (answer.usage.prompt_tokens + 2 * answer.usage.completion_tokens) / 10**6
        assert line["money"]["used"] == f"{cost:.6f}"

    # A broker that has lost all that it kept gives nobody a new month.
    shutil.rmtree(directory / "nats" / "store")
    async with Stack(directory, environment=environment) as stack:
        assert await budget(stack) == [line]
        async with client_of(stack) as (client, sent):
            with pytest.raises(openai.RateLimitError, match="is used up"):
                await client.chat.completions.create(model="demo", messages=MESSAGES)
            assert len(sent) == 1


@pytest.mark.slow
async def test_parley_keys_makes_keys_with_budgets_and_lists_them(tmp_path: Path) -> None:
    async with Stack(tmp_path / "data", environment={"API_AUTH": "required"}) as stack:
        data_dir = ("--data-dir", str(stack.data_dir))
        create = ("keys", "create", "--user", "ann", "--json", *data_dir)
        small = json.loads(
            await stack.parley(*create, "--budget-tokens", "1", "--budget-money", "12.50")
        )
        free = json.loads(await stack.parley(*create))
        assert (small["tokensPerMonth"], small["moneyPerMonth"]) == (1, "12.50")
        assert (free["tokensPerMonth"], free["moneyPerMonth"]) == (None, None)
        listed = json.loads(await stack.parley("keys", "list", "--json", *data_dir))
        assert [key["moneyPerMonth"] for key in listed] == ["12.50", None]
        await stack.parley(*create, "--budget-money", "much", code=2)
        await stack.parley(*create, "--budget-tokens", "0", code=2)

        async def known() -> bool:
            async with stack.client() as http:
                tried = [
                    await http.get("/v1/models", headers={"Authorization": f"Bearer {key['key']}"})
                    for key in (small, free)
                ]
            return {reply.status_code for reply in tried} == {200}

        await eventually(known, within=5)
        async with client_of(stack, small["key"]) as (client, sent):
            await client.chat.completions.create(model="demo", messages=MESSAGES)
            with pytest.raises(openai.RateLimitError, match="This API key's budget"):
                await client.chat.completions.create(model="demo", messages=MESSAGES)
            assert len(sent) == 2
        assert [line["of"] for line in await budget(stack, small["key"])] == ["key"]
        async with client_of(stack, free["key"]) as (client, _):
            for _again in range(2):
                await client.chat.completions.create(model="demo", messages=MESSAGES)
