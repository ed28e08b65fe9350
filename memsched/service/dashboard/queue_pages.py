"""Pages of the queue: labels and their states, messages, dead letters, workers."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from memsched.memory.access.api_keys import Principal
from memsched.service.callers import Caller
from memsched.service.dashboard.frames import Produce
from memsched.service.dashboard.pages import first_frame, page_router, render
from memsched.service.dashboard.rendering import fragment
from memsched.service.state import Here, Service

router = page_router()


@router.get("/", name="get_overview")
async def get_overview(request: Request, here: Here, caller: Caller) -> Response:
    """All labels, and how much of each is in which state."""
    caller.require_may("status")
    live = await first_frame(_overview(here, caller))
    return render(request, "overview.html", live=live)


@router.get("/ui/frames/queue", name="get_queue_frames")
async def get_queue_frames(here: Here, caller: Caller) -> Response:
    """The same, as it changes."""
    caller.require_may("status")
    return here.frames.stream(caller, "queue", caller.may("operate"), produce=_overview(here, caller))


def _overview(here: Service, caller: Principal) -> Produce:
    async def produce() -> str:
        status = await here.scheduler.read_status()
        return fragment("overview_live.html", status=status, may_operate=caller.may("operate"))

    return produce
