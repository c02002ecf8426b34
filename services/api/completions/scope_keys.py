"""Where middleware and routes meet in an ASGI scope."""

from typing import Final

REQUEST_ID: Final = "parley.request_id"
"""The name of the request, given here: nobody else can choose it."""
SENT_REQUEST_ID: Final = "parley.sent_request_id"
"""How its client calls it, which its answer repeats; ``None`` where it does not."""
SENT_QUERY: Final = "parley.sent_query"
"""The query as it came: routes see its names in one spelling."""
ANSWER_HEADERS: Final = "parley.answer_headers"
"""A list of headers that the answer carries, be it a success or an error."""
TOLD: Final = "parley.told"
"""Whether the audit speaks of this request, so that the log need not."""
CALLER: Final = "parley.caller"
"""Who asks, put there by ``services.api.guard``; ``None`` is a stranger at a health address."""
