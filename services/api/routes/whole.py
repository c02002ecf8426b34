"""An answer in one piece."""

import math
from typing import Any, Final

import orjson
from starlette.types import Send

from services.api.completions.attaching import Reading
from services.api.completions.translation import failure_of, to_completion_body
from services.api.routes.answering import Answer
from services.api.routes.client_watch import ClientWatch
from shared.contracts.events import CompletionCompleted

_JSON: Final = (b"content-type", b"application/json")


class WholeAnswer(Answer):
    """Waits for the end; a failure is always an HTTP status."""

    def envelope(self, end: CompletionCompleted) -> dict[str, Any]:
        """What is sent of a good end."""
        return to_completion_body(end, self._order)

    async def answer(self, running: Reading, client: ClientWatch, send: Send) -> None:
        """Send the answer once it is complete."""
        while True:
            _, end = await running.next(math.inf)
            if end is not None:
                break
            if client.gone:
                return
        failure = failure_of(end)
        if failure is not None:
            raise failure
        body = orjson.dumps(self.envelope(end))
        headers = [_JSON, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
