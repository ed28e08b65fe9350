"""What happens to memories, as it happens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from memsched.errors import CubeForbidden
from memsched.service.bodies import CubeName
from memsched.service.callers import Operator, QueryUser
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


async def _readable(here: Here, user: QueryUser, name: Annotated[CubeName, Path()]) -> tuple[str, str]:
    """A stream has begun its answer before its function runs: so it is asked here whether the cube may be read."""
    await (await here.scheduler.memory()).reading(user, name)
    return user, name


@router.get(
    "/v1/cubes/{name:path}/events", response_class=EventSourceResponse, summary="What happens to a cube's memories"
)
async def stream_cube_events(
    here: Here,
    readable: Annotated[tuple[str, str], Depends(_readable)],
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Remembered, corrected, moved, put away, and why; for who may read the cube. `Last-Event-ID` goes on behind that
    event, as far back as the cube's log reaches (MEMSCHED_CUBE_EVENTS_MAXLEN). It ends when the cube is shared no more.
    """
    user, name = readable
    source = here.scheduler.follow_cube_events(user, name, place_of(last_event_id))
    with suppress(CubeForbidden):
        async for place, event in until_stopped(here, source):
            yield ServerSentEvent(id=place, event="memory", data=event)
