"""A streamed answer to the one who asked."""

from dataclasses import replace

from starlette.types import Send

from services.api.background import Background
from services.api.completions.attaching import Reading, Starter
from services.api.completions.orders import Order, Timing
from services.api.completions.translation import usage_of
from services.api.ports.broker import Clock
from services.api.routes.answering import Answer
from services.api.routes.client_watch import ClientWatch
from services.api.routes.sse_writer import SseWriter
from services.api.spelling import AS_IT_IS, Naming
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import Numbering
from services.api.streams.sse import ChunkEncoder


class StreamedAnswer(Answer):
    """Plain for OpenAI's clients; with ids where the client asked to be able to come back."""

    def __init__(
        self,
        order: Order,
        *,
        completions: Starter,
        background: Background,
        clock: Clock,
        timing: Timing,
        resumes: bool = False,
        naming: Naming = AS_IT_IS,
    ) -> None:
        if resumes:
            order = replace(order, resumes=True)
        encoder = ChunkEncoder(
            order.completion_id, order.model, order.created_at, include_usage=order.include_usage
        )
        numbering = Numbering(order.completion_id) if order.resumes else None
        dress = numbering.dress if numbering is not None else None
        super().__init__(
            order,
            completions=completions,
            background=background,
            delivery=Delivery(encoder.missing, dress),
        )
        self._writer = SseWriter(
            order.completion_id,
            encoder,
            usage_of=lambda end: usage_of(end, order),
            numbering=numbering,
            clock=clock,
            timing=timing,
            naming=naming,
        )

    async def answer(self, running: Reading, client: ClientWatch, send: Send) -> None:
        """Relay until the end, the client's leaving, or a failure."""
        await self._writer.write(running, client, send)
