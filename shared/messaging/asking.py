"""Questions to workers, which may answer in one place and nowhere else.

A worker that could answer wherever the asker wants could ask itself, and so say anything anywhere:
the broker lets who has received a question publish to its reply subject, whatever that is.
"""

import secrets
from contextlib import suppress
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contracts.identities import WORKERS_ANSWER
from shared.messaging.lost import LOST

_STATUS: Final = "Status"
_NO_RESPONDERS: Final = "503"


def new_answer_inbox() -> str:
    """For one question; nobody can guess it."""
    return f"{WORKERS_ANSWER}.{secrets.token_hex(16)}"


def is_nobody(message: Msg) -> bool:
    """Whether the broker says that there was nobody to ask."""
    return not message.data and (message.headers or {}).get(_STATUS) == _NO_RESPONDERS


async def ask_workers(client: Client, subject: str, payload: bytes, *, timeout: float) -> Msg:
    """The first answer within ``timeout`` seconds.

    Raises:
        nats.errors.NoRespondersError: nobody listens there.
        nats.errors.TimeoutError: nobody has answered.
        LOST: the connection is gone.
    """
    inbox = new_answer_inbox()
    subscription = await client.subscribe(inbox)
    try:
        # Behind the subscription on the same connection: the answer is not missed.
        await client.publish(subject, payload, reply=inbox)
        message = await subscription.next_msg(timeout=timeout)
    finally:
        with suppress(*LOST):  # closed: it goes with the connection
            await subscription.unsubscribe()
    if is_nobody(message):
        raise nats.errors.NoRespondersError
    return message
