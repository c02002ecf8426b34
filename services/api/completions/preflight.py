"""What can be said about a request before anything is held for it: nobody would serve it."""

from services.api.completions.catalog import Catalog
from services.api.ports.broker import Backlog, Broker, KnownModels, Service, Workers
from shared.errors import BrokerUnavailable, HistoryBacklog, ModelNotFound, NoWorker


class Preflight:
    """Looks whether a completion could run now."""

    def __init__(
        self,
        *,
        broker: Broker,
        workers: Workers,
        known_models: KnownModels,
        catalog: Catalog,
        backlog: Backlog,
    ) -> None:
        self._broker = broker
        self._workers = workers
        self._known_models = known_models
        self._catalog = catalog
        self._backlog = backlog

    def connected(self) -> None:
        """Raise where nothing can work.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        if not self._broker.ready():
            raise BrokerUnavailable("The message broker is away; try again in a moment.")

    async def check(self, model: str) -> None:
        """Raise unless somebody serves ``model``, and what is said of it can be stored.

        Raises:
            NoWorker: the model is known, and nobody serves it.
            ModelNotFound: nobody has served it lately.
            HistoryBacklog: too much waits to be stored.
            BrokerUnavailable: the broker is away.
        """
        await self._served(model)
        if self._backlog.too_long():
            raise HistoryBacklog("History is too far behind to take on more; try again later.")

    def window(self, model: str) -> int | None:
        """Tokens of a prompt that somebody may serve; ``None`` for any number."""
        return self._catalog.window(model)

    async def _served(self, model: str) -> None:
        service = await self._workers.probe(model)
        if service is Service.SERVED:
            return
        # The broker knows a hung worker's subscription for another half minute; the catalog has
        # forgotten it by then. One that is listed and silent may only be slow: the queue decides.
        if service is Service.SILENT and self._catalog.find(model) is not None:
            return
        if await self._known_models.seen(model):
            message = f"No worker serves the model {model} at the moment."
            raise NoWorker(message, param="model")
        message = f"The model {model} does not exist."
        raise ModelNotFound(message, param="model")
