"""What all tests share: a clean environment, and the servers that are named on the command line."""

import os

import pytest

_PREFIXES = ("API_", "CHAT_", "HISTORY_", "LLM_", "NATS_", "OLLAMA_", "INFERENCE_", "PROVISION_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the machine that runs the tests must not leak into them."""
    for name in list(os.environ):  # noqa: TID251 - this is the guard itself
        if name.startswith((*_PREFIXES, "WORKER_", "MONGODB_")):
            monkeypatch.delenv(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--mongodb-url``: a server to try the stores on, instead of one in Docker."""
    parser.addoption(
        "--mongodb-url",
        help="The store contracts' MongoDB; they empty its database parley_test.",
    )
