"""Pages of messages: lists of them, one of them; taking one off the queue."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from starlette.responses import Response

from memsched.memory.access.api_keys import Principal
from memsched.queue.dead_letters import DeadFilter
from memsched.queue.listing import (
    PLACES,
    Listed,
    ListedPage,
    ListFilter,
    Whereabouts,
    count_of_user,
    find_listed,
    list_messages,
)
from memsched.queue.tasks import Task
from memsched.redaction import redacted
from memsched.service.bodies import ItemId, UserId
from memsched.service.callers import Caller, QueryUser
from memsched.service.dashboard.pages import first_frame, page_router, render, see
from memsched.service.dashboard.rendering import fragment, path_of, query_of
from memsched.service.problems import not_found
from memsched.service.routes.scheduler import LabelName, cancel_item
from memsched.service.state import Here, Service

router = page_router()

_A_PAGE = 50
_SHOWN_CHARACTERS = 20_000
_HEAD = ("item_id", "user_id", "mem_cube_id", "session_id", "task_id", "user_name", "timestamp", "expires_at")
"""Of what a message says: beside its content."""

After = Annotated[str, Query(max_length=1500)]
InQuery = Annotated[LabelName | None, Query()]
State = Literal["waiting", "running", "orphaned", "parked", "delayed", "dead"]


async def _page(here: Service, which: ListFilter, after: str) -> ListedPage:
    scheduler = here.scheduler
    server = await scheduler.server()
    return await list_messages(server, scheduler.keys, here.settings, which, after=after, limit=_A_PAGE)


# -- lists -------------------------------------------------------------------------------------------------------------


@router.get("/queue/{label:path}/{state}", name="get_messages_in")
async def get_messages_in(
    request: Request,
    here: Here,
    caller: Caller,
    label: Annotated[LabelName, Path()],
    state: Annotated[State, Path()],
    user_id: Annotated[UserId | None, Query()] = None,
    worker: Annotated[str, Query(max_length=512)] = "",
    after: After = "",
) -> Response:
    """What of a label is in a state. Who may watch only sees that something is there: no name, no text."""
    caller.require_may("status")
    if state == "dead":
        if caller.may("operate"):
            return see("/dead-letters" + query_of(label=label))
        return render(request, "dead_counted.html", label=label, reasons=await _reasons(here, label))
    if user_id is not None:
        caller.require_may("operate")
    which = ListFilter((state,), label, user_id or "", worker)
    page = await _page(here, which, after)
    given: dict[str, Any] = {
        "label": label,
        "state": state,
        "user_id": user_id or "",
        "worker": worker,
        "page": page,
        "after": after,
    }
    return render(request, "messages_in.html", **given, states=PLACES, may_operate=caller.may("operate"))


async def _reasons(here: Service, label: str) -> dict[str, int]:
    """How many dead letters of a label there are for each reason."""
    found: dict[str, int] = {}
    letters = await here.scheduler.dead_letters()
    async for letter in letters.letters(DeadFilter(label)):
        found[letter.reason] = found.get(letter.reason, 0) + 1
    return found


@router.get("/messages", name="get_messages_of")
async def get_messages_of(
    request: Request,
    here: Here,
    caller: Caller,
    user_id: Annotated[UserId | None, Query()] = None,
    label: InQuery = None,
    state: Annotated[Whereabouts | None, Query()] = None,
    item_id: Annotated[ItemId | None, Query()] = None,
    after: After = "",
) -> Response:
    """What of a user's is unfinished; with ``item_id``, that message. Who acts for several is asked for whom."""
    caller.require_may("memory")
    if user_id is None and not caller.user_id:
        return render(request, "messages_of.html", user_id="")
    user = caller.user(user_id)
    if item_id:
        return see(path_of("messages", item_id) + query_of(user_id=user))
    which = ListFilter((state,) if state else PLACES, label or "", user)
    page = await _page(here, which, after)
    live = await first_frame(_Counts(here, user))
    given: dict[str, Any] = {
        "user_id": user,
        "label": label or "",
        "state": state or "",
        "page": page,
        "after": after,
        "live": live,
    }
    return render(request, "messages_of.html", **given, states=PLACES)


@router.get("/ui/frames/messages", name="get_message_counts")
async def get_message_counts(here: Here, caller: Caller, user: QueryUser) -> Response:
    """How much it is, as it changes."""
    return here.frames.stream(caller, "messages", user, produce=_Counts(here, user))


class _Counts:
    """How much of a user's is unfinished: makes one frame after another."""

    def __init__(self, here: Service, user_id: str) -> None:
        self._here = here
        self._user_id = user_id

    async def __call__(self) -> str:
        scheduler = self._here.scheduler
        counts = await count_of_user(await scheduler.server(), scheduler.keys, self._user_id)
        return fragment("messages_live.html", counts=counts, user_id=self._user_id)


# -- one message -------------------------------------------------------------------------------------------------------


class _Message:
    """A message: where it is, and what it says as long as it is unfinished. Makes one frame after another."""

    def __init__(self, here: Service, caller: Principal, user_id: str, item_id: str, label: str | None) -> None:
        self._here = here
        self._may_operate = caller.may("operate")
        self._which = (user_id, item_id, label)

    async def tasks(self) -> list[Task]:
        """What is known of it, one of each label at most."""
        return await self._here.scheduler.find_tasks(*self._which)

    async def __call__(self) -> str:
        scheduler = self._here.scheduler
        found = []
        for task in await self.tasks():
            listed = None
            if task.unfinished:
                listed = await find_listed(await scheduler.server(), scheduler.keys, self._here.settings, task)
            found.append({"task": task, "listed": listed, "says": self._says(listed), "times": _times(task)})
        return fragment("message_live.html", found=found, item_id=self._which[1], may_operate=self._may_operate)

    def _says(self, listed: Listed | None) -> dict[str, str] | None:
        """What the message says; None where nothing is kept of it, or an access policy decides what leaves."""
        if listed is None or self._here.scheduler.release.asks:
            return None
        return said(listed.fields)


def said(fields: Any) -> dict[str, str]:
    """What a message's fields say, for people: content first, without secrets."""
    shown = {name: fields[name] for name in ("content", *_HEAD) if fields.get(name)}
    for name in ("info", "chat_history"):
        if fields.get(name):
            shown[name] = _indented(fields[name])
    return {name: redacted(text[:_SHOWN_CHARACTERS]) for name, text in shown.items()}


def _indented(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text


def _times(task: Task) -> list[tuple[str, int]]:
    """What happened to it, in order: ms since the epoch."""
    status = task.status
    known = [
        ("submitted", status.submitted_ms),
        ("due", status.due_ms),
        ("begun", status.started_ms),
        (status.state.value if not task.unfinished else "", status.finished_ms),
    ]
    return sorted(((name, ms) for name, ms in known if name and ms), key=lambda each: each[1])


@router.get("/messages/{item_id:path}", name="get_message")
async def get_message(
    request: Request,
    here: Here,
    caller: Caller,
    user: QueryUser,
    item_id: Annotated[ItemId, Path()],
    label: InQuery = None,
) -> Response:
    """One message of a user."""
    message = _Message(here, caller, user, item_id, label)
    tasks = await message.tasks()
    if not tasks:
        raise not_found()
    live = await first_frame(message)
    unfinished = [task.lane.label for task in tasks if task.unfinished]
    given: dict[str, Any] = {
        "item_id": item_id,
        "user_id": user,
        "label": label,
        "live": live,
        "unfinished": unfinished,
    }
    return render(request, "message.html", **given)


@router.get("/ui/frames/messages/{item_id:path}", name="get_message_frames")
async def get_message_frames(
    here: Here, caller: Caller, user: QueryUser, item_id: Annotated[ItemId, Path()], label: InQuery = None
) -> Response:
    """The same, as it changes."""
    message = _Message(here, caller, user, item_id, label)
    if not await message.tasks():
        raise not_found()
    return here.frames.stream(caller, "message", user, item_id, label, caller.may("operate"), produce=message)


@router.post("/ui/messages/{item_id:path}/cancel", name="post_cancel")
async def post_cancel(
    here: Here, user: QueryUser, item_id: Annotated[ItemId, Path()], label: InQuery = None
) -> Response:
    """Take a message off the queue for good."""
    await cancel_item(item_id, here, user, label)
    return see(path_of("messages", item_id) + query_of(user_id=user, label=label))
