"""``parley worker``."""

import uvloop

from services.inference_worker.app import Surround, as_they_are, create_app
from services.inference_worker.settings import Settings
from shared.messaging.connection import refusal_is_a_sentence
from shared.observability.logging import configure_logging
from shared.settings import load_or_exit


def main(surround: Surround = as_they_are) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    settings = load_or_exit(Settings)
    configure_logging("worker")
    with refusal_is_a_sentence():
        uvloop.run(create_app(settings, surround=surround).run())


if __name__ == "__main__":
    main()
