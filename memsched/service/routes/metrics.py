"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from memsched.metrics.prometheus import CONTENT_TYPE
from memsched.service.callers import Caller
from memsched.service.state import Here

router = APIRouter(tags=["numbers"])


@router.get(
    "/metrics",
    summary="Numbers in Prometheus' text form",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The numbers."}},
)
async def get_metrics(here: Here, caller: Caller) -> Response:
    """For a key of the role `metrics`, `viewer` or `admin`. No user, worker or message is named."""
    caller.require_may("metrics")
    return Response(await here.numbers.text(), media_type=CONTENT_TYPE)
