"""Routes and the limits: each request is counted once, and answers that cost say what is left."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.types import Scope

from services.api.access.caller import Caller
from services.api.completions.scope_keys import ANSWER_HEADERS
from services.api.deps import CallerDep, GreetedDep, StateDep
from services.api.limits.headers import rate_headers
from services.api.limits.limits import Limits
from services.api.limits.quota import Levels
from shared.errors import BrokerUnavailable

_METERED: Final = "parley.metered"


class Metered:
    """A request that wants an answer to be generated."""

    def __init__(self, scope: Scope, caller: Caller, limits: Limits) -> None:
        self._scope = scope
        self._limits = limits
        self._told = False
        self.caller = caller

    def started(self) -> None:
        """It was counted as what it is, so it is none of the other requests."""
        self._limits.pace.give_back(self.caller.user_id)

    async def tell(self, levels: Levels | None) -> None:
        """Let the answer say how the caller stands; ``None`` to find that out."""
        if self._told:
            return
        self._told = True
        if levels is None:
            try:
                levels = await self._limits.look(self.caller)
            except BrokerUnavailable:
                # The answer says what is wrong; this is not the place to say it again.
                return
        headers = rate_headers(levels)
        self._scope[ANSWER_HEADERS].extend(
            (name.encode(), value.encode()) for name, value in headers.items()
        )


async def count_request(caller: GreetedDep, state: StateDep) -> None:
    """Count one request; what turns out to start an answer is given back.

    Strangers at health addresses are nobody to count by.

    Raises:
        OverLimit: too many.
    """
    if caller is not None:
        state["limits"].pace.count(caller.user_id)


async def _generating_caller(request: Request, caller: CallerDep, state: StateDep) -> Caller:
    request.scope[_METERED] = Metered(request.scope, caller, state["limits"])
    return caller


CountDep: Final[Any] = Depends(count_request)
GeneratingCallerDep = Annotated[Caller, Depends(_generating_caller)]
"""The caller of a route that starts answers."""


def metered_of(scope: Scope) -> Metered | None:
    """The limits of this request, if its route starts answers."""
    metered = scope.get(_METERED)
    assert metered is None or isinstance(metered, Metered)
    return metered
