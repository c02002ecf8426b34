"""``parley history`` that breaks at ``FAULT_POINT=stored:N``: the Nth is stored, not acked."""

from typing import cast

from services.history.__main__ import main
from services.history.ports import TurnStore
from tests.faults.fault_build.trap import After, FaultSettings, Trap, count_tasks_when_asked


def wrap(turns: TurnStore) -> TurnStore:
    """Set the trap that the environment asks for."""
    trap = Trap(FaultSettings())
    # The last write of a completion; the acknowledgement of its event comes next.
    return cast("TurnStore", After(turns, "end_completion", trap, "stored"))


if __name__ == "__main__":
    count_tasks_when_asked()
    main(wrap)
