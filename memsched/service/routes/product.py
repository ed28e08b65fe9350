"""The original system's routes, as thin aliases with its envelope: ``{"code", "message", "data"}``.

Errors have the envelope too, with the status and the words of a problem; see docs/product.md for what differs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from memsched.errors import MemschedError, UnreachableError, WaitTimeout
from memsched.mos.tasks import UnknownTask
from memsched.original_requests import (
    APIADDRequest,
    APIFeedbackRequest,
    APISearchRequest,
    BaseRequest,
    ChatPlaygroundRequest,
    DeleteMemoryRequest,
    GetMemoryPlaygroundRequest,
    OriginalCalls,
    event,
)
from memsched.service.bodies import PLAIN, MemoryId, UserId
from memsched.service.callers import Caller
from memsched.service.problems import Problem, log_failure, problem_of, problem_of_validation
from memsched.service.relay import while_connected
from memsched.service.sse import until_stopped
from memsched.service.state import Here, Service
from memsched.task_status import TaskState

T = TypeVar("T")
R = TypeVar("R", bound=BaseRequest)
_SYNC_SECONDS = 60.0
"""So long does ``async_mode="sync"`` wait; what takes longer is ``waiting`` in the answer."""
_LONGEST_WAIT_SECONDS = 600.0
_WORST_FIRST = (TaskState.FAILED, TaskState.IN_PROGRESS, TaskState.WAITING, TaskState.COMPLETED)
"""What a task of several messages is, is what one of them is."""


class Envelope(BaseModel, Generic[T]):
    """What every answer is in."""

    code: int = 200
    message: str
    data: T | None = None


class EnvelopeRoute(APIRoute):
    """A route whose errors are in the envelope."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def in_envelope(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                problem = problem_of_validation(error)
            except (Problem, MemschedError, UnreachableError) as error:
                problem = problem_of(error)
                if problem.status >= 500:
                    log_failure(request.scope, error, problem.status)
            content = Envelope[None](code=problem.status, message=problem.detail)
            return JSONResponse(content.model_dump(), problem.status, problem.headers)

        return in_envelope


router = APIRouter(prefix="/product", tags=["the original's names"], route_class=EnvelopeRoute)


@router.post("/add", summary="Remember")
async def product_add(
    here: Here, caller: Caller, body: Annotated[APIADDRequest, PLAIN]
) -> Envelope[list[dict[str, Any]]]:
    """As `POST /v1/memories`."""
    added = await OriginalCalls(here.mos).add(_acting(caller, body), _SYNC_SECONDS)
    return Envelope(message="Memory added successfully", data=added)


@router.post("/search", summary="Search")
async def product_search(
    here: Here, caller: Caller, body: Annotated[APISearchRequest, PLAIN]
) -> Envelope[dict[str, Any]]:
    """As `POST /v1/search`."""
    found = await OriginalCalls(here.mos).search(_acting(caller, body))
    return Envelope(message="Search completed successfully", data=found)


@router.post("/get_all", summary="All memories")
async def product_get_all(
    here: Here, caller: Caller, body: Annotated[GetMemoryPlaygroundRequest, PLAIN]
) -> Envelope[list[dict[str, Any]]]:
    """Of the cubes that are named, or of all that the user may read."""
    found = await OriginalCalls(here.mos).get_all(_acting(caller, body))
    return Envelope(message="Memories retrieved successfully", data=found)


@router.get("/get_memory/{memory_id}", summary="One memory")
async def product_get_memory(
    here: Here, caller: Caller, memory_id: MemoryId, user_id: Annotated[UserId | None, Query()] = None
) -> Envelope[dict[str, Any]]:
    """In any cube that the user may read."""
    found = await OriginalCalls(here.mos).get_memory(memory_id, caller.user(user_id))
    return Envelope(message="Memory retrieved successfully", data=found)


@router.post("/delete_memory", summary="Delete memories for good")
async def product_delete_memory(
    here: Here, caller: Caller, body: Annotated[DeleteMemoryRequest, PLAIN]
) -> Envelope[dict[str, Any]]:
    """All that are named, or none of them."""
    done = await OriginalCalls(here.mos).delete(_acting(caller, body))
    return Envelope(message="Memories deleted successfully", data=done)


@router.post("/feedback", summary="Correct what is remembered")
async def product_feedback(
    here: Here, caller: Caller, body: Annotated[APIFeedbackRequest, PLAIN]
) -> Envelope[list[dict[str, Any]]]:
    """What is said takes the place of what it corrects."""
    done = await OriginalCalls(here.mos).feedback(_acting(caller, body), _SYNC_SECONDS)
    return Envelope(message="Feedback processed successfully", data=done)


@router.post("/chat/complete", summary="Chat")
async def product_chat_complete(
    here: Here, caller: Caller, body: Annotated[ChatPlaygroundRequest, PLAIN]
) -> Envelope[dict[str, Any]]:
    """An answer that knows what the cube knows."""
    answer = await OriginalCalls(here.mos).chat(_acting(caller, body))
    return Envelope(message="Chat completed successfully", data=answer)


_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}, "description": "Events."}}


@router.post("/chat/stream", summary="Chat, in events", response_class=StreamingResponse, responses=_EVENTS)
async def product_chat_stream(
    here: Here, caller: Caller, body: Annotated[ChatPlaygroundRequest, PLAIN]
) -> StreamingResponse:
    """`data: {"type": "text", "data": "..."}` each, and `{"type": "end"}`."""
    return await _streamed(here, OriginalCalls(here.mos).chat_events(_acting(caller, body)))


# -- the scheduler ---------------------------------------------------------------------------------------------------


@router.get("/scheduler/status", summary="A task, or all work of a user")
async def product_scheduler_status(
    here: Here,
    caller: Caller,
    user_id: Annotated[UserId | None, Query()] = None,
    task_id: Annotated[str | None, Query(max_length=512)] = None,
) -> Envelope[list[dict[str, str]]]:
    """By a `task_id` of one's own, or of an answer; without it, one entry for all work of the user, under their id."""
    user = caller.user(user_id)
    if task_id is None:
        status = TaskState.IN_PROGRESS if await here.scheduler.unfinished(user) else TaskState.COMPLETED
    else:
        parts = await here.scheduler.tasks_of(user, task_id) or await here.scheduler.find_tasks(user, task_id)
        if not parts:
            raise UnknownTask(task_id)
        states = {part.status.state for part in parts}
        status = next(state for state in _WORST_FIRST if state in states)
    return Envelope(message="Memory get status successfully", data=[{"task_id": task_id or user, "status": status}])


@router.get("/scheduler/allstatus", summary="All work of all users, in numbers")
async def product_scheduler_allstatus(here: Here, caller: Caller) -> Envelope[dict[str, dict[str, int]]]:
    """What is unfinished, and what was given up."""
    caller.require_may("status")
    total = (await here.scheduler.read_status()).total
    waiting = total.backlog - total.running
    summary = {
        "waiting": waiting,
        "in_progress": total.running,
        "pending": total.running + total.orphaned,
        "failed": total.dead,
        "total": total.backlog + total.dead,
    }
    data = {"scheduler_summary": summary, "all_tasks_summary": summary}
    return Envelope(message="Scheduler status summary retrieved successfully", data=data)


@router.get("/scheduler/task_queue_status", summary="What a user waits for")
async def product_task_queue_status(
    here: Here, caller: Caller, user_id: Annotated[UserId | None, Query()] = None
) -> Envelope[dict[str, Any]]:
    """How many messages of the user are unfinished."""
    user = caller.user(user_id)
    data = {"user_id": user, "remaining_tasks_count": await here.scheduler.unfinished(user)}
    return Envelope(message="Scheduler task queue status retrieved successfully", data=data)


class _Patience(BaseModel):
    """How long somebody waits."""

    user_name: UserId | None = None
    timeout_seconds: Annotated[float, Field(ge=0, le=_LONGEST_WAIT_SECONDS)] = 120.0
    poll_interval: Annotated[float, Field(ge=0.05, le=60)] = 0.5


@router.post("/scheduler/wait", summary="Wait until all work of a user is done")
async def product_scheduler_wait(
    request: Request, here: Here, caller: Caller, how: Annotated[_Patience, Query()]
) -> dict[str, Any]:
    """`message` is `idle` or `timeout`."""
    user, begun, left = caller.user(how.user_name), time.monotonic(), 0
    try:
        await while_connected(request.receive, here.scheduler.wait(user_id=user, timeout=how.timeout_seconds))
    except WaitTimeout as late:
        left = late.unfinished
    data = {"running_tasks": left, "timed_out": left > 0, "user_name": user}
    return {
        "message": "timeout" if left else "idle",
        "data": {**data, "waited_seconds": round(time.monotonic() - begun, 3)},
    }


@router.get("/scheduler/wait/stream", summary="In events", response_class=StreamingResponse, responses=_EVENTS)
async def product_scheduler_wait_stream(
    here: Here, caller: Caller, how: Annotated[_Patience, Query()]
) -> StreamingResponse:
    """An event each `poll_interval`, until `status` is `idle` or `timeout`."""
    return await _streamed(here, _progress(here, caller.user(how.user_name), how))


async def _progress(here: Service, user: str, how: _Patience) -> AsyncGenerator[str, None]:
    begun = time.monotonic()
    while True:
        active, elapsed = await here.scheduler.unfinished(user), time.monotonic() - begun
        is_late = elapsed >= how.timeout_seconds
        status = "idle" if not active else "timeout" if is_late else "running"
        told = {"user_name": user, "active_tasks": active, "elapsed_seconds": round(elapsed, 3), "status": status}
        yield event(told | ({"timed_out": True} if status == "timeout" else {}))
        if status != "running":
            return
        await asyncio.sleep(min(how.poll_interval, max(0.05, how.timeout_seconds - elapsed)))


# -- parts -----------------------------------------------------------------------------------------------------------


def _acting(caller: Caller, body: R) -> R:
    """The request, for the user whom the key acts for."""
    return body.model_copy(update={"user_id": caller.user(body.user_id)})


async def _streamed(here: Service, events: AsyncGenerator[str, None]) -> StreamingResponse:
    """Events as they come. What fails before the first one is an error of the route."""
    first = await anext(events)

    async def all_of_them() -> AsyncGenerator[str, None]:
        async with aclosing(events):
            yield first
            async for each in events:
                yield each

    stream: AsyncIterator[str] = until_stopped(here, all_of_them())
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
