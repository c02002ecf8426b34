"""Models, their settings and the default of all users over HTTP, on both faces."""

import pytest

from services.api.llm_settings import LlmSettings
from services.api.sessions.choices import Choices
from services.api.sessions.defaults import anything
from services.api.sessions.resolving import ResolvedDefaults
from services.api.spelling import respelled
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.history import Session, SessionSettings
from shared.contracts.ids import UserId, new_session_id
from shared.contracts.presets import ModelSettings, Preferences
from shared.contracts.workers import EngineState, ModelCard, WorkerAnnouncement
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.world import FakeWorld, client_of

CAMEL, SNAKE = "/api/chat", "/ai-chat/api"
SLASHED = "hf.co/some/model:Q4"
DEMO = {
    "id": "demo",
    "displayLabel": "llama GGUF 3.2B Q4_0",
    "contextLength": 131072,
    "capabilities": ["tools"],
    "metadata": {
        "family": "llama",
        "format": "GGUF",
        "parameterSize": "3.2B",
        "quantizationLevel": "Q4_0",
    },
    "settings": {"temperature": None, "maxTokens": None, "tools": None, "hidden": False},
    "effective": {"temperature": None, "maxTokens": None, "tools": True},
    "isDefault": True,
    "isPreferred": False,
}


@pytest.fixture
async def world() -> FakeWorld:
    """Two workers: ``demo``, and a model of a name with slashes."""
    world = FakeWorld()
    world.catalog.put(
        WorkerAnnouncement(
            worker_id="w2",
            slots=1,
            free=1,
            models=[ModelCard(name=SLASHED)],
            engine=EngineState(url="http://engine", ok=True),
        )
    )
    return world


async def test_models_are_listed_with_what_is_said_of_them(world: FakeWorld) -> None:
    async with client_of(world) as client:
        body = (await client.get(f"{CAMEL}/models/")).json()
        snake = (await client.get(f"{SNAKE}/models/")).json()

    assert body["models"][0] == DEMO
    assert [it["id"] for it in body["models"]] == ["demo", SLASHED]
    assert (body["defaultModel"], body["preferredModel"]) == ("demo", None)
    assert set(snake) == {"models", "default_model", "preferred_model"}
    assert snake["models"][0]["metadata"]["parameter_size"] == "3.2B"
    assert set(snake["models"][0]["settings"]) == {"temperature", "max_tokens", "tools", "hidden"}


async def test_what_holds_in_the_end_is_shown_beside_what_is_said(world: FakeWorld) -> None:
    llm = LlmSettings(temperature=0.7, max_tokens=9, enable_tools=False)
    async with client_of(world, quick_settings(llm=llm)) as client:
        said = {"temperature": 0.1, "tools": True}
        await client.put(f"{CAMEL}/models/{SLASHED}/settings/", json=said)
        plain, own = (await client.get(f"{CAMEL}/models/")).json()["models"]
    assert plain["settings"]["temperature"] is None
    assert plain["effective"] == {"temperature": 0.7, "maxTokens": 9, "tools": False}
    assert own["effective"] == {"temperature": 0.1, "maxTokens": 9, "tools": True}


@pytest.mark.parametrize("name", ["demo", "demo:latest", SLASHED])
async def test_settings_of_a_model_are_replaced_whole(world: FakeWorld, name: str) -> None:
    async with client_of(world) as client:
        path = f"{CAMEL}/models/{name}/settings/"
        wanted = {"temperature": 0.5, "maxTokens": 100, "tools": False, "hidden": False}
        stored = await client.put(path, json=wanted)
        assert (stored.status_code, stored.json()) == (200, wanted)

        listed = (await client.get(f"{CAMEL}/models/")).json()["models"]
        assert [it["settings"] for it in listed if it["settings"]["tools"] is False] == [wanted]

        again = await client.put(path.replace(CAMEL, SNAKE), json={"max_tokens": 5})
        assert again.json() == {
            "temperature": None,
            "max_tokens": 5,
            "tools": None,
            "hidden": False,
        }
    assert len(world.asking.settings.by_model) == 1


async def test_a_hidden_model_is_left_out_of_the_list_and_stays_usable(world: FakeWorld) -> None:
    world.answer("Hi", status=CompletionStatus.COMPLETED)
    async with client_of(world) as client:
        await client.put(f"{CAMEL}/models/demo/settings/", json={"hidden": True})

        shown = (await client.get(f"{CAMEL}/models/")).json()
        assert [it["id"] for it in shown["models"]] == [SLASHED]
        assert shown["defaultModel"] == SLASHED
        for spelled in ("true", "1"):
            everything = (await client.get(f"{SNAKE}/models/?hidden={spelled}")).json()
            assert [it["id"] for it in everything["models"]] == ["demo", SLASHED]
        message = {"role": "user", "content": "Hello"}
        answer = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": [message]}
        )
        assert answer.status_code == 200


async def test_a_default_is_chosen_for_all_and_a_preference_for_oneself(world: FakeWorld) -> None:
    async with client_of(world) as client:
        chosen = await client.put(f"{CAMEL}/models/default/", json={"model": SLASHED})
        assert (chosen.status_code, chosen.json()) == (200, {"defaultModel": SLASHED})
        await client.put(f"{CAMEL}/preferences/", json={"model": "demo:latest"})

        body = (await client.get(f"{CAMEL}/models/")).json()
        assert (body["defaultModel"], body["preferredModel"]) == (SLASHED, "demo")
        flags = {it["id"]: (it["isDefault"], it["isPreferred"]) for it in body["models"]}
        assert flags == {"demo": (False, True), SLASHED: (True, False)}

        back = await client.put(f"{SNAKE}/models/default/", json={"model": None})
        assert back.json() == {"default_model": "demo"}


async def test_the_environments_default_holds_until_one_is_chosen(world: FakeWorld) -> None:
    settings = quick_settings(llm=LlmSettings(default_model=SLASHED))
    async with client_of(world, settings) as client:
        assert (await client.get(f"{CAMEL}/models/")).json()["defaultModel"] == SLASHED
        await client.put(f"{CAMEL}/models/default/", json={"model": "demo"})
        assert (await client.get(f"{CAMEL}/models/")).json()["defaultModel"] == "demo"


async def test_a_model_of_yesterday_can_be_configured_and_chosen(world: FakeWorld) -> None:
    world.known_models.names = {"asleep"}
    async with client_of(world) as client:
        for path, body in (("asleep/settings", {"hidden": True}), ("default", {"model": "asleep"})):
            assert (await client.put(f"{CAMEL}/models/{path}/", json=body)).status_code == 200
        assert (await client.get(f"{CAMEL}/models/")).json()["defaultModel"] == "asleep"


async def test_plain_v1_takes_nothing_of_all_this(world: FakeWorld) -> None:
    runs: list[RunCompletion] = []
    world.answer("Hi")
    serve = world.queue.on_request

    def see(command: RunCompletion) -> None:
        runs.append(command)
        serve(command)

    world.queue.on_request = see
    llm = LlmSettings(default_model="demo", temperature=0.7, max_tokens=9)
    async with client_of(world, quick_settings(llm=llm)) as client:
        await client.put(f"{CAMEL}/models/demo/settings/", json={"temperature": 0.1})
        await client.put(f"{CAMEL}/preferences/", json={"temperature": 0.2, "maxTokens": 3})
        message = {"role": "user", "content": "Hello"}
        await client.post("/v1/chat/completions", json={"model": "demo", "messages": [message]})
        unnamed = await client.post("/v1/chat/completions", json={"messages": [message]})

    assert unnamed.status_code == 400
    (run,) = runs
    assert (run.sampling.temperature, run.sampling.max_tokens) == (None, None)
    assert [it.role for it in run.messages] == ["user"]


@pytest.mark.parametrize("face", [CAMEL, SNAKE])
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("PUT", "models/demo/settings/", {"temperature": 2.5}, 400, "temperature"),
        ("PUT", "models/demo/settings/", {"temperature": "1"}, 400, "temperature"),
        ("PUT", "models/demo/settings/", {"maxTokens": 0}, 400, "maxTokens"),
        ("PUT", "models/demo/settings/", {"max_tokens": 2**31}, 400, "max_tokens"),
        ("PUT", "models/demo/settings/", {"tools": ["a"]}, 400, "tools"),
        ("PUT", "models/demo/settings/", {"hidden": None}, 400, "hidden"),
        ("PUT", "models/demo/settings/", [], 400, None),
        ("PUT", "models/unknown/settings/", {}, 404, "model"),
        ("PUT", "models/unknown/with/slashes/settings/", {}, 404, "model"),
        ("PUT", "models/default/", {}, 400, "model"),
        ("PUT", "models/default/", {"model": ""}, 400, "model"),
        ("PUT", "models/default/", {"model": 5}, 400, "model"),
        ("PUT", "models/default/", {"model": "a\nb"}, 404, "model"),
        ("PUT", "models/default/", {"model": "unknown"}, 404, "model"),
        ("GET", "models/?hidden=perhaps", None, 400, "hidden"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_field_and_nothing_is_stored(
    face: str, method: str, path: str, body: object, status: int, param: str | None
) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        reply = await client.request(method, f"{face}/{path}", json=body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["param"] == (param and respelled(param, camel=face == CAMEL))
    assert world.asking.settings.by_model == {}
    assert world.asking.settings.default is None


async def test_a_turn_is_resolved_from_all_who_may_say_something(world: FakeWorld) -> None:
    user = UserId("ann")
    async with world.open(quick_settings()):
        choices = Choices(world.asking, world.background, world.clock)
        llm = LlmSettings(temperature=0.7, max_tokens=9)
        await choices.set_default("demo")
        await choices.set_model(ModelSettings(model="demo", temperature=0.1))
        await choices.set_preferences(user, Preferences(top_p=0.5))
        session = Session(
            id=new_session_id(),
            title="",
            created_at=NOON,
            updated_at=NOON,
            message_count=0,
            system_prompt="Brief.",
        )

        turn = await ResolvedDefaults(choices, world.catalog, llm).resolve(
            user, SessionSettings(), session, anything
        )

    assert turn == SessionSettings(
        model="demo", temperature=0.1, top_p=0.5, max_tokens=9, system_prompt="Brief."
    )
