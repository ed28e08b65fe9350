"""Messages on their way: submitting, where they are, waiting for them; and the queue as operators see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from memsched.backoff import poll_pauses
from memsched.errors import NotAllowed, WaitTimeout
from memsched.memory.access.api_keys import Principal, Role
from memsched.messages import (
    ADD_TASK_LABEL,
    ANSWER_TASK_LABEL,
    MAX_LABEL_CHARACTERS,
    MEM_FEEDBACK_TASK_LABEL,
    PREDICT_TASK_LABEL,
    PREF_ADD_TASK_LABEL,
    PRELOAD_TASK_LABEL,
    QUERY_TASK_LABEL,
    ScheduleMessageItem,
)
from memsched.queue.tasks import Task
from memsched.service.bodies import (
    MOST_MESSAGES,
    Body,
    CubeName,
    ItemId,
    Json,
    Moment,
    SessionId,
    Text,
    UserId,
    an_example,
)
from memsched.service.callers import Caller, Operator, QueryUser, Traceparent
from memsched.service.problems import not_found
from memsched.service.relay import while_connected
from memsched.service.sse import until_stopped
from memsched.service.state import Here, Service
from memsched.service.writes import IdempotencyKey, item_id_for
from memsched.task_status import TaskState

router = APIRouter(prefix="/v1/scheduler", tags=["scheduler"])

FOR_USERS = frozenset(
    {
        QUERY_TASK_LABEL,
        ANSWER_TASK_LABEL,
        ADD_TASK_LABEL,
        PREF_ADD_TASK_LABEL,
        MEM_FEEDBACK_TASK_LABEL,
        PRELOAD_TASK_LABEL,
        PREDICT_TASK_LABEL,
    }
)
"""Labels that a user's own key may submit: each new label is a stream for all, and others are a backend's."""
MOST_SHOWN = 1_000
LONGEST_WAIT_SECONDS = 60.0
_LONGEST_STREAM_SECONDS = 3600.0

LabelName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LABEL_CHARACTERS, description="What is to be done.", examples=["query"]),
]
TaskId = Annotated[ItemId, Field(description="The caller's own name for the work that messages belong to.")]


class Item(Body):
    """A message to submit."""

    label: LabelName
    content: Text
    mem_cube_id: CubeName
    item_id: ItemId | None = Field(None, description="Submitted again under it, a message is not run twice.")
    task_id: TaskId | None = None
    session_id: SessionId | None = None
    user_name: Text | None = Field(None, max_length=512, description='Who says "I".')
    timestamp: Moment | None = Field(None, description="When it happened; default: now.")
    expires_at: Moment | None = Field(None, description="After which it is not begun any more.")
    info: dict[str, Json] | None = None
    chat_history: list[Json] | None = Field(None, max_length=MOST_MESSAGES)


class Submission(Body):
    """Messages of one user."""

    model_config = an_example(
        user_id="ada",
        messages=[{"label": "query", "content": "What did I plan for May?", "mem_cube_id": "default"}],
    )

    user_id: UserId | None = None
    messages: list[Item] = Field(min_length=1, max_length=MOST_MESSAGES)
    delay_seconds: float = Field(0.0, ge=0, le=366 * 86_400, description="Before they may be handled.")


class Submitted(BaseModel):
    """What became of one message."""

    item_id: str
    outcome: Literal["queued", "delayed", "duplicate"] = Field(description="A duplicate is there already.")


class SubmittedAll(BaseModel):
    """What became of each message, in order. All of them are kept."""

    items: list[Submitted]


class ItemStatus(BaseModel):
    """Where one message is. Times are ms since the epoch; 0 is not yet, or not known."""

    item_id: str
    label: str
    state: TaskState
    submitted_ms: int
    started_ms: int
    finished_ms: int
    due_ms: int
    failures: int = Field(description="How often its handler failed, and it was tried again.")
    error: str = Field(description='The last one; "cancelled" for what was taken off the queue.')

    @classmethod
    def of(cls, task: Task) -> ItemStatus:
        found = task.as_dict()
        return cls.model_validate({name: found[name] for name in cls.model_fields})


class ItemStatuses(BaseModel):
    """A user's messages with this id: one of each label at most."""

    items: list[ItemStatus]


class TaskProgress(BaseModel):
    """A business task: the messages that name it, and the follow-ups that they led to."""

    task_id: str
    state: TaskState = Field(description="failed: all ended, and one at least was given up.")
    total: int
    unfinished: int
    failed: int
    items: list[ItemStatus] = Field(description=f"The first {MOST_SHOWN:,}, in the order of their submission.")


class Unfinished(BaseModel):
    """How much of what a user submitted is not finished."""

    user_id: str
    unfinished: int


class Waited(BaseModel):
    """What a wait ended with."""

    finished: bool
    unfinished: int
    advice: str = Field(default="", description="Why it does not go on, where that is known.")


class Cancelled(BaseModel):
    """Whether anything was taken off the queue."""

    cancelled: bool


class Scaling(BaseModel):
    """What machines are needed for. Messages that are not due yet are in backlog and not in ready."""

    ready: int = Field(description="In the stream, parked, or delayed and due.")
    backlog: int = Field(description="All unfinished ones.")
    delayed: int
    oldest_age_seconds: float = Field(description="Of the oldest message in a stream; 0 where there is none.")


class Paused(BaseModel):
    """Whether a label is paused now, and whether this request changed it."""

    label: str
    paused: bool
    changed: bool


@router.post("/messages", status_code=202, summary="Submit messages")
async def submit_messages(
    body: Submission, here: Here, caller: Caller, trace: Traceparent, idempotency_key: IdempotencyKey = None
) -> SubmittedAll:
    """They are kept when this answers, until they are handled. If it does not, send the same again with the same
    `item_id`s, or `Idempotency-Key`: none runs twice. A key of a user may submit the labels of a conversation only.
    """
    user = caller.user(body.user_id)
    messages = [_message(item, user, caller, trace) for item in body.messages]
    async with item_id_for(here, user, "messages", idempotency_key, body) as name:
        for number, (item, message) in enumerate(zip(body.messages, messages, strict=True)):
            if name is not None and item.item_id is None:
                message.item_id = str(uuid5(UUID(name), str(number)))
        results = await here.scheduler.submit_messages(messages, delay=body.delay_seconds)
    return SubmittedAll(items=[Submitted(item_id=each.item_id, outcome=each.outcome) for each in results])  # type: ignore[arg-type]


def _message(item: Item, user: str, caller: Principal, trace: str | None) -> ScheduleMessageItem:
    if caller.role is Role.USER and item.label not in FOR_USERS:
        raise NotAllowed(f"A key of a user submits these labels: {', '.join(sorted(FOR_USERS))}.")
    given = item.model_dump(exclude_none=True)
    return ScheduleMessageItem.from_dict({**given, "user_id": user, "trace_id": trace})


@router.get("/items/{item_id:path}", summary="Where is a message?")
async def get_item(
    item_id: Annotated[ItemId, Path()],
    here: Here,
    user: QueryUser,
) -> ItemStatuses:
    """Known until MEMSCHED_TASK_TTL_SECONDS after it ended."""
    found = await here.scheduler.find_tasks(user, item_id)
    if not found:
        raise not_found()
    return ItemStatuses(items=[ItemStatus.of(task) for task in found])


@router.delete("/items/{item_id:path}", summary="Take a message off the queue")
async def cancel_item(
    item_id: Annotated[ItemId, Path()],
    here: Here,
    user: QueryUser,
    label: Annotated[LabelName | None, Query(description="Only under this label.")] = None,
) -> Cancelled:
    """For good, wherever it waits or runs. What is finished stays as it is."""
    if not await here.scheduler.find_tasks(user, item_id, label):
        raise not_found()
    return Cancelled(cancelled=await here.scheduler.cancel_task(item_id, user_id=user, label=label))


@router.get("/tasks/{task_id:path}", summary="How far is a business task?")
async def get_task(
    task_id: Annotated[TaskId, Path()],
    here: Here,
    user: QueryUser,
) -> TaskProgress:
    """Of all messages that name it as their `task_id`, and of their follow-ups. Known for a week."""
    found = await here.scheduler.tasks_of(user, task_id)
    if not found:
        raise not_found()
    return progress_of(task_id, found)


def progress_of(task_id: str, found: list[Task]) -> TaskProgress:
    """How far a business task is, by its messages."""
    states = [task.status.state for task in found]
    unfinished = sum(task.unfinished for task in found)
    failed = states.count(TaskState.FAILED)
    if unfinished:
        state = (
            TaskState.IN_PROGRESS if unfinished < len(found) or TaskState.IN_PROGRESS in states else TaskState.WAITING
        )
    else:
        state = TaskState.FAILED if failed else TaskState.COMPLETED
    shown = [ItemStatus.of(task) for task in found[:MOST_SHOWN]]
    return TaskProgress(
        task_id=task_id, state=state, total=len(found), unfinished=unfinished, failed=failed, items=shown
    )


@router.get("/unfinished", summary="How much of a user's is unfinished?")
async def get_unfinished(here: Here, user: QueryUser) -> Unfinished:
    """Of all labels; without what waits for a model that is away and is not due yet."""
    return Unfinished(user_id=user, unfinished=await here.scheduler.unfinished(user))


Patience = Annotated[
    float, Query(gt=0, le=LONGEST_WAIT_SECONDS, alias="timeout", description="Seconds to wait at most.", strict=False)
]


@router.get("/wait", summary="Wait until it is finished")
async def wait(
    request: Request,
    here: Here,
    user: QueryUser,
    task_id: Annotated[TaskId | None, Query(description="Only for this business task.")] = None,
    seconds: Patience = 30.0,
) -> Waited:
    """Until everything of a user, or of one business task, is finished, with all follow-ups; or the time is up."""
    try:
        await while_connected(request.receive, here.scheduler.wait(user_id=user, task_id=task_id, timeout=seconds))
    except WaitTimeout as late:
        return Waited(finished=False, unfinished=late.unfinished, advice=late.advice)
    return Waited(finished=True, unfinished=0)


@router.get("/wait/stream", response_class=EventSourceResponse, summary="Wait, and see how far it is")
async def stream_wait(
    here: Here,
    user: QueryUser,
    task_id: Annotated[TaskId | None, Query(description="Only for this business task.")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events `progress` {finished, unfinished} whenever the number changes; the last one says that it is finished."""
    async for left in until_stopped(here, _countdown(here, user, task_id)):
        yield ServerSentEvent(event="progress", data=Waited(finished=not left, unfinished=left))


async def _countdown(here: Service, user: str, task_id: str | None) -> AsyncGenerator[int, None]:
    """How many are unfinished, whenever that changes; ends at 0, and after an hour."""
    until = time.monotonic() + _LONGEST_STREAM_SECONDS
    pauses = poll_pauses(0.05, 1.0)
    told: int | None = None
    while time.monotonic() < until:
        left = await here.scheduler.unfinished(user, task_id)
        if left != told:
            yield left
            told, pauses = left, poll_pauses(0.05, 1.0)
        if not left:
            return
        await asyncio.sleep(next(pauses))


@router.get("/status", summary="The queue, as operators see it")
async def get_status(here: Here, caller: Caller) -> dict[str, Any]:
    """The numbers of `memsched status --json`: of all labels, of each, and who works. No user is named."""
    caller.require_may("status")
    return await here.scheduler.get_tasks_status()


@router.get("/scaling", summary="How many workers are needed?")
async def get_scaling(
    here: Here,
    caller: Caller,
    labels: Annotated[str, Query(max_length=4096, description="Comma-separated; default: all.")] = "",
) -> Scaling:
    """For an autoscaler. `ready` is what a worker could take now; it is counted whether or not any worker lives."""
    caller.require_may("metrics")
    wanted = {label.strip() for label in labels.split(",")} - {""}
    return Scaling(**await here.scheduler.scaling(wanted or None))


@router.post("/labels/{label:path}/pause", summary="Let workers take no more of a label")
async def pause_label(label: Annotated[LabelName, Path()], here: Here, _: Operator) -> Paused:
    """All workers, at once, and those that start later. What runs ends; what comes is kept."""
    await _expect_label(here, label)
    return Paused(label=label, paused=True, changed=await here.scheduler.pause(label))


@router.post("/labels/{label:path}/resume", summary="Let workers go on with a label")
async def resume_label(label: Annotated[LabelName, Path()], here: Here, _: Operator) -> Paused:
    """What was paused goes on at once."""
    return Paused(label=label, paused=False, changed=await here.scheduler.resume(label))


async def _expect_label(here: Service, label: str) -> None:
    """Raises what 404 is made of for a label that never had a message or a worker: it would stay paused unseen."""
    if label not in (await here.scheduler.read_status()).labels:
        raise not_found()
