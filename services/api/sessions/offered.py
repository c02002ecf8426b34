"""Models as people choose among them: what is offered, what is said of it, which one is taken."""

import asyncio
from typing import NamedTuple

from services.api.completions.catalog import Catalog, Offer, shown_name
from services.api.llm_settings import LlmSettings
from services.api.ports.broker import KnownModels
from services.api.sessions.choices import Choices
from services.api.sessions.defaults import (
    Effective,
    May,
    anything,
    default_model,
    effective,
    settings_of,
)
from shared.contracts.ids import UserId
from shared.contracts.presets import ModelSettings
from shared.errors import ModelNotFound


class Choice(NamedTuple):
    """A model that may be chosen."""

    offer: Offer
    settings: ModelSettings
    effective: Effective


class Selection(NamedTuple):
    """All of them, by name; and by their shown names those that are taken unasked."""

    choices: list[Choice]
    default: str | None
    """By users and sessions that name none."""
    preferred: str | None
    """By sessions of the user who asks."""


class OfferedModels:
    """The use case behind the model routes.

    Raises (every call):
        HistoryUnavailable: what was chosen cannot be read.
    """

    def __init__(
        self, catalog: Catalog, known: KnownModels, choices: Choices, llm: LlmSettings
    ) -> None:
        self._catalog = catalog
        self._known = known
        self._choices = choices
        self._llm = llm

    async def takes_tools(self, model: str) -> bool:
        """Whether tools may be offered to a model in sessions."""
        return effective(settings_of(model, await self._choices.models()), self._llm).tools

    async def selection(
        self, user_id: UserId, *, hidden: bool, may_ask: May = anything
    ) -> Selection:
        """What live workers offer to who may ask it; with the hidden ones if ``hidden``."""
        said, preferences = await asyncio.gather(
            self._choices.read_models(), self._choices.read_preferences(user_id)
        )
        offers = [offer for offer in self._catalog.models() if may_ask(offer.id)]
        settings = [settings_of(offer.id, said) for offer in offers]
        choices = [
            Choice(offer, own, effective(own, self._llm))
            for offer, own in zip(offers, settings, strict=True)
        ]
        default = default_model(said, self._llm, [offer.id for offer in offers], may_ask)
        return Selection(
            [choice for choice in choices if hidden or not choice.settings.hidden],
            default=shown_name(default) if default else None,
            preferred=shown_name(preferences.model) if preferences.model else None,
        )

    async def configure(self, settings: ModelSettings) -> ModelSettings:
        """Replace what is said of one model.

        Raises:
            ModelNotFound: nobody has offered it in the last 24 hours.
            BrokerUnavailable: that cannot be found out.
        """
        await self._must_be_known(settings.model)
        said = await self._choices.set_model(settings)
        return settings_of(settings.model, said)

    async def choose_default(self, model: str | None) -> None:
        """Choose the model of those who name none; ``None`` takes the choice back.

        Raises:
            ModelNotFound, BrokerUnavailable: as for ``configure``.
        """
        if model is not None:
            await self._must_be_known(model)
        await self._choices.set_default(model)

    async def _must_be_known(self, model: str) -> None:
        if self._catalog.find(model) is None and not await self._known.seen(model):
            raise ModelNotFound("This model does not exist.", param="model")
