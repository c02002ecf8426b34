"""Why somebody is not let in: said by gateways alone, so these never cross the broker."""

from shared.errors import ChatError, ModelNotFound


class NotAuthenticated(ChatError):
    """No token where one is needed, or one that is not valid: unknown, revoked, expired."""

    code = "invalid_api_key"

    def __init__(self, message: str, *, param: str | None = None, given: bool = True) -> None:
        super().__init__(message, param=param)
        self.given = given
        """Whether there was a token."""


class NotPermitted(ChatError):
    """The caller is known, and may not do this."""

    code = "insufficient_permissions"


class UserDeparting(NotPermitted):
    """Everything of this user is being removed: nothing new may come beside what goes."""

    code = "user_departing"


class ModelRefused(ModelNotFound):
    """The caller's key may not ask it; by its code, nothing tells it from one that is not there."""

    told = "model_not_permitted"
    """What the audit says instead."""


class WrongHost(ChatError):
    """The address in ``Host`` is none of this gateway's."""

    code = "wrong_host"


class WrongOrigin(ChatError):
    """A web page of another site asks."""

    code = "wrong_origin"


class KeysNotLoaded(ChatError):
    """This process does not know all keys yet, so it can let nobody in."""

    code = "keys_not_loaded"


class IdentityUnavailable(ChatError):
    """The keys of the identity provider cannot be read, and none of them are known."""

    code = "identity_unavailable"
