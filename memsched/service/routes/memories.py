"""What is remembered: what was said after a model call, and memories by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import Field, TypeAdapter, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from memsched.errors import WaitTimeout
from memsched.history import HistoryEntry
from memsched.memory.model import Memory
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, MEM_FEEDBACK_TASK_LABEL
from memsched.mos.tasks import TaskFailed
from memsched.redaction import redacted
from memsched.service.bodies import (
    FREE_JSON,
    IN_AN_ADDRESS,
    MOST_MESSAGES,
    Body,
    CubeName,
    Json,
    MemoryId,
    Metadata,
    Said,
    SessionId,
    Tag,
    Text,
    UserId,
    an_example,
)
from memsched.service.callers import Caller, Traceparent
from memsched.service.problems import Problem, at_parameter
from memsched.service.state import Here, Service
from memsched.service.views import MemoryView, View
from memsched.service.writes import AfterWrite, IdempotencyKey, item_id_for, only_change_of, token_of

router = APIRouter(prefix="/v1/memories", tags=["memories"])

MOST_OF_A_PAGE = 100
Wait = Annotated[
    int, Query(ge=0, le=30, description="Seconds to wait until it is remembered: 200 then, else 202.", examples=[10])
]
OfUser = Annotated[UserId | None, Query()]
OfCube = Annotated[CubeName | None, Query()]
Which = Annotated[MemoryId, Path()]


_EITHER: JsonDict = {
    "oneOf": [
        {"required": ["messages"], "properties": {"messages": {"type": "array"}, "text": {"type": "null"}}},
        {"required": ["text"], "properties": {"text": {"type": "string"}, "messages": {"type": "null"}}},
    ]
}


class NewMemories(Body):
    """What was said, as messages or as one statement."""

    model_config = an_example(
        _EITHER,
        user_id="ada",
        session_id="monday",
        messages=[
            {"role": "user", "content": "My boat is in the harbour of Kiel."},
            {"role": "assistant", "content": "Nice! Is it a sailing boat?"},
        ],
    )

    messages: list[Json] | None = Field(
        default=None, min_length=1, max_length=MOST_MESSAGES, description="In any form of docs/conversations.md."
    )
    text: Said | None = Field(
        default=None, min_length=1, max_length=1_000_000, description="One statement of the user."
    )
    user_id: UserId | None = None
    cube: CubeName | None = None
    session_id: SessionId | None = None
    tags: list[Tag] = Field(default=[], max_length=64, description="What the memories are tagged with.")
    metadata: Metadata | None = Field(
        default=None, description="Kept with what is remembered; a search may ask for it."
    )
    used_memory_ids: list[MemoryId] = Field(
        default=[],
        max_length=1_000,
        description="The memories that the prompt held (its memory_ids), of those of the answer.",
    )
    role: Text | None = Field(default=None, max_length=200, description="Binds what is remembered to a role.")
    task: Text | None = Field(default=None, max_length=200, description="Binds what is remembered to a task.")

    @model_validator(mode="after")
    def _one_of_both(self) -> NewMemories:
        if (self.messages is None) == (self.text is None):
            raise PydanticCustomError("one_of_both", "Give messages or text, one of both.")
        return self


class Item(View):
    """A message that was submitted."""

    item_id: str
    label: str = Field(examples=["add"])
    outcome: str = Field(description="queued, delayed, or duplicate (it was there already).", examples=["queued"])


class Became(View):
    """What became of one of the messages."""

    index: int = Field(description="Its place among those that were sent.")
    outcome: Literal["added", "merged", "put_off", "passed", "forgotten", "deleted", "refused"]
    memory_ids: list[str] = Field(default=[], description="Which memories hold what it says.")
    corrects: list[str] = Field(default=[], description="Which memories it corrects.")
    why: str = ""


class Submitted(View):
    """What was submitted; and with ``wait``, what became of it."""

    task_id: str
    items: list[Item]
    token: str = Field(description="Say after=<token> with a read that shall see it.")
    messages: list[Became] | None = Field(default=None, description="With wait, when it is remembered.")
    memory_ids: list[str] | None = Field(
        default=None, description="With wait: all memories that came of it, also a model's."
    )


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Submitted, "description": "It is kept, and will be remembered."}
}


@router.post("", summary="Have remembered what was said", operation_id="add_memories", responses=_ACCEPTED)
async def add_memories(
    here: Here,
    caller: Caller,
    body: NewMemories,
    response: Response,
    traceparent: Traceparent,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> Submitted:
    """After a model call: what was said is remembered, and the memories that the answer used are credited."""
    user = caller.user(body.user_id)
    info = {name: value for name in ("role", "task") if (value := getattr(body, name))}
    async with item_id_for(here, user, "add_memories", idempotency_key, body) as item_id:
        recorded = await here.mos.record(
            *(body.messages, body.text, body.cube, user, body.session_id),
            used_memory_ids=body.used_memory_ids,
            info=info or None,
            metadata=body.metadata,
            tags=body.tags or None,
            item_id=item_id,
            trace_id=traceparent,
        )
    labels = (ADD_TASK_LABEL, ANSWER_TASK_LABEL)
    done = Submitted(
        task_id=recorded.task_id,
        items=[
            Item(item_id=each.item_id, label=label, outcome=each.outcome)
            for label, each in zip(labels, recorded.results, strict=False)
        ],
        token=token_of(user, recorded.mem_cube_id, recorded.task_id),
    )
    return await _after(here, done, user, recorded.mem_cube_id, ADD_TASK_LABEL, wait, response)


async def _after(
    here: Service, done: Submitted, user: str, cube: str, label: str, seconds: int, response: Response
) -> Submitted:
    """Wait for a write, and tell what became of it; 202 where that takes longer."""
    response.status_code = 202
    if not seconds:
        return done
    try:
        await here.mos.wait(done.task_id, user_id=user, mem_cube_id=cube, label=label, timeout=seconds)
    except WaitTimeout:
        return done
    except TaskFailed as error:
        raise Problem(502, f"It was given up: {redacted(error.error)}"[:500], kind="TaskFailed") from error
    response.status_code = 200
    return await _with_outcome(here, done, user, label)


async def _with_outcome(here: Service, done: Submitted, user: str, label: str) -> Submitted:
    status = await here.scheduler.get_task_status(done.task_id, user_id=user, label=label)
    messages = became_of(status.result) if status is not None else None
    if messages is None:
        return done
    ids = [each for message in messages for each in message.memory_ids]
    return done.model_copy(update={"messages": messages, "memory_ids": list(dict.fromkeys(ids))})


def became_of(told: Any) -> list[Became] | None:
    """What became of each message, by the result of a task of ``add``; None for another result."""
    if not isinstance(told, Mapping) or "turns" not in told:
        return None
    corrects: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    for newer, older, because in told["corrected"]:
        corrects.setdefault(newer, []).append(older)
        why[newer] = because
    return [
        Became(
            index=int(position),
            outcome=outcome,
            memory_ids=ids,
            corrects=[older for each in ids for older in corrects.get(each, ())],
            why=reason or next((why[each] for each in ids if each in why), ""),
        )
        for position, (outcome, ids, reason) in sorted(told["turns"].items(), key=lambda each: int(each[0]))
    ]


class MemoryList(View):
    """A page of memories."""

    memories: list[MemoryView]
    total: int = Field(description="On all pages.")
    cursor: str = Field(description="Say cursor=<it> for the next page; empty on the last one.")


_FREE_JSON: TypeAdapter[Any] = TypeAdapter(Json)


def filter_given(filter: str | None) -> dict[str, Any] | None:
    """A filter that stands in an address, as JSON. Raises Problem."""
    if filter is None:
        return None
    try:
        found = _FREE_JSON.validate_python(json.loads(filter))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise at_parameter('filter: it must be a JSON object, as {"project": "atlas"}.', "filter", "query")
    return found


@router.get("", summary="All memories of a cube, page by page", operation_id="list_memories")
async def list_memories(
    here: Here,
    caller: Caller,
    _after: AfterWrite = None,
    user_id: OfUser = None,
    cube: OfCube = None,
    filter: Annotated[
        str | None,
        Query(
            max_length=20_000,
            description="A JSON object: docs/http.md#filters.",
            json_schema_extra={IN_AN_ADDRESS: {"type": "object", "additionalProperties": {FREE_JSON: True}}},
        ),
    ] = None,
    kind: Annotated[list[Literal["turn", "fact", "preference", "event"]] | None, Query()] = None,
    session_id: Annotated[SessionId | None, Query()] = None,
    include_archived: Annotated[bool, Query()] = False,
    order: Annotated[Literal["newest", "oldest"], Query(description="By when it was said.")] = "newest",
    limit: Annotated[int, Query(ge=1, le=MOST_OF_A_PAGE)] = 50,
    cursor: Annotated[str, Query(max_length=16_000, description="Of the page before.")] = "",
) -> MemoryList:
    """Of one cube: the one that is named, or the user's only one."""
    conditions = {
        "filter": filter_given(filter) or {},
        "kind": kind or [],
        "session_id": [session_id] if session_id else [],
        "include_archived": include_archived,
    }
    page = await here.mos.list_memories(
        cube, caller.user(user_id), limit=limit, order=order, after=cursor, conditions=conditions
    )
    return MemoryList(memories=[MemoryView.of(each) for each in page.memories], total=page.total, cursor=page.cursor)


def etag_of(memory: Memory) -> str:
    """Another one when the memory has changed."""
    return f'"{hashlib.sha256(memory.model_dump_json().encode()).hexdigest()[:20]}"'


@router.get("/{memory_id}", summary="One memory", operation_id="get_memory")
async def get_memory(
    here: Here,
    caller: Caller,
    memory_id: Which,
    response: Response,
    _after: AfterWrite = None,
    user_id: OfUser = None,
    cube: OfCube = None,
) -> MemoryView:
    """In the cube that is named, or in any that the user may read. Its ETag is for a change of it."""
    memory = await here.mos.get(memory_id, cube, caller.user(user_id))
    response.headers["ETag"] = etag_of(memory)
    return MemoryView.of(memory)


def _has_changed() -> Problem:
    return Problem(412, "The memory has changed since, or is being changed: read it again.")


class Correction(Body):
    """What holds instead."""

    model_config = an_example(text="The boat is in the harbour of Flensburg now.")

    text: Said = Field(min_length=1, max_length=10_000)


@router.patch("/{memory_id}", summary="Correct a memory", operation_id="correct_memory", responses=_ACCEPTED)
async def correct_memory(
    here: Here,
    caller: Caller,
    memory_id: Which,
    body: Correction,
    response: Response,
    if_match: Annotated[str | None, Header(description="The memory's ETag, or *.")] = None,
    wait: Wait = 0,
    user_id: OfUser = None,
    cube: OfCube = None,
) -> Submitted:
    """The text is remembered and takes the memory's place, whose history keeps both."""
    user = caller.user(user_id)
    memory = await here.mos.get(memory_id, cube, user)
    if if_match is None:
        raise Problem(428, "Say If-Match with the memory's ETag, so that no other change of it is overwritten.")
    if if_match.strip() != "*" and etag_of(memory) not in {each.strip() for each in if_match.split(",")}:
        raise _has_changed()
    name, task_id = cube or await here.mos.cube_of(memory_id, user), str(uuid4())
    token = token_of(user, name, task_id, MEM_FEEDBACK_TASK_LABEL)
    if if_match.strip() == "*":
        await here.mos.update(memory_id, body.text, name, user, item_id=task_id)
    else:
        async with only_change_of(here, f"{memory_id} {etag_of(memory)}", token) as is_only:
            if not is_only or etag_of(await here.mos.get(memory_id, name, user)) != etag_of(memory):
                raise _has_changed()
            await here.mos.update(memory_id, body.text, name, user, item_id=task_id)
    item = Item(item_id=task_id, label=MEM_FEEDBACK_TASK_LABEL, outcome="queued")
    done = Submitted(task_id=task_id, items=[item], token=token)
    done = await _after(here, done, user, name, MEM_FEEDBACK_TASK_LABEL, wait, response)
    if response.status_code == 200 and (now := (await here.mos.get(memory_id, name, user)).superseded_by):
        done = done.model_copy(update={"memory_ids": [now]})
    return done


@router.delete("/{memory_id}", status_code=204, summary="Delete a memory for good", operation_id="delete_memory")
async def delete_memory(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> None:
    """At once and everywhere: in the store, the working set, the block, the events; no message brings it back."""
    await here.mos.delete(memory_id, cube, caller.user(user_id))


@router.get("/{memory_id}/history", summary="All that is known of a memory", operation_id="get_memory_history")
async def get_memory_history(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> list[HistoryEntry]:
    """Its versions, oldest first: when each was said, corrected, used and moved, and why."""
    return await here.mos.history(memory_id, cube, caller.user(user_id))


class Changed(View):
    """Whether it was otherwise before."""

    changed: bool


@router.post("/{memory_id}/pin", summary="Keep a memory near", operation_id="pin_memory")
async def pin_memory(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> Changed:
    """It stays in the working set until it is unpinned."""
    return Changed(changed=await here.mos.pin(memory_id, cube, caller.user(user_id)))


@router.post("/{memory_id}/unpin", summary="Let a memory come and go", operation_id="unpin_memory")
async def unpin_memory(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> Changed:
    """As others do."""
    return Changed(changed=await here.mos.unpin(memory_id, cube, caller.user(user_id)))


@router.post("/{memory_id}/archive", summary="Put a memory away", operation_id="archive_memory")
async def archive_memory(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> Changed:
    """Neither near nor found, until it is restored."""
    return Changed(changed=await here.mos.archive(memory_id, cube, caller.user(user_id)))


@router.post("/{memory_id}/restore", summary="Bring a memory back", operation_id="restore_memory")
async def restore_memory(
    here: Here, caller: Caller, memory_id: Which, user_id: OfUser = None, cube: OfCube = None
) -> Changed:
    """From the archive, or from under what corrects it."""
    return Changed(changed=await here.mos.restore(memory_id, cube, caller.user(user_id)))
