"""A turn of a session in one piece."""

from typing import Any

from services.api.background import Background
from services.api.completions.answers import to_message_body
from services.api.completions.attaching import Starter
from services.api.completions.orders import Order
from services.api.completions.translation import finish_reason_of, usage_of
from services.api.routes.whole import WholeAnswer
from services.api.schemas.sessions import MessageUsage
from services.api.schemas.turns import TurnBody
from services.api.sessions.turn_messages import answer_of
from shared.contracts.events import CompletionCompleted
from shared.contracts.history import StoredMessage
from shared.errors import ChatError


class WholeTurn(WholeAnswer):
    """Both messages as they are stored."""

    def __init__(
        self,
        order: Order,
        *,
        completions: Starter,
        background: Background,
        question: StoredMessage | None,
        camel: bool,
    ) -> None:
        super().__init__(order, completions=completions, background=background, delivery=None)
        self._question = question
        self._camel = camel

    def envelope(self, end: CompletionCompleted) -> dict[str, Any]:
        """The turn in the face's spelling."""
        answer = answer_of(end)
        if answer is None:
            raise ChatError("The answer of a session has no place in it.")
        question = self._question
        turn = TurnBody(
            completion_id=end.completion_id,
            user_message=to_message_body(question) if question is not None else None,
            ai_message=to_message_body(answer),
            finish_reason=finish_reason_of(end),
            usage=MessageUsage(**usage_of(end, self._order).model_dump()),
            context_omitted=end.context_omitted,
        )
        return turn.model_dump(mode="json", by_alias=self._camel)
