"""``parley history``."""

import uvloop

from services.history.app import WrapStore, as_it_is, create_app
from services.history.settings import Settings
from shared.messaging.connection import refusal_is_a_sentence
from shared.observability.logging import configure_logging
from shared.settings import load_or_exit


def main(wrap: WrapStore = as_it_is) -> None:
    """Run the history service until SIGINT or SIGTERM."""
    settings = load_or_exit(Settings)
    configure_logging("history")
    with refusal_is_a_sentence():
        uvloop.run(create_app(settings, wrap=wrap).run())


if __name__ == "__main__":
    main()
