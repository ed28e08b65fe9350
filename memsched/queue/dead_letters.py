"""The dead-letter queue: messages that were given up, with the reason, kept until an operator decides."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memsched.blocking import Blocking, blocking, iterating
from memsched.broker.client import Server
from memsched.broker.keys import Keys, Lane
from memsched.broker.scripting import Argument, Command, as_ms, script
from memsched.errors import InvalidArgument
from memsched.logs import get_logger
from memsched.messages import id_of_entry
from memsched.queue.delivery import ids_in
from memsched.queue.lanes import known_lanes

log = get_logger(__name__)

REASONS = ("errors", "timeouts", "crashes", "malformed", "rejected", "expired")
_REDRIVE = script("redrive")
_PAGE = 100
_WITH_DIGITS = re.compile(r"[\w.:-]*\d[\w.:-]*")
_KIND_CHARACTERS = 300
_LONGEST_PAUSE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was given up. Times are ms since the epoch; attempts counts the failures by kind."""

    lane: Lane
    dead_id: str
    reason: str
    error: str
    attempts: dict[str, int]
    first_ms: int
    last_ms: int
    worker: str
    fields: dict[str, str]
    """What the message's entry said. Bytes that are not UTF-8 are shown as ``\\xNN``."""

    @property
    def item_id(self) -> str:
        return self.fields.get("item_id") or id_of_entry(self.lane.name, self.dead_id)

    @property
    def kind_of_error(self) -> str:
        """What errors have in common that differ in their numbers and ids only."""
        return kind_of_error(self.error)

    @property
    def user_id(self) -> str:
        return self.fields.get("user_id", "")

    @property
    def mem_cube_id(self) -> str:
        return self.fields.get("mem_cube_id", "")

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.dead_id,
            "label": self.lane.label,
            "lane": self.lane.name,
            "item_id": self.item_id,
            "reason": self.reason,
            "error": self.error,
            "attempts": self.attempts,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "worker": self.worker,
            "fields": self.fields,
        }


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead letters are meant; an empty filter means all."""

    label: str = ""
    reason: str = ""
    user_id: str = ""
    ids: frozenset[str] = frozenset()
    """Item ids (of any user, unless ``user_id`` says of whom), or ids within the dead letters."""
    before_ms: int = 0
    """Only those given up before this time; 0: any."""
    error: str = ""
    """Only those with this ``kind_of_error``."""

    def admits(self, letter: DeadLetter) -> bool:
        return (
            (not self.reason or letter.reason == self.reason)
            and (not self.user_id or letter.user_id == self.user_id)
            and (not self.ids or letter.item_id in self.ids or letter.dead_id in self.ids)
            and (not self.error or letter.kind_of_error == self.error)
            and (not self.before_ms or letter.last_ms < self.before_ms)
        )


ALL = DeadFilter()


class DeadLetters:
    """Reads, redrives and purges the dead letters of one prefix, a page at a time."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def letters(
        self, which: DeadFilter = ALL, *, newest_first: bool = False, most_per_lane: int | None = None
    ) -> AsyncGenerator[DeadLetter, None]:
        """Those that the filter admits, lane by lane; of each lane at most so many."""
        for lane in await self._server.persistently(lambda: known_lanes(self._server, self._keys)):
            if which.label and lane.label != which.label:
                continue
            count = 0
            async for letter in self._in_lane(lane, newest_first):
                if count == most_per_lane:
                    break
                if which.admits(letter):
                    count += 1
                    yield letter

    async def _in_lane(self, lane: Lane, newest_first: bool) -> AsyncIterator[DeadLetter]:
        # Up to what is the newest now: a letter that is redriven and dies again meanwhile is not met a second time.
        newest = await self._ask("XREVRANGE", lane.dead, "+", "-", "COUNT", 1)
        if not newest:
            return
        end = _id_and_fields(newest[0])[0]
        edge = end if newest_first else "-"
        while True:
            if newest_first:
                page = await self._ask("XREVRANGE", lane.dead, edge, "-", "COUNT", _PAGE)
            else:
                page = await self._ask("XRANGE", lane.dead, edge, end, "COUNT", _PAGE)
            for row in page or ():
                yield _letter(lane, *_id_and_fields(row))
            if len(page or ()) < _PAGE:
                return
            edge = "(" + _id_and_fields(page[-1])[0]

    async def redrive(
        self,
        which: DeadFilter,
        *,
        limit: int | None = None,
        per_second: float | None = None,
        on_sent: Callable[[DeadLetter], None] = lambda letter: None,
    ) -> int:
        """Send them to their streams again with all budgets renewed; returns how many were sent.

        One whose item was submitted again meanwhile, and is on its way or done, is dropped instead: it would run twice.

        Args:
            per_second: at most so many in a second, so that what killed them once meets them slowly. Above 0.
        """
        if per_second is not None and not per_second > 0:
            raise InvalidArgument("per_second", per_second, "must be above 0")
        pause = False
        sent = 0
        async for letter in self._limited(which, limit):
            if per_second and pause:
                await asyncio.sleep(min(1 / per_second, _LONGEST_PAUSE_SECONDS))
            command = self._redrive(letter.lane, [letter])
            done, dropped = await self._server.persistently(lambda command=command: self._server.call(command))  # type: ignore[misc]
            sent += done
            if done:
                on_sent(letter)
            if dropped:
                log.info(
                    "a dead letter was submitted again meanwhile, and is dropped",
                    action="dead_letters.dropped",
                    item_id=letter.item_id,
                    label=letter.lane.label,
                )
            pause = bool(done)
        return sent

    async def purge(self, which: DeadFilter, *, limit: int | None = None) -> int:
        """Delete them for good; returns how many were deleted."""
        purged = 0
        async for letter in self._limited(which, limit):
            purged += int(await self._ask("XDEL", letter.lane.dead, letter.dead_id))
        return purged

    async def _ask(self, *args: Any) -> Any:
        return await self._server.persistently(lambda: self._server.execute(*args))

    async def _limited(self, which: DeadFilter, limit: int | None) -> AsyncIterator[DeadLetter]:
        count = 0
        async for letter in self.letters(which):
            if limit is not None and count >= limit:
                return
            count += 1
            yield letter

    def _redrive(self, lane: Lane, letters: Sequence[DeadLetter]) -> Command[tuple[int, int]]:
        keys = [*lane.kept]
        args: list[Argument] = [self._server.settings.max_per_user]
        for letter in letters:
            keys.append(lane.task(*ids_in(letter.fields, letter.item_id)))
            args += [letter.dead_id, letter.user_id if "submitted" in letter.fields else ""]
        return _REDRIVE.command(keys, args, lambda reply: (int(reply[0]), int(reply[1])))


class SyncDeadLetters(Blocking[DeadLetters]):
    """``DeadLetters`` without ``await``; ``letters`` is an iterator."""

    letters = iterating(DeadLetters.letters)
    redrive = blocking(DeadLetters.redrive)
    purge = blocking(DeadLetters.purge)


async def drop_old_letters(server: Server, lane: Lane, days: float) -> int:
    """Delete what was given up more than so many days ago, by the server's clock; returns how many that were."""
    seconds, _ = await server.execute("TIME")
    before = f"({max(1, int((int(seconds) - days * 86_400) * 1000))}"
    dropped = 0
    while page := await server.execute("XRANGE", lane.dead, "-", before, "COUNT", _PAGE):
        dropped += int(await server.execute("XDEL", lane.dead, *(_id_and_fields(row)[0] for row in page)))
    return dropped


def kind_of_error(error: str) -> str:
    """The first line of an error, without what has digits in it: numbers, times, ids."""
    lines = error.strip().splitlines()
    return _WITH_DIGITS.sub("…", lines[0][:_KIND_CHARACTERS]).strip() if lines else ""


def _id_and_fields(row: Any) -> tuple[str, list[bytes]]:
    entry_id, fields = row
    if isinstance(fields, dict):
        fields = [part for pair in fields.items() for part in pair]
    return entry_id.decode() if isinstance(entry_id, bytes) else entry_id, fields


def _letter(lane: Lane, dead_id: str, raw: Sequence[bytes]) -> DeadLetter:
    texts = [part.decode("utf-8", "backslashreplace") for part in raw]
    fields = dict(zip(texts[::2], texts[1::2], strict=False))
    told = {name: fields.pop(f"dead_{name}", "") for name in ("reason", "error", "attempts", "first", "last", "worker")}
    try:
        attempts = {str(kind): int(count) for kind, count in json.loads(told["attempts"] or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        attempts = {}
    return DeadLetter(
        lane,
        dead_id,
        told["reason"],
        told["error"],
        attempts,
        as_ms(told["first"]),
        as_ms(told["last"]),
        told["worker"],
        fields,
    )
