"""The audit: who read and changed what, when, and how it ended. No texts, no tokens.

It is a capped stream, ``memsched:audit``. To note an entry costs nothing: it waits for others, and what waits is
written once a second, or when a hundred are there, in one round trip. While the server is away, thousands are held.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from memsched.broker.client import Server, answered, reconnect_backoff
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text, as_texts
from memsched.errors import UnreachableError
from memsched.logs import get_logger
from memsched.memory.access.trail import MOST_IDS
from memsched.pace import Pace
from memsched.redaction import redacted_id

log = get_logger(__name__)

_LONGEST = 300
_MEMORY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_EVERY_SECONDS = 1.0
_AT_ENTRIES = 100
_HELD = 10_000
_PER_WRITE = 1000
_PAGE = 1000
_CLOSE_SECONDS = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did, or was refused.

    Args:
        action: what: the method and the route of a request.
        key_id: the API key; "" where nobody needs one.
        user_id: for whom.
        cube: as that user calls it.
        ids: of what it was about; the first MOST_IDS are kept.
        outcome: ``ok``, or why not.
    """

    action: str
    key_id: str = ""
    user_id: str = ""
    cube: str = ""
    ids: tuple[str, ...] = ()
    outcome: str = "ok"
    at: datetime = field(default_factory=_now)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {name: getattr(self, name) for name in ("key_id", "user_id", "action", "cube", "outcome")}
        return {"at": self.at.isoformat(timespec="milliseconds"), **told, "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant: all that is given must hold.

    Args:
        key_id: also what was done with the keys that it minted.
        action: what has this in it.
        since: seconds since the epoch.
    """

    user_id: str | None = None
    key_id: str | None = None
    action: str | None = None
    since: float = 0.0

    def fits(self, entry: AuditEntry) -> bool:
        return (
            (self.user_id is None or entry.user_id == self.user_id)
            and (self.key_id is None or f"{entry.key_id}.".startswith(f"{self.key_id}."))
            and (self.action is None or self.action in entry.action)
        )


class Audit:
    """Notes what was done, and reads it.

    Args:
        maxlen: how many of the newest entries are kept, about (MEMSCHED_AUDIT_MAXLEN).
    """

    def __init__(self, server: Server, keys: Keys, maxlen: int) -> None:
        self._server = server
        self._key = keys.audit
        self._maxlen = maxlen
        self._waiting: deque[AuditEntry] = deque()
        self._lost = 0
        self._full = asyncio.Event()
        """Set when what waits is to be written at once."""
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def record(self, entry: AuditEntry) -> None:
        """Note an entry. Neither waits nor raises."""
        self._waiting.append(entry)
        if len(self._waiting) > _HELD:
            self._waiting.popleft()
            self._lost += 1
        if len(self._waiting) >= _AT_ENTRIES:
            self._full.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_until_empty(), name="memsched-audit")

    async def aclose(self) -> None:
        """Write what waits, for some seconds at most."""
        self._closed = True
        self._full.set()
        if (writing := self._writing) is not None:
            await asyncio.wait([writing], timeout=_CLOSE_SECONDS)
            writing.cancel()
        self._lost += len(self._waiting)
        self._tell_lost("they could not be written before the end")

    async def read(self, which: AuditFilter, limit: int) -> list[AuditEntry]:
        """The newest entries that are meant, oldest first. Raises ServerUnreachable."""
        found: list[AuditEntry] = []
        until = "+"
        while len(found) < limit:
            page = await self._page("XREVRANGE", until, f"{int(which.since * 1000)}-0")
            found += [entry for _, entry in page if which.fits(entry)]
            if len(page) < _PAGE:
                break
            until = f"({page[-1][0]}"
        return found[:limit][::-1]

    async def follow(self, which: AuditFilter, *, pause: float = _EVERY_SECONDS) -> AsyncIterator[AuditEntry]:
        """The entries that come from now on, without end. Raises ServerUnreachable.

        Args:
            pause: seconds between two looks.
        """
        latest = await self._page("XREVRANGE", "+", "-", 1)
        after = latest[0][0] if latest else "0-0"
        while True:
            page = await self._page("XRANGE", f"({after}", "+")
            for entry_id, entry in page:
                after = entry_id
                if which.fits(entry):
                    yield entry
            if len(page) < _PAGE:
                await asyncio.sleep(pause)

    # -- parts -----------------------------------------------------------------------------------------------------

    async def _page(self, command: str, start: str, end: str, count: int = _PAGE) -> list[tuple[str, AuditEntry]]:
        call = Command((command, self._key, start, end, "COUNT", count), lambda reply: reply or [])
        reply = answered((await self._server.persistently(lambda: self._server.run([call])))[0])
        return [(as_text(entry_id), _read(as_texts(fields))) for entry_id, fields in reply]

    async def _write_until_empty(self) -> None:
        tries = 0
        try:
            while self._waiting:
                if not self._closed:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_EVERY_SECONDS):
                            await self._full.wait()
                try:
                    await self._write([*self._waiting][:_PER_WRITE])
                    tries = 0
                    if len(self._waiting) < _AT_ENTRIES:
                        self._full.clear()
                except UnreachableError as error:
                    if not tries:
                        log.warning("the audit is held until the server answers", action="audit.held", error=str(error))
                    await asyncio.sleep(reconnect_backoff(tries))
                    tries += 1
                self._tell_lost("too many came while the server was away")
        finally:
            self._writing = None

    async def _write(self, entries: Sequence[AuditEntry]) -> None:
        """What is written no longer waits. Sent again after no answer, an entry may be there twice."""
        head = ("XADD", self._key, "MAXLEN", "~", self._maxlen, "*")
        pace, calls = Pace(), []
        for entry in entries:
            calls.append(Command((*head, *_fields(entry)), as_text))
            await pace.rest()
        replies = await self._server.run(calls)
        for entry in entries:
            if self._waiting and self._waiting[0] is entry:
                self._waiting.popleft()
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        if refused:
            self._lost += len(refused)
            self._tell_lost(f"the server refused them: {refused[0]}")

    def _tell_lost(self, why: str) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            log.error("entries of the audit are lost", action="audit.lost", entries=lost, reason=why)


def _fields(entry: AuditEntry) -> list[str]:
    """Flat, so that redis-cli shows them. What strangers gave as an id may be no id."""
    ids = [_plain(each) for each in entry.ids[:MOST_IDS]]
    told = {
        "at": str(int(entry.at.timestamp() * 1000)),
        "key": _plain(entry.key_id),
        "user": _plain(entry.user_id),
        "action": _plain(entry.action),
        "cube": _plain(entry.cube),
        "ids": json.dumps(ids, ensure_ascii=False) if ids else "",
        "outcome": _plain(entry.outcome),
    }
    return [part for name, value in told.items() if value for part in (name, value)]


@lru_cache(maxsize=10_000)
def _plain(text: str) -> str:
    """Unicode text of a bounded length, without anything that is a secret by its shape."""
    if _MEMORY_ID(text):
        return text
    return redacted_id(text[:_LONGEST].encode("utf-8", "replace").decode(), "mask")


def _read(flat: Sequence[str]) -> AuditEntry:
    told = dict(zip(flat[::2], flat[1::2], strict=False))
    return AuditEntry(
        told.get("action", ""),
        told.get("key", ""),
        told.get("user", ""),
        told.get("cube", ""),
        tuple(json.loads(told.get("ids") or "[]")),
        told.get("outcome", ""),
        datetime.fromtimestamp(int(told.get("at", "0")) / 1000, UTC),
    )
