"""What can go wrong in the launcher, each as one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence


class LauncherError(Exception):
    """A failure the user can act on: its text is the sentence that is shown."""

    exit_code = 1

    def __init__(self, sentence: str, *, details: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.details = tuple(details)
        """Lines shown before the sentence: the last words of a child."""


class WrongSetting(LauncherError):
    """A flag or an environment variable holds a value that cannot work."""

    exit_code = 2


class MissingPart(LauncherError):
    """A program or a Python package that is needed here is not installed."""

    exit_code = 2


class PortTaken(LauncherError):
    """Somebody else listens where the user asked us to."""


class AlreadyRunning(LauncherError):
    """Another launcher works on the same data directory."""


class ChildDied(LauncherError):
    """A child ended although it should go on."""

    def __init__(self, sentence: str, *, code: int, details: Sequence[str] = ()) -> None:
        super().__init__(sentence, details=details)
        self.exit_code = WrongSetting.exit_code if code == WrongSetting.exit_code else 1


class NotReady(LauncherError):
    """A child lives, but does not answer within its deadline."""


class GaveUp(LauncherError):
    """A child died too often to go on starting it."""


class GatewayFailed(LauncherError):
    """The gateway refused a request, or its answer broke off."""
