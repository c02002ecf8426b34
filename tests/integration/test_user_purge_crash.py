"""A purge outlives the process that was asked for it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.history.adapters.nats_traces import NatsPurgeWords
from shared.contracts import session_questions as asked
from shared.contracts.history import CreateSession
from shared.contracts.ids import SessionId
from shared.contracts.user_purge import (
    PURGE_USER,
    USER_DATA,
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    user_digest,
)
from shared.messaging.jetstream import JetStream
from tests.fakes.history.conversation import OTHER, USER, Turn
from tests.fakes.history.running import HistoryProcess, Stored, answer, answering, say
from tests.support.mongo_server import MongoServer
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def process(
    tmp_path: Path, nats_server: NatsServer, provisioned: JetStream, mongo: MongoServer
) -> AsyncGenerator[HistoryProcess]:
    history = HistoryProcess(nats_server.url, mongo.url, tmp_path / "history.log")
    history.start()
    yield history
    history.kill()


async def test_history_that_is_killed_right_after_it_was_asked_goes_on_when_it_is_back(
    process: HistoryProcess, client: Client, provisioned: JetStream, mongo: MongoServer
) -> None:
    await answering(client)
    turns = []
    for number, user in enumerate((USER, OTHER)):
        session_id = SessionId(f"00000000-0000-7000-8000-{number:012d}")
        turn = Turn(user_id=user, session_id=session_id)
        await answer(
            client,
            asked.CREATE_SESSION,
            CreateSession(user_id=user, session_id=turn.session_id, title="Mine"),
        )
        turns.append(turn)
    await say(provisioned, client, *turns)
    before = (await answer(client, USER_DATA, UserDataQuery(user_id=OTHER))).data
    assert before is not None
    assert before.messages == 2

    await answer(client, PURGE_USER, PurgeUser(user_id=USER))
    process.kill()
    process.start()
    await answering(client)

    async def swept() -> bool:
        reply = await answer(client, USER_DATA, UserDataQuery(user_id=USER))
        return reply.state is PurgeState.SETTLING and reply.data == UserData()

    await eventually(swept, within=30, every=0.2)
    assert (await answer(client, USER_DATA, UserDataQuery(user_id=OTHER))).data == before
    stored = Stored(mongo.url)
    (mark,) = await stored.documents("purges")
    stored.close()
    # Until the second pass it has to know whose it is.
    assert mark["user_id"] == USER


async def test_who_goes_by_a_word_that_no_database_knows_is_let_in_again(
    process: HistoryProcess, client: Client, provisioned: JetStream, mongo: MongoServer
) -> None:
    words, digest = NatsPurgeWords(provisioned), user_digest(USER)
    await answering(client)
    for user in (USER, OTHER):
        await answer(client, PURGE_USER, PurgeUser(user_id=user))
    assert set(await words.said()) == {digest, user_digest(OTHER)}
    process.kill()
    # The database is set back to a backup, in which one of the two had not begun.
    stored = Stored(mongo.url)
    await stored.forget("purges", digest)
    stored.close()

    process.start()

    async def taken_back() -> bool:
        return set(await words.said()) == {user_digest(OTHER)}

    await eventually(taken_back)
    assert (await answer(client, USER_DATA, UserDataQuery(user_id=USER))).state is PurgeState.NONE


async def test_a_word_is_said_and_taken_back_only_as_it_was_seen(provisioned: JetStream) -> None:
    words, digest = NatsPurgeWords(provisioned), user_digest(USER)
    assert await words.find(digest) is None
    await words.under_way(digest)
    seen = await words.find(digest)
    assert seen is not None
    assert await words.said() == {digest: seen.revision}
    await words.under_way(digest)
    assert not await words.take_back(digest, seen.revision), "it was said anew since"
    assert not await words.say(digest, None)
    assert not await words.say(digest, seen)
    assert await words.take_back(digest, (await words.said())[digest])
    assert await words.said() == {}

    over = await words.find(digest)
    assert over is not None
    assert not over.under_way
    assert await words.say(digest, over)
    said = await words.find(digest)
    assert said is not None
    assert said.under_way
    other = user_digest(OTHER)
    assert await words.say(other, None)
    assert set(await words.said()) == {digest, other}
