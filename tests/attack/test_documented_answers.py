"""Whatever a client sends, the answer is one that ``/openapi.json`` has: status, type and shape.

With ``ATTACK_EXAMPLES=100`` it is a longer run: so many requests for each operation, new ones
each time; ``make attack`` does it.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, Response
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err, Ok
from schemathesis.generation.case import Case as GeneratedCase
from schemathesis.openapi import from_dict
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp

from services.api.app import create_app
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_world import Belongings, WholeWorld, belongings_of
from tests.fakes.api.world import app_of
from tests.support.asgi import Answer, Headers, ask, http_client

_CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
Case: TypeAlias = GeneratedCase[Any]
_MANY: Final = int(os.environ.get("ATTACK_EXAMPLES", "0"))  # noqa: TID251 - the tests' own


class Visitor(NamedTuple):
    """Who asks which gateway, and how often for each operation."""

    mode: str
    who: Literal["stranger", "user", "administrator"]
    examples: int

    def __str__(self) -> str:
        return f"{self.mode}-{self.who}"


VISITORS = [
    Visitor("local", "stranger", examples=4),
    Visitor("open", "stranger", examples=3),
    Visitor("open", "user", examples=3),
    Visitor("open", "administrator", examples=2),
    Visitor("required", "stranger", examples=2),
    Visitor("required", "user", examples=3),
    Visitor("required", "administrator", examples=4),
]


class Attack:
    """One gateway, and what is asked of it."""

    def __init__(self, runner: asyncio.Runner, app: ASGIApp, token: str | None) -> None:
        self._runner = runner
        self._app = app
        self._headers: Headers = [(b"host", b"localhost")]
        if token is not None:
            self._headers.append((b"authorization", f"Bearer {token}".encode()))

    def try_case(self, case: Case) -> None:
        wanted = case.as_transport_kwargs(base_url="http://localhost")
        request = requests.Request(**wanted).prepare()
        answer = self._send(request)
        said = f"{request.method} {request.url} {request.body!r}: {answer.status} {answer.body!r}"
        # All parts of this world are well: there is nothing to excuse it.
        assert answer.status < 500, said
        if answer.status >= 400:
            _check_error(answer, said)
        case.validate_response(_as_response(request, answer), checks=_CHECKS)

    def _send(self, request: requests.PreparedRequest) -> Answer:
        body = request.body or b""
        assert isinstance(body, str | bytes)
        sent = [(_bytes(name).lower(), _bytes(value)) for name, value in request.headers.items()]
        asked = ask(
            self._app,
            str(request.method),
            request.path_url.encode(),
            [*self._headers, *sent],
            _bytes(body),
        )
        return self._runner.run(asked)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _check_error(answer: Answer, said: str) -> None:
    assert answer.header("content-type") == "application/json", said
    (error,) = json.loads(answer.body).values()
    assert set(error) == {"message", "type", "param", "code"}, said
    assert error["message"], said
    assert error["code"], said


def _as_response(request: requests.PreparedRequest, answer: Answer) -> Response:
    headers: dict[str, list[str]] = {}
    for name, value in answer.headers:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return Response(
        status_code=answer.status,
        headers=headers,
        content=answer.body,
        request=request,
        elapsed=0.0,
        verify=False,
    )


def _cases(operation: Operation, there: Belongings) -> st.SearchStrategy[Case]:
    """Right and wrong requests, to addresses of any ids and to those of what is there."""
    modes = [GenerationMode.POSITIVE]
    parameters = {parameter.name for parameter in operation.path_parameters}
    if operation.body or list(operation.iter_parameters()):
        modes.append(GenerationMode.NEGATIVE)
    known = {**there._asdict(), "model_id": "demo"}
    fixed = {name: known[name] for name in parameters & known.keys()}
    strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]
    if fixed and fixed.keys() == parameters:
        found = operation.as_strategy(path_parameters=fixed)
        return st.one_of(found, *strategies)
    return st.one_of(*strategies)


@pytest.mark.parametrize("visitor", VISITORS, ids=str)
def test_every_answer_is_documented(visitor: Visitor) -> None:
    world = WholeWorld()
    gateway = quick_settings(auth=visitor.mode)
    limits = settings(
        max_examples=_MANY or visitor.examples,
        derandomize=not _MANY,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    document = create_app(gateway).openapi()
    with asyncio.Runner() as runner:
        opened = app_of(world, gateway)
        app = runner.run(opened.__aenter__())
        try:
            admin = visitor.who != "user"
            token = runner.run(world.new_key("ann", admin=admin))
            attack = Attack(runner, app, token if visitor.who != "stranger" else None)
            wrong = [
                problem
                for found in from_dict(document).get_all_operations()
                for problem in _try(_ok(found), attack, runner.run(_new(app, token)), limits)
            ]
        finally:
            runner.run(opened.__aexit__(None, None, None))
    assert not wrong, "\n\n".join(wrong)


def _ok(found: Ok[Operation] | Err[InvalidSchema]) -> Operation:
    assert isinstance(found, Ok)
    return found.ok()


async def _new(app: ASGIApp, token: str) -> Belongings:
    # For each operation: the last one may have deleted what there was.
    async with http_client(app) as client:
        return await belongings_of(client, token)


def _try(
    operation: Operation, attack: Attack, there: Belongings, limits: settings
) -> Iterator[str]:
    @limits
    @given(case=_cases(operation, there))
    def every_answer(case: Case) -> None:
        attack.try_case(case)

    try:
        every_answer()
    except (AssertionError, FailureGroup) as error:
        yield f"{operation.label}: {error}"
