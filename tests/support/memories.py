"""Memories, and what is said to make them: as values, as messages, and as a cube is in both stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from memsched import AsyncMemScheduler, AsyncMOS, ScheduleMessageItem
from memsched.broker.scripting import as_text
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.model import Memory
from memsched.mos.options import MosOptions
from memsched.policy.strategy import CubeMemory
from support.outcome import all_finished
from support.windows import assert_windows_follow_from_texts

FIRST = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def memory(text: str = "Rex eats carrots.", minute: float = 0, **fields: Any) -> Memory:
    """One of Alice's cube ``home``, said so many minutes after FIRST; its id is its text unless given."""
    at = FIRST + timedelta(minutes=minute)
    speaker = fields.get("speaker", "")
    values = {
        "memory_id": text,
        "user_id": "alice",
        "mem_cube_id": "home",
        "text": text,
        "at": at,
        "created_at": at,
        "updated_at": at,
        "content_hash": content_hash(speaker, text),
    }
    return Memory(**{**values, **fields})


def cube_memory(text: str = "Rex eats carrots.", minute: float = 0, **fields: Any) -> CubeMemory:
    """The same as a policy sees it."""
    known = {"vital": fields.pop("vital", ""), "available": fields.pop("available", True)}
    known |= {"archived": fields.pop("archived", ""), "superseded_by": fields.pop("superseded_by", "")}
    known |= {"may_be_revised_by": fields.pop("may_be_revised_by", ())}
    plain = memory(text, minute, **fields)
    names = {field.name for field in dataclasses.fields(CubeMemory)} - known.keys()
    return CubeMemory(**{name: getattr(plain, name) for name in names}, **known)


def said(text: str, minute: float = 0, label: str = "add", **fields: Any) -> ScheduleMessageItem:
    """One message of Alice to her cube, so many minutes after FIRST."""
    values = {"user_id": "alice", "mem_cube_id": "home", "timestamp": FIRST + timedelta(minutes=minute)}
    return ScheduleMessageItem(label=label, content=text, **{**values, **fields})


def conversation(*turns: tuple[str, str], minute: float = 0, label: str = "add", **fields: Any) -> ScheduleMessageItem:
    """(speaker, text) each, in one message; Alice is the user."""
    history = [
        {"role": "user" if speaker == "Alice" else "", "name": speaker, "content": text} for speaker, text in turns
    ]
    return said("", minute, label, **{"user_name": "Alice", "chat_history": history, **fields})


async def put(scheduler: AsyncMemScheduler, message: ScheduleMessageItem) -> None:
    """As a foreign producer puts it in: nobody asks whether it is there already."""
    lane = scheduler.keys.lane(message.label, message.user_id, message.mem_cube_id)
    server = await scheduler.server()
    await server.execute("SADD", scheduler.keys.lanes, lane.name)
    await server.execute("XADD", lane.stream, "*", *message.to_wire())


async def idle(scheduler: AsyncMemScheduler, seconds: float = 30.0) -> None:
    """Until nothing is left to do, of any label."""
    await all_finished(scheduler, "", seconds=seconds)


@dataclass(frozen=True)
class Snapshot:
    """All that a cube is, but for the times at which it was written.

    memories: by id. words: how many memories each stem is in. working_set: (id, score), in order.
    """

    memories: dict[str, dict[str, Any]]
    words: dict[str, int]
    working_set: list[tuple[str, float]]
    parts: list[dict[str, float]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return sorted(memory["text"] for memory in self.memories.values())


_OF_THE_RUN = ("created_at", "updated_at", "last_used_at")


async def memories_of(scheduler: AsyncMemScheduler, user: str = "alice", cube: str = "home") -> list[Memory]:
    services = await scheduler.memory()
    return [memory async for memory, _ in services.store.scan(CubeRef(user, cube))]


async def snapshot(scheduler: AsyncMemScheduler, user: str = "alice", cube: str = "home") -> Snapshot:
    memories = await assert_windows_follow_from_texts((await scheduler.memory()).store, CubeRef(user, cube))
    server = await scheduler.server()
    reply = await server.execute("HGETALL", scheduler.keys.cube(user, cube).terms)
    flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply
    words = {stem.decode(): int(number) for stem, number in zip(flat[::2], flat[1::2], strict=True)}
    working_set = await scheduler.working_set(user, cube)
    return Snapshot(
        {memory.memory_id: memory.model_dump(exclude=set(_OF_THE_RUN)) for memory in memories},
        words,
        [(memory.memory_id, memory.score) for memory in working_set],
        [memory.parts for memory in working_set],
    )


async def texts_of(scheduler: AsyncMemScheduler, user: str = "alice", cube: str = "home") -> list[str]:
    """The working set's texts, in order."""
    return [memory.text for memory in await scheduler.working_set(user, cube)]


async def found(
    scheduler: AsyncMemScheduler, query: str, user: str = "alice", cube: str = "home", **more: Any
) -> list[str]:
    """The texts that a search gives, in order."""
    return [result.memory for result in await scheduler.retriever.search(query, user, cube, **more)]


def without_working(scheduler: AsyncMemScheduler) -> AsyncMOS:
    """Alice's memory as a user sees it, in a process that leaves all messages to the workers of others."""
    return AsyncMOS.over(scheduler, MosOptions(user_id="alice", enable_mem_scheduler=False))


async def left_of(scheduler: AsyncMemScheduler, *words: str, user: str = "alice", cube: str = "home") -> list[str]:
    """Where these words (in lower case) still stand: under any of the scheduler's keys, or in the cube's store."""
    server = await scheduler.server()
    reads = {
        "hash": ("HGETALL",),
        "zset": ("ZRANGE", 0, -1),
        "stream": ("XRANGE", "-", "+"),
        "list": ("LRANGE", 0, -1),
        "set": ("SMEMBERS",),
        "string": ("GET",),
    }
    lines = [repr(each) for each in await memories_of(scheduler, user, cube)]
    for key in await server.execute("KEYS", f"{scheduler.keys.prefix}:*"):
        kind = as_text(await server.execute("TYPE", key))
        if kind != "none":  # gone since, such as a worker's sign of life
            command, *more = reads[kind]
            lines.append(f"{key!r}: {await server.execute(command, key, *more)!r}")
    return [line for line in map(str.lower, lines) if any(word in line for word in words)]


async def forget_everything(schedulers: Sequence[AsyncMemScheduler], user: str = "alice", cube: str = "home") -> None:
    """Empty the cube, and every key under the schedulers' prefix: for the next round of a test."""
    server = await schedulers[0].server()
    services = await schedulers[0].memory()
    await services.store.delete(CubeRef(user, cube))
    names = schedulers[0].keys
    keys = await server.execute("KEYS", f"{names.prefix}:*")
    # The producers have said which lanes there are, and will not say it again at once.
    if gone := [key for key in keys if key.decode() != names.lanes]:
        await server.execute("DEL", *gone)
