"""Limits are on for everybody but tests of other things, which ask far more than a person does."""

from typing import Final

NO_LIMITS: Final = {
    "requests_per_minute": "0",
    "concurrent_requests": "0",
    "other_requests_per_minute": "0",
}
"""By the names of the gateway's settings."""
NO_LIMITS_ENVIRONMENT: Final = {f"API_{name.upper()}": value for name, value in NO_LIMITS.items()}
"""The same for processes."""
