"""Settings: a wrong one is a sentence that names the variable."""

import pytest

from deploy.provisioning.settings import Settings
from shared.settings import NatsSettings, load_or_exit


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WORKER_ACK_WAIT", "soon", "write it like 2s"),
        ("WORKER_ACK_WAIT", "100ms", "greater than or equal to 1 second"),
        ("WORKER_ACK_WAIT", "99999999999999d", "at most some million years"),
        ("NATS_REQUEST_TIMEOUT", "0s", "greater than 0"),
        ("CHAT_WAITING_DEADLINE", "0s", "greater than 0"),
        ("PROVISION_QUEUE_LIMIT", "-1", "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stopped:
        load_or_exit(Settings)

    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert name in message
    assert said in message
    assert message.count("\n") == 1


def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAT_GENERATING_DEADLINE", "1s")

    with pytest.raises(SystemExit):
        load_or_exit(Settings)

    assert "CHAT_GENERATING_DEADLINE must not be shorter than" in capsys.readouterr().err


def test_several_brokers_may_be_listed_with_blanks() -> None:
    assert NatsSettings(url="nats://a:1, nats://b:2,").servers == ["nats://a:1", "nats://b:2"]
