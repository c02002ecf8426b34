"""What runs, in which order, with which environment."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from deploy.local.spec import ChildSpec, ExitsZero, External, HttpOk, Printed, TcpAccepts
from deploy.local.topology import Request, Topology, gateway_url, topology
from deploy.nats.keys import Keys

ANYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound


def server(name: str, url: str) -> ChildSpec:
    return ChildSpec(name=name, argv=(name,), readiness=TcpAccepts("127.0.0.1", 1), url=url)


REQUEST = Request(
    nats=server("nats", "nats://127.0.0.1:4222"),
    mongo=server("mongo", "mongodb://127.0.0.1:27017"),
    engines=(server("engine", "http://127.0.0.1:11435"),),
    host="127.0.0.1",
    gateway_ports=(8000, 8001),
    workers=2,
    environment={"PATH": "/bin", "NATS_URL": "nats://elsewhere", "LLM_TIMEOUT": "30s"},
    data_dir=Path("/data"),
    ready_timeout=timedelta(seconds=20),
    stop_grace=timedelta(seconds=10),
    drain_grace=timedelta(seconds=30),
)


def names(plan: Topology) -> list[list[str]]:
    return [[spec.name for spec in stage] for stage in plan.stages]


def spec(plan: Topology, name: str) -> ChildSpec:
    return next(spec for stage in plan.stages for spec in stage if spec.name == name)


def test_foundations_come_first_and_gateways_last() -> None:
    assert names(topology(REQUEST)) == [
        ["nats", "mongo", "engine", "settings"],
        ["provision-once"],
        ["provision", "history"],
        ["worker-1", "worker-2"],
        ["gateway-1", "gateway-2"],
    ]


def test_servers_of_the_user_are_named_and_not_started() -> None:
    request = replace(
        REQUEST,
        nats=External("nats", "nats://broker:4222"),
        engines=(External("engine-1", "http://one"), External("engine-2", "http://two")),
    )

    plan = topology(request)

    assert names(plan)[0] == ["mongo", "settings"]
    assert [e.name for e in plan.externals] == ["nats", "engine-1", "engine-2"]
    assert spec(plan, "history").env["NATS_URL"] == "nats://broker:4222"


def test_each_service_gets_its_own_key_whatever_the_user_has_set() -> None:
    keys = Keys(Path("/data/nats/keys"))
    environment = {**REQUEST.environment, "NATS_NKEY_SEED_FILE": "/mine.nk"}

    plan = topology(replace(REQUEST, nats_keys=keys, environment=environment))

    given = {
        child.name: child.env.get("NATS_NKEY_SEED_FILE") for stage in plan.stages for child in stage
    }
    for name, key in (
        ("provision-once", "provisioner"),
        ("provision", "provisioner"),
        ("history", "history"),
        ("worker-2", "worker"),
        ("gateway-2", "gateway"),
    ):
        assert given[name] == f"/data/nats/keys/{key}.nk"
    assert given["nats"] is None


def test_without_keys_of_its_own_the_launcher_leaves_the_users_alone() -> None:
    environment = {**REQUEST.environment, "NATS_NKEY_SEED_FILE": "/mine.nk"}

    plan = topology(replace(REQUEST, environment=environment))

    assert spec(plan, "history").env["NATS_NKEY_SEED_FILE"] == "/mine.nk"


def test_each_engine_has_its_own_workers() -> None:
    engines = (External("engine-1", "http://one"), External("engine-2", "http://two"))

    plan = topology(replace(REQUEST, engines=engines))

    workers = [spec(plan, f"worker-{n}") for n in (1, 2, 3, 4)]
    assert [worker.env["OLLAMA_BASE_URL"] for worker in workers] == [
        *("http://one", "http://one", "http://two", "http://two")
    ]


def test_children_get_the_users_environment_under_what_the_launcher_knows() -> None:
    env = spec(topology(REQUEST), "history").env

    assert env["LLM_TIMEOUT"] == "30s"
    assert env["NATS_URL"] == "nats://127.0.0.1:4222"
    assert env["MONGODB_URL"] == "mongodb://127.0.0.1:27017"
    assert env["HISTORY_DATABASE"] == "parley"
    assert env["PARLEY_DATA_DIR"] == "/data"


def test_the_users_choice_of_database_and_authentication_stands() -> None:
    environment = {"HISTORY_DATABASE": "mine", "API_AUTH": "required"}

    env = spec(topology(replace(REQUEST, environment=environment)), "gateway-1").env

    assert env["HISTORY_DATABASE"] == "mine"
    assert env["API_AUTH"] == "required"


def test_everyone_is_local_only_on_a_loopback_address() -> None:
    assert spec(topology(REQUEST), "gateway-1").env["API_AUTH"] == "local"
    assert "API_AUTH" not in spec(topology(replace(REQUEST, host=ANYWHERE)), "gateway-1").env


def test_gateways_stand_on_their_ports_and_say_when_they_can_take_requests() -> None:
    gateway = spec(topology(REQUEST), "gateway-2")

    assert (gateway.env["API_HOST"], gateway.env["API_PORT"]) == ("127.0.0.1", "8001")
    assert gateway.url == "http://127.0.0.1:8001"
    assert gateway.readiness == HttpOk("http://127.0.0.1:8001/readyz")
    assert gateway.grace == timedelta(seconds=30)


def test_settings_are_read_first_as_the_services_will_read_them() -> None:
    plan = topology(replace(REQUEST, nats_keys=Keys(Path("/data/nats/keys"))))
    check, gateway = spec(plan, "settings"), spec(plan, "gateway-1")

    assert check in plan.stages[0]
    assert check.readiness == ExitsZero()
    assert dict(check.env) == dict(gateway.env)


def test_the_settings_that_are_read_first_are_those_of_one_worker() -> None:
    engines = (External("engine-1", "http://one"), External("engine-2", "http://two"))

    plan = topology(replace(REQUEST, engines=engines))

    assert spec(plan, "settings").env["OLLAMA_BASE_URL"] == "http://one"
    assert spec(plan, "worker-1").env["OLLAMA_BASE_URL"] == "http://one"


def test_provisioning_is_done_once_and_then_watched() -> None:
    plan = topology(REQUEST)

    assert spec(plan, "provision-once").readiness == ExitsZero()
    assert spec(plan, "provision").readiness == Printed("parley_ready")
    assert spec(plan, "provision").argv[-2:] == ("provision", "--watch")


def test_the_url_is_one_that_a_browser_here_can_open() -> None:
    assert gateway_url(ANYWHERE, 80) == "http://127.0.0.1:80"
    assert gateway_url("::", 80) == "http://[::1]:80"
    assert gateway_url("box.local", 80) == "http://box.local:80"
    assert topology(REQUEST).url == "http://127.0.0.1:8000"


def test_the_web_app_is_served_when_it_is_there() -> None:
    plan = topology(replace(REQUEST, web_dist=Path("/web")))

    assert spec(plan, "gateway-1").env["API_WEB_DIST"] == "/web"
    assert "API_WEB_DIST" not in spec(topology(REQUEST), "gateway-1").env
