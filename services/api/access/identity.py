"""Who calls: by the mode of this gateway, and what the request carries."""

from typing import Final, Literal, Protocol

from services.api.access.addresses import anonymous_id
from services.api.access.caller import LOCAL_CALLER, Caller
from services.api.access.key_ring import KeyRing
from services.api.access.refusals import KeysNotLoaded, NotAuthenticated
from services.api.access.tickets import TicketOffice
from shared.contracts.api_keys import looks_like_secret
from shared.errors import ChatError

Mode = Literal["local", "open", "required"]

_FACES: Final = ("/api/chat", "/ai-chat/api")
HEALTH: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/v1/health",
        *(face + path for face in _FACES for path in ("/health/llm_server", "/status")),
    }
)
"""Addresses that answer to everybody, and tell strangers neither names nor counts."""
_DOTS: Final = 2


class Tokens(Protocol):
    """Tokens of an identity provider."""

    async def find(self, token: str) -> Caller:
        """Whose it is.

        Raises:
            NotAuthenticated: nobody's, not for us, or not valid now.
            IdentityUnavailable: the provider's keys cannot be read.
        """
        ...


class Identity:
    """From a token, or none, to a caller."""

    def __init__(
        self, mode: Mode, keys: KeyRing, tokens: Tokens | None, tickets: TicketOffice
    ) -> None:
        """Describe it.

        Args:
            mode: ``API_AUTH``.
            keys: API keys.
            tokens: Tokens of the identity provider, where there is one.
            tickets: Tickets of this installation.
        """
        self._mode = mode
        self._keys = keys
        self._tokens = tokens
        self._tickets = tickets

    @property
    def ready(self) -> bool:
        """Whether callers can be told apart."""
        return self._mode == "local" or self._keys.loaded

    async def identify(self, path: str, token: str | None, address: str) -> Caller:
        """Who asks for ``path``, which is not one of ``HEALTH``.

        Raises:
            NotAuthenticated: a token is needed, or is not valid.
            KeysNotLoaded: whether it is valid cannot be told yet.
            IdentityUnavailable: the same for a token of the identity provider.
        """
        if self._mode == "local":
            return LOCAL_CALLER
        if self._mode == "open" and path.startswith("/v1/") and not self._is_ours(token):
            return Caller(anonymous_id(address), anonymous=True)
        if token is None:
            message = "You have not said who you are: send an API key, Authorization: Bearer pk-…"
            raise NotAuthenticated(message, given=False)
        return await self._find(token)

    async def redeem(self, ticket: str) -> Caller:
        """Who has come with this ticket, where one may.

        Raises:
            NotAuthenticated: it is not valid.
            KeysNotLoaded: whether it is cannot be told yet.
            BrokerUnavailable: the same.
        """
        if self._mode == "local":
            return LOCAL_CALLER
        if not self._keys.loaded:
            raise KeysNotLoaded("This gateway does not know the API keys yet; try again.")
        return await self._tickets.redeem(ticket)

    async def greet(self, token: str | None) -> Caller | None:
        """Who asks for one of ``HEALTH``; ``None`` is a stranger, who gets an answer too."""
        if self._mode == "local":
            return LOCAL_CALLER
        if token is None:
            return None
        try:
            return await self._find(token)
        except ChatError:
            return None

    def _is_ours(self, token: str | None) -> bool:
        """Whether it is meant for us: OpenAI's clients cannot but send one, and send anything."""
        if token is None:
            return False
        return looks_like_secret(token) or (self._tokens is not None and _is_dotted(token))

    async def _find(self, token: str) -> Caller:
        if self._tokens is not None and _is_dotted(token):
            return await self._tokens.find(token)
        return self._keys.find(token)


def _is_dotted(token: str) -> bool:
    return token.count(".") == _DOTS
