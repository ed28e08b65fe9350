"""Writes: tokens by which a read waits for one, and keys that keep one from being done twice."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated
from uuid import UUID, uuid5

from fastapi import Depends, Header, Query, Request
from pydantic import BaseModel

from memsched.broker.client import Server
from memsched.broker.scripting import Command, as_text
from memsched.errors import MemschedError, NotAllowed, ServerRefused, ServerUnreachable
from memsched.messages import ADD_TASK_LABEL
from memsched.mos.tasks import TaskFailed
from memsched.service.callers import principal_of
from memsched.service.problems import Problem, at_parameter
from memsched.service.state import Service, service_of
from memsched.task_status import TaskState

CHANGE_SECONDS = 60
"""So long nobody else may change what a request began to change that came to no end: its process was killed."""
WAIT_SECONDS = 10.0
"""So long a read waits for a write at most."""
_KEYS = UUID("c1d9c4e0-1d0f-4c39-9a52-0f2f6f6f4c0e")


def token_of(user_id: str, cube: str, item_id: str, label: str = ADD_TASK_LABEL) -> str:
    """What a read says (``after=``) that shall see this write."""
    said = json.dumps([user_id, cube, item_id, label], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def _write_of(token: str) -> tuple[str, str, str, str]:
    """User, cube, item and label of a token. Raises Problem."""
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != 4 or not all(isinstance(each, str) and each for each in found):
        raise _no_write()
    user_id, cube, item_id, label = found
    return user_id, cube, item_id, label


def _no_write() -> Problem:
    return Problem(404, "after: no write was answered with this token.", kind="NotFound")


After = Annotated[
    str | None,
    Query(max_length=4096, description="The token of a write: the answer sees it, or is 503 after ten seconds."),
]


async def wait_for_write(request: Request, after: After = None) -> None:
    """Wait until a write is in, for ten seconds at most; for none where no token is given."""
    if after is None:
        return
    user_id, cube, item_id, label = _write_of(after)
    principal = principal_of(request)
    principal.require_may("memory")
    try:
        user = principal.user(user_id)
    except NotAllowed:  # what is another's is answered as what is not there
        raise _no_write() from None
    with suppress(TaskFailed):  # it will never be in: there is nothing to wait for
        mos = service_of(request).mos
        await mos.wait(item_id, user_id=user, mem_cube_id=cube, label=label, timeout=WAIT_SECONDS)


AfterWrite = Annotated[None, Depends(wait_for_write)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="With the same key again, the same body is not submitted twice, and another one is refused.",
    ),
]


@asynccontextmanager
async def item_id_for(
    here: Service, user_id: str, route: str, key: str | None, body: BaseModel
) -> AsyncIterator[str | None]:
    """The item id that an Idempotency-Key and a body stand for; None without a key. Raises Problem for a key that was
    used for another body.

    The key is the user's own, for each route. It is known as long as the status of a finished message; what is refused
    within has used nothing.
    """
    if key is None:
        yield None
        return
    digest = hashlib.sha256(body.model_dump_json().encode("utf-8", "replace")).hexdigest()
    server = await here.scheduler.server()
    place = here.scheduler.keys.idempotency(str(uuid5(_KEYS, json.dumps([user_id, route, key]))))
    ttl = here.settings.task_ttl_seconds
    command = Command(("SET", place, digest, "NX", "GET", "EX", ttl), lambda reply: reply and as_text(reply))
    before = await server.persistently(lambda: server.call(command))
    if before and before != digest:
        raise at_parameter("Idempotency-Key: it was used for another body.", "Idempotency-Key", "header")
    try:
        # Of the body too: where the key is forgotten before the item is, another body is another item.
        yield str(uuid5(_KEYS, json.dumps([user_id, route, key, digest])))
    except (MemschedError, Problem) as error:
        if not before and not isinstance(error, (ServerUnreachable, ServerRefused)):
            forget = Command(("DEL", place), lambda reply: reply)
            await server.persistently(lambda: server.call(forget))
        raise


@asynccontextmanager
async def only_change_of(here: Service, version: str, change: str) -> AsyncIterator[bool]:
    """Whether no other change of the same version of something is under way; if so, others have to wait for this one.

    Changes that are over do not count: whoever comes behind one looks within whether the version is still the one of
    now. What is refused within is no change.

    Args:
        version: of what, and which one.
        change: the token of the write that it is.
    """
    server, ttl = await here.scheduler.server(), here.settings.task_ttl_seconds
    before, place, holder = "", "", ""
    while not place or holder:  # a place behind each change that is over: so no two can take the same one
        place = here.scheduler.keys.idempotency(str(uuid5(_KEYS, json.dumps([version, before]))))
        before = holder = await _holder(server, place, change)
        if holder and not await _is_over(here, holder):
            yield False
            return
    try:
        yield True
    except (MemschedError, Problem) as error:
        if not isinstance(error, (ServerUnreachable, ServerRefused)):
            await server.persistently(lambda: server.call(Command(("DEL", place), lambda reply: reply)))
        raise
    await server.persistently(lambda: server.call(Command(("EXPIRE", place, ttl), lambda reply: reply)))


async def _holder(server: Server, place: str, change: str) -> str:
    """Whose the place is; "" when it is ours now."""
    take = Command(("SET", place, change, "NX", "GET", "EX", CHANGE_SECONDS), lambda reply: reply and as_text(reply))
    holder: str | None = await server.persistently(lambda: server.call(take))
    return "" if holder in (None, change) else str(holder)  # ours already, where it was asked again


async def _is_over(here: Service, change: str) -> bool:
    user_id, _, item_id, label = _write_of(change)
    status = await here.scheduler.get_task_status(item_id, user_id=user_id, label=label)
    return status is not None and status.state in (TaskState.COMPLETED, TaskState.FAILED)
