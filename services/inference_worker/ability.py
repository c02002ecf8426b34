"""Can the engine go on from a trailing assistant message, for this model? Asked once, remembered.

Engines differ by model: most chat templates continue such a message, some close it and begin anew,
and nothing in their catalogues says so. So a short answer is made at temperature 0, and then the
engine is given its first half: a model that can continue says the second half.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Final, Protocol

import structlog

from services.inference_worker.ports import Engine, Text
from shared.clock import utc_now
from shared.contracts.chat import Message, Sampling
from shared.contracts.completions import RunCompletion
from shared.contracts.ids import UserId, new_completion_id
from shared.errors import BrokerUnavailable

PROBE_SEED: Final = 161_803_398
"""Tells these requests from others in an engine's log."""
_QUESTION: Final = "Write one sentence about the sea."
_TOKENS: Final = 10
_LEAST: Final = 4
"""Tokens of the first answer: a shorter one has no halves that say anything."""

log = structlog.stdlib.get_logger(__name__)


class AbilityMemory(Protocol):
    """What any worker has found out, kept for all of them.

    Raises (every call):
        BrokerUnavailable: it does not answer.
    """

    async def recall(self, fingerprint: str) -> bool | None:
        """Whether these weights on this engine can continue; ``None`` if nobody has tried."""
        ...

    async def remember(self, fingerprint: str, *, able: bool) -> None:
        """Keep what was found out."""
        ...


class Ability:
    """Knows which models of this engine can continue an answer."""

    def __init__(
        self, engine: Engine, memory: AbilityMemory, fingerprint: Callable[[str], str]
    ) -> None:
        """Know nothing yet.

        Args:
            engine: Who is asked.
            memory: What other workers have found out.
            fingerprint: Names a model's weights and the engine's version, by the model's name.
        """
        self._engine = engine
        self._memory = memory
        self._fingerprint = fingerprint
        self._known: dict[str, bool] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def continues(self, model: str) -> bool:
        """Whether it can; takes two short answers of the engine the first time.

        Raises:
            ChatError: the engine could not be asked.
        """
        fingerprint = self._fingerprint(model)
        # By model: one that is still being loaded must not hold up the answers of another.
        async with self._asking.setdefault(fingerprint, asyncio.Lock()):
            if fingerprint not in self._known:
                self._known[fingerprint] = await self._find_out(model, fingerprint)
            return self._known[fingerprint]

    async def _find_out(self, model: str, fingerprint: str) -> bool:
        try:
            remembered = await self._memory.recall(fingerprint)
        except BrokerUnavailable:
            remembered = None
        if remembered is not None:
            return remembered
        able = await self._try(model)
        log.info("continuation_probed", model=model, able=able)
        try:
            await self._memory.remember(fingerprint, able=able)
        except BrokerUnavailable:
            log.debug("ability_not_remembered", model=model)
        return able

    async def _try(self, model: str) -> bool:
        whole = await self._said(model, _TOKENS)
        if len(whole) < _LEAST:
            return False
        half = "".join(whole[: len(whole) // 2])
        expected = "".join(whole)[len(half) :].strip()
        found = "".join(await self._said(model, _TOKENS - len(whole) // 2, half.rstrip())).strip()
        shorter = min(len(expected), len(found))
        return shorter > 0 and expected[:shorter] == found[:shorter]

    async def _said(self, model: str, tokens: int, so_far: str | None = None) -> list[str]:
        messages = [Message(role="user", content=_QUESTION)]
        if so_far is not None:
            messages.append(Message(role="assistant", content=so_far))
        run = RunCompletion(
            completion_id=new_completion_id(),
            reply_subject="",
            user_id=UserId("parley"),
            model=model,
            display_model=model,
            created_at=utc_now(),
            messages=messages,
            sampling=Sampling(temperature=0.0, seed=PROBE_SEED, max_tokens=tokens),
            think=False,
            generating_deadline=timedelta(minutes=1),
        )
        async with aclosing(self._engine.stream(run)) as batches:
            return [
                part.text
                async for batch in batches
                for part in batch.parts
                if isinstance(part, Text)
            ]
