"""``parley history``."""

import uvloop

from services.history.app import create_app
from services.history.settings import Settings
from shared.observability.logging import configure_logging
from shared.settings import load_or_exit


def main() -> None:
    """Run the history service until SIGINT or SIGTERM."""
    settings = load_or_exit(Settings)
    configure_logging("history")
    uvloop.run(create_app(settings).run())


if __name__ == "__main__":
    main()
