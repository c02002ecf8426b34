"""The gateway, built once for many lives: building it takes longer than most tests."""

from fastapi import FastAPI
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from services.api.app import create_app, life_of
from services.api.completions.draining import Drain
from services.api.settings import Settings
from services.api.world import OpenWorld

_BUILT: dict[str, FastAPI] = {}


class Application:
    """As ``create_app`` makes it, but those of equal settings share their routes.

    Routes and middleware keep nothing: all that a request needs is in the state of its lifespan,
    and each application has a lifespan of its own.
    """

    def __init__(self, settings: Settings, drain: Drain, open_world: OpenWorld) -> None:
        self.routes = _built(settings)
        self.life = life_of(settings, drain, open_world)
        self._living = Router(lifespan=lambda _app: self.life(self.routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        app = self._living if scope["type"] == "lifespan" else self.routes
        await app(scope, receive, send)


def _built(settings: Settings) -> FastAPI:
    # Where the broker is differs for each test, and no route knows it.
    key = settings.model_dump_json(exclude={"nats"})
    if key not in _BUILT:
        _BUILT[key] = create_app(settings)
    return _BUILT[key]
