"""``parley provision [--watch]``."""

import asyncio
import sys

import uvloop

from deploy.provisioning.app import create_app, provision_once
from deploy.provisioning.settings import Settings
from shared.errors import BrokerUnavailable
from shared.messaging.connection import CredentialsRefused, refusal_is_a_sentence
from shared.messaging.jetstream import ApiError
from shared.observability.logging import configure_logging
from shared.settings import load_or_exit


def main(watch: bool = False) -> None:
    """Create what is missing once, or keep everything in place for ever."""
    settings = load_or_exit(Settings)
    configure_logging("provision")
    with refusal_is_a_sentence():
        if watch:
            uvloop.run(create_app(settings).run())
            return
        try:
            asyncio.run(provision_once(settings))
        except CredentialsRefused:
            raise
        except (BrokerUnavailable, ApiError) as error:
            sys.stderr.write(f"Provisioning failed: {error}\n")
            raise SystemExit(1) from error


if __name__ == "__main__":
    main(watch="--watch" in sys.argv[1:])
