"""The cache of a cube's memories in the process: what the policy needs of all of them, in the order they were said.

Nothing of it is state: it is read from the store, followed by the cube's change feed, and made anew when it is lost.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import Content, content_of, content_value
from memsched.memory.ingest.vital import vital_kind
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.bm25 import TermCounts
from memsched.memory.search.constants import REACH
from memsched.memory.search.term_statistics import SPEAKER
from memsched.memory.search.window import Surroundings, name_stems
from memsched.memory.store.changes import ChangeFeed
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace
from memsched.policy.running_theme import with_running_theme
from memsched.policy.strategy import CubeMemory
from memsched.policy.talk import Answered, TalkEvent
from memsched.policy.theme_cache import ThemeCache
from memsched.policy.themes import CubeThemes, Told
from memsched.policy.value import MODES, PAST, Columns, Used, Valuation, credited_by

VITAL_IMPORTANCE = 0.8
_ALL = Conditions(include_archived=True)
_SESSION_GAP_MS = 3_600_000
"""Memories without a session that are an hour apart are of two."""
_MEMORIES_KEPT = 100_000
"""Of all cubes together; about 1 KB each."""

_SLICE = 256
_CREDITS_KEPT = 256
RESTORABLE = frozenset({"cold", "capacity"})
"""Why what comes back by itself is archived. What somebody archived, or merged into another, does not."""

_NO_COLUMNS = Columns(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

_Order = tuple[int, str, int, int, str]
_Row = tuple[_Order, CubeMemory, Content]
_UsedKey = tuple[str, int, tuple[str, ...], int]


class CubeCache:
    """The memories of one cube, oldest first.

    What follows from the order (rarity of words, place in the session) is kept with it: what comes at the end costs
    only itself, what comes late costs whatever is after it.

    Attributes:
        generation: changes whenever anything but the end did.
        sizes: how many memories are not archived, by memory type.
    """

    def __init__(self) -> None:
        self.memories: list[CubeMemory] = []
        self.told: list[Told] = []
        self.theme_cache = ThemeCache(self.told)
        self.valuation = Valuation(with_running_theme(MODES, self.theme_cache))
        self.generation = 0
        self.sizes = Counter[str]()
        self._contents: list[Content] = []
        self._orders: list[_Order] = []
        self._times: list[int] = []
        self._values: list[float] = []
        self._sessions: list[int] = []
        self._places: list[int] = []
        self._marked: list[int] = []
        self._hidden: list[int] = []
        self._sums: list[int] = []
        self._vital: dict[str, list[int]] = {}
        self._ordinals: dict[str, int] = {}
        self._having: dict[str, list[int]] = {}
        self._in_session: dict[int, list[int]] = {}
        self._numbers: dict[str, int] = {}
        self._at_place: dict[tuple[str, int], list[int]] = {}
        self._by_hash: dict[str, list[int]] = {}
        self._repeated: set[str] = set()
        self._columns = _NO_COLUMNS
        self._used: dict[_UsedKey, Used] = {}
        self._credited: dict[tuple[tuple[tuple[str, float], ...], str], list[str]] = {}
        self._hits: dict[tuple[str, int, tuple[int, int]], list[tuple[str, float]]] = {}

    def __len__(self) -> int:
        return len(self.memories)

    def put(self, memories: Iterable[Memory]) -> None:
        """Add memories, or replace those that are here."""
        self.put_rows([self.row_of(memory) for memory in memories])

    def row_of(self, memory: Memory) -> _Row:
        """What is kept of a memory. To read its text is most of what it costs; a text that is here was read before."""
        known = self._ordinals.get(memory.memory_id)
        if known is None or (before := self.memories[known]).indexed_text != memory.indexed_text:
            return _order_of(memory), _entry_of(memory, _vital_of(memory)), content_of(memory.speaker, memory.text)
        vital = before.vital if before.importance == memory.importance else _vital_of(memory)
        return _order_of(memory), _entry_of(memory, vital), self._contents[known]

    def put_rows(self, rows: Iterable[_Row]) -> None:
        """As ``put``."""
        new: list[_Row] = []
        for order, entry, content in rows:
            known = self._ordinals.get(entry.memory_id)
            if known is not None and self._orders[known] == order:
                self._replace(known, entry)
            else:
                new.append((order, entry, content))
                if known is not None:
                    self._rebuild_from(known, without={entry.memory_id})
        if not new:
            return
        first = bisect_left(self._orders, min(new, key=_by_order)[0])
        for row in sorted([*self._cut(first), *new], key=_by_order):
            self._append(*row)

    def remove(self, memory_ids: Iterable[str]) -> None:
        """Forget memories that are no more."""
        gone = {memory_id for memory_id in memory_ids if memory_id in self._ordinals}
        if gone:
            self._rebuild_from(min(self._ordinals[memory_id] for memory_id in gone), without=gone)

    def ordinal(self, memory_id: str) -> int | None:
        return self._ordinals.get(memory_id)

    def known_at(self, at: int) -> int:
        """How many memories are not newer."""
        return bisect_right(self._times, at)

    def seen_at(self, at: int) -> tuple[int, int]:
        """What a search at that time depends on: a checksum of the memories that are not newer, and how many of these
        were corrected, or put away by hand. What the rules archive is found all the same.
        """
        known = self.known_at(at)
        return self._sums[known - 1] % 2**32 if known else 0, bisect_left(self._hidden, known)

    def counts_at(self, known: int, stems: Iterable[str]) -> TermCounts:
        """In how many of the first ``known`` memories each stem occurs, and which are of a speaker's name."""

        def having(word: str) -> int:
            return bisect_left(self._having.get(word, ()), known)

        asked = list(stems)
        names = frozenset(stem for stem in asked if having(SPEAKER + stem))
        return TermCounts(known, {stem: having(stem) for stem in asked}, names)

    def windows_at(self, known: int) -> dict[str, dict[str, float]]:
        """The windows of those of the first ``known`` memories into which others have come since, as they were: by id,
        the stems with their weights.
        """
        near: set[int] = set()
        for each in self.memories[known:]:
            if each.session_id and self._in_session[self._numbers[each.session_id]][0] < known:
                for turn in range(each.turn - 2 * REACH, each.turn + 2 * REACH + 1):
                    near.update(self._at_place.get((each.session_id, turn), ()))
        if not near:
            return {}
        around = [self.memories[ordinal] for ordinal in sorted(near)]
        before = [self.memories[ordinal] for ordinal in sorted(near) if ordinal < known]
        now, then = Surroundings(around), Surroundings(before)
        changed = {other.memory_id for each in around[len(before) :] for other in now.having(each)}
        return {
            each.memory_id: {stem: found.weight for stem, found in then.words(each).items()}
            for each in before
            if each.memory_id in changed
        }

    async def hits(
        self, event: TalkEvent, search: Callable[[], Awaitable[list[tuple[str, float]]]]
    ) -> list[tuple[str, float]]:
        """What was found for an event among the memories of its time; searched for if this process did not yet."""
        key = event.text, event.at, self.seen_at(event.at)
        if (found := self._hits.get(key)) is None:
            found = await search()
            if len(self._hits) == _CREDITS_KEPT:
                self._hits.clear()
            self._hits[key] = found
        return found

    def credited(self, hits: Sequence[tuple[str, float]], answer: str) -> list[str]:
        """Which of the memories that a question's search found its answer used; "" where nobody knows the answer."""
        key = tuple(hits), answer
        if (found := self._credited.get(key)) is None:
            words = set(stems(answer))
            shares = {
                memory_id: len(words.intersection(self.stems_of(memory_id))) / len(words)
                for memory_id, _ in hits
                if words
            }
            found = credited_by(hits, shares)
            if len(self._credited) == _CREDITS_KEPT:
                self._credited.clear()
            if all(memory_id in self._ordinals for memory_id, _ in hits):  # else one is still to come
                self._credited[key] = found
        return found

    def stems_of(self, memory_id: str) -> tuple[str, ...]:
        """The distinct stems of a memory; none if it is not here."""
        ordinal = self.ordinal(memory_id)
        return () if ordinal is None else self._contents[ordinal].stems

    def columns(self) -> Columns:
        if (have := len(self._columns)) < len(self.memories):
            new = self._values[have:], self._sessions[have:], self._places[have:]
            old = self._columns.value, self._columns.session, self._columns.place
            value, session, place = (np.concatenate([a, np.array(b)]) for a, b in zip(old, new, strict=True))
            self._columns = Columns(value, session, place)
        return self._columns

    def available(self) -> NDArray[np.bool_]:
        """Which memories may be in the working set; of those that say the same only the newest."""
        may = np.ones(len(self.memories), dtype=np.bool_)
        may[self._marked] = False
        for content_hash in self._repeated:
            said = [ordinal for ordinal in self._by_hash[content_hash] if may[ordinal]]
            may[said[:-1]] = False
        return may

    def used(self, log: Sequence[Answered]) -> list[Used]:
        """The log by ordinals; without events of which no memory is left."""
        found: dict[_UsedKey, Used] = {}
        for event in log:
            known = self.known_at(event.at)
            key = event.event_id, event.at, tuple(event.credited), known
            if (used := self._used.get(key)) is None:  # else the same object: so it is compared at once
                ordinals = [self._ordinals.get(each, known) for each in event.credited]
                used = Used(event.event_id, tuple(each for each in ordinals if each < known), known, event.at)
            found[key] = used
        self._used = found
        return [used for used in found.values() if used.credited]

    def themes(self, log: Sequence[Answered], known: int | None = None, now: int = 0) -> CubeThemes:
        """The themes of the first ``known`` memories (None: all), after these answers."""
        known = len(self) if known is None else known
        uses: list[tuple[int, str]] = []
        for event in reversed(log):
            best = next((each for each in event.credited if self._ordinals.get(each, known) < known), None)
            if best is not None:
                uses.append((event.at, best))
            if len(uses) == PAST:
                break
        return self.theme_cache.at(uses[::-1], known, now)

    def memory(self, memory_id: str) -> CubeMemory | None:
        ordinal = self._ordinals.get(memory_id)
        return None if ordinal is None else self.memories[ordinal]

    def pinned(self, pins: Sequence[str]) -> list[str]:
        """What counts now of these memories, each once, without what is gone.

        Of a corrected one its correction, of several that say the same the newest.
        """
        found: dict[str, None] = {}
        for each in pins:
            memory, seen = self.memory(each), set[str]()
            while memory is not None and memory.superseded_by and memory.memory_id not in seen:
                seen.add(memory.memory_id)
                memory = self.memory(memory.superseded_by)
            if memory is not None:
                same = map(self.memories.__getitem__, reversed(self._by_hash[memory.content_hash or memory.memory_id]))
                found[next((other for other in same if other.available), memory).memory_id] = None
        return list(found)

    def archived(self) -> list[CubeMemory]:
        """What is archived, oldest first."""
        return [each for each in map(self.memories.__getitem__, self._marked) if each.archived]

    def near_count(self) -> int:
        """How many memories are neither archived nor superseded."""
        return len(self.memories) - len(self._marked)

    def vital(self) -> Mapping[str, Sequence[int]]:
        """The ordinals of what must not be forgotten, by kind."""
        return self._vital

    # -- the order ----------------------------------------------------------------------------------------------

    def _append(self, order: _Order, entry: CubeMemory, content: Content) -> None:
        ordinal = len(self.memories)
        number = self._session_of(entry, order)
        members = self._in_session.setdefault(number, [])
        after_question = bool(members) and self._contents[members[-1]].asks
        having = [self._having.setdefault(stem, []) for stem in content.stems]
        said_by = [self._having.setdefault(SPEAKER + stem, []) for stem in name_stems(entry.speaker)]
        place = len(members)
        value = content_value(content, [len(each) for each in having], ordinal, place, after_question=after_question)
        for each in (*having, *said_by):
            each.append(ordinal)
        members.append(ordinal)
        self._at_place.setdefault((entry.session_id, entry.turn), []).append(ordinal)
        self.memories.append(entry)
        self.told.append(Told(entry.memory_id, entry.text, order[0]))
        self._contents.append(content)
        self._orders.append(order)
        self._times.append(order[0])
        self._values.append(value)
        self._sessions.append(number)
        self._places.append(place)
        self._ordinals[entry.memory_id] = ordinal
        content_hash = entry.content_hash or entry.memory_id
        same = self._by_hash.setdefault(content_hash, [])
        same.append(ordinal)
        if len(same) > 1:
            self._repeated.add(content_hash)
        if entry.vital:
            self._vital.setdefault(entry.vital, []).append(ordinal)
        if not entry.available:
            self._marked.append(ordinal)
        if _is_hidden(entry):
            self._hidden.append(ordinal)
        self._sums.append(crc32(entry.memory_id.encode()) + (self._sums[-1] if self._sums else 0))
        self.sizes[entry.memory_type] += not entry.archived

    def _session_of(self, entry: CubeMemory, order: _Order) -> int:
        """The number of its session; a new one if it is the first of it."""
        if entry.session_id:
            return self._numbers.setdefault(entry.session_id, len(self._in_session))
        last = self._in_session.get(self._numbers.get("", -1))
        if not last or order[0] - self._orders[last[-1]][0] > _SESSION_GAP_MS:
            self._numbers[""] = len(self._in_session)
        return self._numbers[""]

    def _cut(self, first: int) -> list[_Row]:
        """Take off what is at and after an ordinal; return it."""
        if first == len(self.memories):
            return []
        cut = list(zip(self._orders[first:], self.memories[first:], self._contents[first:], strict=True))
        for ordinal in range(len(self.memories) - 1, first - 1, -1):
            entry, number = self.memories[ordinal], self._sessions[ordinal]
            said_by = (SPEAKER + stem for stem in name_stems(entry.speaker))
            for word in (*self._contents[ordinal].stems, *said_by):
                having = self._having[word]
                having.pop()
                if not having:
                    del self._having[word]
            self._in_session[number].pop()
            if not self._in_session[number]:
                del self._in_session[number]
                self._numbers.pop(entry.session_id, None)
            at_place = self._at_place[entry.session_id, entry.turn]
            at_place.pop()
            if not at_place:
                del self._at_place[entry.session_id, entry.turn]
            del self._ordinals[entry.memory_id]
            self.sizes[entry.memory_type] -= not entry.archived
            same = self._by_hash[entry.content_hash or entry.memory_id]
            same.pop()
            if len(same) < 2:
                self._repeated.discard(entry.content_hash or entry.memory_id)
            if not same:
                del self._by_hash[entry.content_hash or entry.memory_id]
        for ordinals in (self._marked, self._hidden, *self._vital.values()):
            del ordinals[bisect_left(ordinals, first) :]
        of_each: tuple[list[Any], ...] = (
            self.memories,
            self.told,
            self._contents,
            self._orders,
            self._times,
            self._values,
            self._sessions,
            self._places,
            self._sums,
        )
        for kept in of_each:
            del kept[first:]
        if numbers := [self._sessions[at] for at, each in enumerate(self.memories) if not each.session_id]:
            self._numbers[""] = numbers[-1]
        self.generation += 1
        self.theme_cache.forget()
        self._used.clear()
        self._credited.clear()
        have = self._columns
        self._columns = Columns(have.value[:first], have.session[:first], have.place[:first])
        return cut

    def _rebuild_from(self, first: int, without: set[str]) -> None:
        for each, entry, content in self._cut(first):
            if entry.memory_id not in without:
                self._append(each, entry, content)

    def _replace(self, ordinal: int, entry: CubeMemory) -> None:
        """The same memory, with other marks."""
        before = self.memories[ordinal]
        self.sizes[before.memory_type] -= not before.archived
        self.sizes[entry.memory_type] += not entry.archived
        for is_marked, was_marked, ordinals in (
            (not entry.available, not before.available, self._marked),
            (_is_hidden(entry), _is_hidden(before), self._hidden),
        ):
            if is_marked and not was_marked:
                insort(ordinals, ordinal)
            elif was_marked and not is_marked:
                ordinals.remove(ordinal)
        if entry.vital != before.vital:
            if before.vital:
                self._vital[before.vital].remove(ordinal)
            if entry.vital:
                insort(self._vital.setdefault(entry.vital, []), ordinal)
        self.memories[ordinal] = entry


class CubeCaches:
    """The caches of all cubes that this process had to do with lately."""

    def __init__(self, store: MemoryStore, feed: ChangeFeed) -> None:
        self._store = store
        self._feed = feed
        self._cubes: OrderedDict[CubeRef, tuple[str, CubeCache]] = OrderedDict()
        self._locks: dict[CubeRef, asyncio.Lock] = {}

    async def current(self, ref: CubeRef) -> CubeCache:
        """The cube's memories as they are now."""
        lock = self._locks.setdefault(ref, asyncio.Lock())
        async with lock:
            position, cube = self._cubes.get(ref, (None, CubeCache()))
            changes = await self._feed.since(ref, position)
            if position is None or changes.memory_ids is None:
                cube = await self._read(ref, cube)
            elif changes.memory_ids:
                found = await self._store.get(ref, sorted(changes.memory_ids))
                cube.remove(changes.memory_ids - found.keys())
                cube.put(found.values())
            self._cubes[ref] = changes.position, cube
            self._cubes.move_to_end(ref)
        self._evict()
        return cube

    async def _read(self, ref: CubeRef, cube: CubeCache) -> CubeCache:
        """All of a cube, in slices, so that others are served meanwhile; what is known of it already is not read anew.

        Args:
            cube: as it was when this process looked last. Whoever holds it sees either that or all that is new.
        """
        pace, rows = Pace(), list[_Row]()
        async for memory, _ in self._store.scan(ref, _ALL):
            rows.append(cube.row_of(memory))
            await pace.rest()
        there = {entry.memory_id for _, entry, _ in rows}
        gone = [each.memory_id for each in cube.memories if each.memory_id not in there]
        if len(cube) > len(gone):
            cube.remove(gone)
            cube.put_rows(rows)
            return cube
        rows.sort(key=_by_order)
        made = CubeCache()
        for at in range(0, len(rows), _SLICE):
            made.put_rows(rows[at : at + _SLICE])
            await pace.rest()
        return made

    def _evict(self) -> None:
        """Forget the cubes that nobody asked for longest, while there are too many memories in all."""
        total = sum(len(cube) for _, cube in self._cubes.values())
        while total > _MEMORIES_KEPT and len(self._cubes) > 1:
            ref, (_, cube) = self._cubes.popitem(last=False)
            self._locks.pop(ref, None)
            total -= len(cube)


def _vital_of(memory: Memory) -> str:
    kind = vital_kind(memory.text, memory.speaker or memory.said_by)
    return kind or ("other" if memory.importance >= VITAL_IMPORTANCE else "")


def _entry_of(memory: Memory, vital: str) -> CubeMemory:
    return CubeMemory(
        memory_id=memory.memory_id,
        text=memory.text,
        speaker=memory.speaker,
        memory_type=memory.memory_type,
        kind=memory.kind,
        at=memory.at,
        session_id=memory.session_id,
        turn=memory.turn,
        part=memory.part,
        importance=memory.importance,
        vital=vital,
        available=memory.status == "activated" and memory.superseded_by is None,
        content_hash=memory.content_hash,
        archived=archived_because(memory),
        restored_at=memory.restored_at,
        ingested_at=memory.ingested_at,
        superseded_by=memory.superseded_by or "",
        may_be_revised_by=tuple(memory.may_be_revised_by),
        tags=tuple(memory.tags),
        added_by=memory.added_by,
        caption=memory.caption,
        event_date=memory.event_date,
        answers=memory.answers,
        utc_offset=memory.utc_offset,
        metadata=memory.metadata,
    )


def _is_hidden(entry: CubeMemory) -> bool:
    """Whether no question is credited with it, or with less than its words say."""
    return bool(entry.superseded_by) or entry.archived not in ("", *RESTORABLE)


def archived_because(memory: Memory) -> str:
    """Why a memory is archived; "" if it is not. Who gave no reason asked for it."""
    if memory.status == "activated":
        return ""
    return memory.archived_because or ("asked" if memory.superseded_by is None else "merged")


def _by_order(row: _Row) -> _Order:
    return row[0]


def _order_of(memory: Memory) -> _Order:
    return to_ms(memory.at), memory.session_id, memory.turn, memory.part, memory.memory_id
