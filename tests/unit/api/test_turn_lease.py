"""The lease on a session's turn."""

import pytest

from services.api.completions.turn_lease import TurnLeases
from services.api.ports.sessions import TurnState
from shared.contracts.ids import UserId, new_completion_id, new_session_id
from shared.errors import BrokerUnavailable, SessionBusy
from tests.fakes.api.ports import FakeTurns

USER = UserId("local")
IDLE = TurnState(user_id=USER)


async def test_of_two_who_saw_the_same_state_one_wins() -> None:
    turns, session = FakeTurns(), new_session_id()
    first, second = TurnLeases(turns), TurnLeases(turns)
    seen = await first.look(session)
    await first.take(session, USER, new_completion_id(), seen)
    with pytest.raises(SessionBusy):
        await second.take(session, USER, new_completion_id(), seen)
    with pytest.raises(SessionBusy):
        await second.take(session, USER, new_completion_id(), await second.look(session))


async def test_a_released_session_can_be_taken_and_knows_its_last_completion() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns)
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    await leases.renew()
    await leases.release(lease, TurnState(user_id=USER, last=completion))
    held = await leases.look(session)
    assert held is not None
    again = await leases.take(session, USER, new_completion_id(), held)
    assert again.state.last == completion


async def test_a_lease_that_ran_out_while_the_broker_was_away_is_taken_again() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns)
    completion = new_completion_id()
    lease = await leases.take(session, USER, completion, None)
    turns.away = True
    await leases.renew()
    turns.away = False
    del turns.entries[session]
    await leases.renew()
    assert turns.entries[session].state.running == completion
    await leases.release(lease, IDLE)
    assert turns.entries[session].state.running is None


async def test_a_lease_that_somebody_else_has_is_left_alone() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns)
    lease = await leases.take(session, USER, new_completion_id(), None)
    del turns.entries[session]
    other = await TurnLeases(turns).take(session, USER, new_completion_id(), None)
    await leases.renew()
    await leases.release(lease, IDLE)
    assert turns.entries[session].state == other.state


async def test_a_release_that_fails_can_be_made_again() -> None:
    turns, session = FakeTurns(), new_session_id()
    leases = TurnLeases(turns)
    lease = await leases.take(session, USER, new_completion_id(), None)
    turns.away = True
    with pytest.raises(BrokerUnavailable):
        await leases.release(lease, IDLE)
    turns.away = False
    await leases.release_patiently(lease, IDLE)
    assert turns.entries[session].state == IDLE
