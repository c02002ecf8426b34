"""The header ``Idempotency-Key`` at the addresses that begin a completion."""

from fastapi import Request

from services.api.completions.attaching import Keyed
from services.api.completions.idempotency import Claim, Standing
from services.api.deps import State, add_headers, name_completion


def starter_of(claim: Claim, request: Request, state: State) -> Keyed:
    """What gives the claim its answer; the client is told whose it is."""
    name_completion(request, claim.completion_id)
    if claim.standing is not Standing.OURS:
        add_headers(request, {"Idempotency-Replayed": "true"})
    return Keyed(
        claim,
        completions=state["completions"],
        following=state["following"],
        idempotency=state["idempotency"],
        journal=state["journal"],
    )
