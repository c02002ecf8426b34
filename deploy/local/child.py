"""Become another program that dies with the launcher: ``python -I -S child.py PID PROGRAM ...``.

The launcher starts every child through this file. It asks the kernel to kill this process when
its parent ends, and then *becomes* the program by exec: the pid stays, no wrapper remains, and the
wish survives the exec (prctl(2), PR_SET_PDEATHSIG), whatever the program is written in. Asking
after the fork, in a fresh interpreter, keeps Python code out of the fork of a threaded launcher.

Only Linux has this. Elsewhere children outlive a launcher that was killed with SIGKILL, until the
next ``parley up`` on the same data directory stops them (``leftovers.py``).

It runs without site-packages, so it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_NOT_FOUND = 127


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes
    except ImportError:  # a Python built without libffi: as on other systems
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(parent: int, argv: list[str]) -> None:
    """Tie this process to ``parent`` and become ``argv``."""
    _die_with_parent()
    if os.getppid() != parent:
        # The launcher ended before the kernel knew the wish.
        sys.exit(1)
    # Python ignores these at start, and an ignored signal stays ignored over exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(argv[0], argv)  # noqa: S606 - the arguments are the launcher's own
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}.\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
