"""How long the fuzzes of tests/attack are: short in every run, longer with ``ATTACK_EXAMPLES``."""

import os

from hypothesis import HealthCheck, settings

_LONGER = os.environ.get("ATTACK_EXAMPLES")  # noqa: TID251 - the tests' own


def fuzz(examples: int) -> settings:
    """So many examples, the same each time; or as many new ones as are asked for."""
    return settings(
        max_examples=int(_LONGER) if _LONGER else examples,
        derandomize=not _LONGER,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
