"""What holds for a turn, by what users and this installation have chosen."""

from typing import Protocol

from services.api.access.refusals import ModelRefused
from services.api.completions.catalog import Catalog
from services.api.llm_settings import LlmSettings
from services.api.sessions.choices import Choices
from services.api.sessions.defaults import May, default_model, listed_tools, resolve
from shared.contracts.history import Session, SessionSettings
from shared.contracts.ids import UserId


class Defaults(Protocol):
    """What holds where a request says nothing."""

    async def resolve(
        self, user_id: UserId, request: SessionSettings, session: Session, may_ask: May
    ) -> SessionSettings:
        """Each setting from the first that says it: request, session, user, model, installation.

        Raises:
            ModelRefused: no model is named, and of the default ones the caller may ask none.
        """
        ...

    async def tools(self, user_id: UserId, request: SessionSettings, session: Session) -> list[str]:
        """The names of tools that are asked for."""
        ...


class ResolvedDefaults:
    """``resolve`` over what users and this installation have chosen."""

    def __init__(self, choices: Choices, catalog: Catalog, llm: LlmSettings) -> None:
        self._choices = choices
        self._catalog = catalog
        self._llm = llm

    async def resolve(
        self, user_id: UserId, request: SessionSettings, session: Session, may_ask: May
    ) -> SessionSettings:
        """See ``Defaults``."""
        preferences = await self._choices.preferences(user_id)
        known = await self._choices.models()
        offered = [offer.id for offer in self._catalog.models()]
        settings = resolve(
            request, session, preferences, known, self._llm, offered=offered, may_ask=may_ask
        )
        if settings.model is None and default_model(known, self._llm, offered) is not None:
            message = "No model is named, and this API key may ask none of the default ones."
            raise ModelRefused(message, param="model")
        return settings

    async def tools(self, user_id: UserId, request: SessionSettings, session: Session) -> list[str]:
        """See ``Defaults``."""
        return listed_tools(request, session, await self._choices.preferences(user_id))
