"""Lists of messages by where they are: waiting, running, orphaned, parked, delayed. For people who look.

A page is read when it is asked for; what moves meanwhile may stand in two pages, or in none.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from memsched.broker.client import Server, answered
from memsched.broker.keys import GROUP, NOBODY, Keys, Lane, escape
from memsched.broker.scripting import Command, as_ms, as_text
from memsched.messages import id_of_entry
from memsched.queue.delivery import COUNTERS
from memsched.queue.lanes import known_lanes
from memsched.queue.tasks import Task
from memsched.queue.workers import WorkerRegistry
from memsched.settings import Settings

Whereabouts = Literal["waiting", "running", "orphaned", "parked", "delayed"]
"""waiting: in the stream, held by no worker. The others: as queue/status.py counts them."""
PLACES: tuple[Whereabouts, ...] = get_args(Whereabouts)
_AT_ONCE = 100
_MOST_LOOKED_AT = 5_000
"""Of one page; where few fit a filter, there may be more behind it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A message, where it is now. Times are ms since the epoch; 0 is not known."""

    lane: Lane
    state: Whereabouts
    fields: Mapping[str, str]
    """What its entry says."""
    entry_id: str = ""
    due_ms: int = 0
    worker: str = ""
    """Who holds it; "" for nobody."""
    deliveries: int = 0

    @property
    def item_id(self) -> str:
        return self.fields.get("item_id") or id_of_entry(self.lane.name, self.entry_id)

    @property
    def user_id(self) -> str:
        return self.fields.get("user_id", "")

    @property
    def mem_cube_id(self) -> str:
        return self.fields.get("mem_cube_id", "")

    @property
    def submitted_ms(self) -> int:
        return as_ms(self.fields.get("submitted")) or as_ms(self.entry_id.partition("-")[0])

    @property
    def attempts(self) -> dict[str, int]:
        """How often it failed before, by kind."""
        counts = {name: _number(self.fields.get(name, "")) for name in COUNTERS}
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which messages are meant; "": any."""

    states: Collection[Whereabouts] = PLACES
    label: str = ""
    user_id: str = ""
    worker: str = ""
    """Only what this worker holds."""

    def admits(self, one: Listed) -> bool:
        return (
            one.state in self.states
            and (not self.user_id or one.user_id == self.user_id)
            and (not self.worker or one.worker == self.worker)
        )


@dataclass(slots=True)
class ListedPage:
    """Some messages, and behind what the next page begins; "": there are no more."""

    messages: list[Listed] = field(default_factory=list)
    after: str = ""


async def list_messages(
    server: Server, keys: Keys, settings: Settings, which: ListFilter, *, after: str = "", limit: int = 50
) -> ListedPage:
    """A page of messages, lane by lane, of each lane the oldest first.

    Args:
        after: of the page before.
    """
    lanes = await server.persistently(lambda: known_lanes(server, keys))
    live = await _live_workers(server, keys, settings)
    at_lane, _, rest = after.partition(":")
    at_part, _, place = rest.partition(":")
    at_part = at_part if at_part in _PARTS else next(iter(_PARTS))
    page, looked_at = ListedPage(), 0
    for lane in lanes:
        if (which.label and lane.label != which.label) or (at_lane and lane.name < at_lane):
            continue
        reader = _LaneReader(server, lane, live, which.user_id)
        for number, (part, states) in enumerate(_PARTS.items()):
            is_behind = at_lane == lane.name and number < list(_PARTS).index(at_part)
            if is_behind or not set(states) & set(which.states):
                continue
            async for here, one in reader.part(part, place if (at_lane, at_part) == (lane.name, part) else ""):
                looked_at += 1
                if which.admits(one):
                    page.messages.append(one)
                if len(page.messages) == limit or looked_at == _MOST_LOOKED_AT:
                    page.after = f"{lane.name}:{part}:{here}"
                    return page
    return page


_PARTS: dict[str, tuple[Whereabouts, ...]] = {
    "held": ("running", "orphaned", "waiting"),
    "fresh": ("waiting",),
    "parked": ("parked",),
    "delayed": ("delayed",),
}
"""The parts of a lane that are read one after another, and in which states what is there may be."""


class _LaneReader:
    """What stands in one lane, in parts; each message comes with the place behind which the next page begins."""

    def __init__(self, server: Server, lane: Lane, live: Collection[str], user_id: str) -> None:
        self._server = server
        self._lane = lane
        self._live = live
        self._user_id = user_id

    def part(self, name: str, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """One of _PARTS, behind a place in it."""
        parts = {"held": self.held, "fresh": self.fresh, "parked": self.parked, "delayed": self.delayed}
        return parts[name](after)

    async def held(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """What was delivered to somebody, and is not settled."""
        if self._user_id:
            async for each in self._in_stream_of_user(after, held=True):
                yield each
            return
        start = f"({after}" if after else "-"
        while rows := await self._ask("XPENDING", self._lane.stream, GROUP, start, "+", _AT_ONCE):
            for each in await self._entries({as_text(row[0]): row for row in rows}):
                yield each
            start = f"({as_text(rows[-1][0])}"

    async def fresh(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """What was delivered to nobody yet."""
        if self._user_id:
            async for each in self._in_stream_of_user(after, held=False):
                yield each
            return
        place = after or await self._last_delivered()
        while rows := await self._ask("XRANGE", self._lane.stream, f"({place}", "+", "COUNT", _AT_ONCE):
            for entry_id, raw in rows:
                place = as_text(entry_id)
                yield place, Listed(self._lane, "waiting", _fields(raw), place)

    async def parked(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """What is beyond a user's part of the stream, user by user."""
        at_name, _, rank = after.partition("/")
        if self._user_id:
            names = [escape(self._user_id)]
        else:
            found = await self._ask("HKEYS", self._lane.parked)
            names = sorted(name for name in map(as_text, found or ()) if name >= at_name and name)
        for name in names:
            number = _number(rank) if name == at_name else 0
            while rows := await self._ask("LRANGE", f"{self._lane.parked}:{name}", number, number + _AT_ONCE - 1):
                for row in rows:
                    number += 1
                    yield f"{name}/{number}", Listed(self._lane, "parked", _member(row))

    async def delayed(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """What is due later, the soonest first."""
        number = _number(after)
        while rows := await self._ask("ZRANGE", self._lane.delayed, number, number + _AT_ONCE - 1, "WITHSCORES"):
            flat = [part for pair in rows for part in pair] if isinstance(rows[0], (list, tuple)) else rows
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                number += 1
                yield str(number), Listed(self._lane, "delayed", _member(member), due_ms=as_ms(score))

    async def find(self, task: Task) -> Listed | None:
        """A message of the user, by what its record says of where it is."""
        entry, due = await self._ask("HMGET", task.lane.task(task.user_id, task.item_id), "entry", "due") or (
            None,
            None,
        )
        if entry:
            owner = await self._ask("XPENDING", self._lane.stream, GROUP, entry, entry, 1)
            found = [one for _, one in await self._entries({as_text(entry): owner[0] if owner else None})]
        elif due:
            rows = await self._ask("ZRANGEBYSCORE", self._lane.delayed, due, due)
            found = [Listed(self._lane, "delayed", _member(row), due_ms=as_ms(due)) for row in rows or ()]
        else:
            found = [one async for _, one in self.parked("")]
        return next((one for one in found if (one.user_id, one.item_id) == (task.user_id, task.item_id)), None)

    async def _in_stream_of_user(self, after: str, *, held: bool) -> AsyncIterator[tuple[str, Listed]]:
        """The user's own entries: nobody else's are read."""
        found = await self._ask("SMEMBERS", self._lane.entries_of(self._user_id))
        ids = sorted((as_text(each) for each in found or ()), key=_by_time)
        ids = [each for each in ids if not after or _by_time(each) > _by_time(after)]
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            commands = [Command(("XPENDING", self._lane.stream, GROUP, each, each, 1), _raw) for each in some]
            replies = await self._ask_all(commands)
            owned = {each: reply[0] for each, reply in zip(some, replies, strict=True) if reply}
            for each in await self._entries(owned if held else dict.fromkeys(set(some) - set(owned))):
                yield each

    async def _entries(self, rows: Mapping[str, Any]) -> list[tuple[str, Listed]]:
        """The entries with these ids, and who holds them: rows of XPENDING, or None."""
        ids = sorted(rows, key=_by_time)
        replies = await self._ask_all([Command(("XRANGE", self._lane.stream, each, each), _raw) for each in ids])
        found = []
        for each, reply in zip(ids, replies, strict=True):
            if not reply:  # settled meanwhile
                continue
            row = rows[each]
            owner = "" if row is None or as_text(row[1]) == NOBODY else as_text(row[1])
            state: Whereabouts = "waiting" if not owner else "running" if owner in self._live else "orphaned"
            deliveries = 0 if row is None else int(row[3])
            one = Listed(self._lane, state, _fields(reply[0][1]), each, worker=owner, deliveries=deliveries)
            found.append((each, one))
        return found

    async def _last_delivered(self) -> str:
        for group in await self._ask("XINFO", "GROUPS", self._lane.stream) or ():
            flat = [part for pair in group.items() for part in pair] if isinstance(group, dict) else group
            about = {as_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
            if as_text(about["name"]) == GROUP:
                return as_text(about["last-delivered-id"])
        return "0-0"

    async def _ask(self, *args: Any) -> Any:
        (reply,) = await self._ask_all([Command(args, _raw)])
        return reply

    async def _ask_all(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """The replies; None in place of one that the server refused: there is no stream, or the key is a stranger's."""
        if not commands:
            return []
        replies = await self._server.persistently(lambda: self._server.run(commands))
        return [None if isinstance(reply, Exception) else reply for reply in replies]


async def find_listed(server: Server, keys: Keys, settings: Settings, task: Task) -> Listed | None:
    """Where an unfinished message is now, with what it says; None if it is nowhere any more."""
    reader = _LaneReader(server, task.lane, await _live_workers(server, keys, settings), task.user_id)
    return await reader.find(task)


async def _live_workers(server: Server, keys: Keys, settings: Settings) -> set[str]:
    registry = WorkerRegistry(server, keys, settings.worker_ttl_seconds)
    workers = await server.persistently(lambda: server.run(registry.listing()))
    return {worker.worker_id for worker in registry.listed(workers) if worker.alive}


@dataclass(frozen=True, slots=True)
class UserCounts:
    """How much of one user's is unfinished in a label."""

    in_stream: int = 0
    parked: int = 0
    delayed: int = 0

    @property
    def unfinished(self) -> int:
        return self.in_stream + self.parked + self.delayed


async def count_of_user(server: Server, keys: Keys, user_id: str) -> dict[str, UserCounts]:
    """How much of a user's is unfinished, by label; labels with nothing are left out."""
    lanes = await server.persistently(lambda: known_lanes(server, keys))
    name = escape(user_id)
    commands = [
        Command(args, lambda reply: int(reply or 0))
        for lane in lanes
        for args in (
            ("SCARD", lane.entries_of(user_id)),
            ("LLEN", lane.parked_of(user_id)),
            ("HGET", lane.users, name),
        )
    ]
    replies = [answered(reply) for reply in await server.persistently(lambda: server.run(commands))] if lanes else []
    found: dict[str, UserCounts] = {}
    for number, lane in enumerate(lanes):
        one = UserCounts(*replies[3 * number : 3 * number + 3])
        before = found.get(lane.label, UserCounts())
        found[lane.label] = UserCounts(
            before.in_stream + one.in_stream, before.parked + one.parked, before.delayed + one.delayed
        )
    return {label: counts for label, counts in found.items() if counts.unfinished}


def _raw(reply: Any) -> Any:
    return reply


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def _by_time(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return _number(ms), _number(number)


def _fields(raw: Any) -> dict[str, str]:
    flat = [part for pair in raw.items() for part in pair] if isinstance(raw, dict) else raw
    texts = [part.decode("utf-8", "backslashreplace") if isinstance(part, bytes) else str(part) for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _member(raw: bytes | str) -> dict[str, str]:
    """What a parked or delayed message says: JSON, its task key and then its fields."""
    try:
        parts = json.loads(raw)
        texts = [str(part) for part in parts[1:]]
    except (ValueError, TypeError, RecursionError):
        return {}
    return dict(zip(texts[::2], texts[1::2], strict=False))
