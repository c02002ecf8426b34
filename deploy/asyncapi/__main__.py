"""``python -m deploy.asyncapi > docs/asyncapi.json``."""

import sys

from deploy.asyncapi.document import text


def main() -> None:
    """Write the document to standard output."""
    sys.stdout.write(text())


if __name__ == "__main__":
    main()
