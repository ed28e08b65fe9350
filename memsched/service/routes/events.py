"""What happens to memories, as it happens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent

from memsched.service.callers import Operator
from memsched.service.sse import LastEventId, until_stopped
from memsched.service.state import Here

router = APIRouter(tags=["events"])

_PLACE = re.compile(r"\d{1,19}(-\d{1,19})?")


def place_of(last_event_id: str | None) -> str | None:
    """Where an event stream goes on: behind the event with this id; None for none, and for what is no id of ours."""
    return last_event_id if last_event_id and _PLACE.fullmatch(last_event_id) else None


@router.get("/v1/scheduler/events", response_class=EventSourceResponse, summary="Everybody's memory events")
async def stream_events(here: Here, _: Operator, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
    """For those who operate the queue. Events are named by their label; `Last-Event-ID` goes on behind that one."""
    async for place, event in until_stopped(here, here.scheduler.follow_events(place_of(last_event_id))):
        yield ServerSentEvent(id=place, event="memory", data=event)
