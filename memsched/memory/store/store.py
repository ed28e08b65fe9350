"""The vector store: long-term and user memories in Qdrant, through its async client and nothing else.

One collection holds the memories of all cubes. Every call names a cube, and every filter holds the cube's condition
(filters.py), so that no caller can forget it. What a call returns is checked against the cube once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient, models

from memsched.counting import counted
from memsched.deadline import Deadline
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import NEEDED, Memory, is_memory_id, readable, to_ms
from memsched.memory.store.changes import EVERYTHING
from memsched.memory.store.client import (
    close_client,
    datatype_for,
    open_client,
    query_batch,
    update_vectors,
    with_retries,
)
from memsched.memory.store.collection import Collection, InUse, Layout
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.errors import StoreUnavailable
from memsched.memory.store.filters import TENANT, among, at_least, equals, matching, told_before, told_since, within
from memsched.memory.store.points import DENSE, LEXICAL, Hit, Point, Ranking, Sparse
from memsched.pace import Pace
from memsched.settings import Settings

T = TypeVar("T")
Changed = Callable[[CubeRef, Sequence[str]], Awaitable[None]]
Outdated = Callable[[CubeRef, Sequence[str] | None], Awaitable[None]]

_POINTS_PER_CALL = 64
_PAGE = 256
_MARKS = frozenset({"status", "answers", "superseded_by", "may_be_revised_by"})
"""Payload fields that say whether a memory may be near at all, and what is told beside it."""
RESOLVE_AFTER_SECONDS = 5.0
"""How long a process caches which collection is behind the alias."""


class MemoryStore:
    """The store of one process. ``open`` it before use, ``aclose`` it after.

    Raises StoreUnavailable when there is no answer after the retries (try again later), StoreRefused when there is
    one, and it is no; EmbedderMismatch when the collection was made with another embedding model.

    Args:
        changed: told which memories of a cube were inserted, marked or deleted, after it happened.
        outdated: told which hold no more (superseded, put away because somebody asked, or deleted; None: all of the
            cube), before it happens and after.
    """

    def __init__(
        self,
        settings: Settings,
        embedder_name: str,
        dimensions: int,
        changed: Changed | None = None,
        outdated: Outdated | None = None,
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._outdated = outdated
        self._embedder = embedder_name
        self._dimensions = dimensions
        self._client: AsyncQdrantClient | None = None
        self._release: Callable[[], None] | None = None
        self._collection: Collection | _Named | None = None
        self._in_use = InUse("", 0)
        self._name_cached = Deadline(0.0)
        self._opening = asyncio.Lock()

    @classmethod
    def of_collection(cls, settings: Settings, client: AsyncQdrantClient, collection: InUse) -> MemoryStore:
        """The store of one collection, whatever is in use. It is not to be closed: the client is the caller's."""
        store = cls(settings, "", 0)
        store._client, store._collection = client, _Named(collection)
        return store

    async def open(self) -> None:
        """Connect, and make the collection or check that it fits; again after a pause where that may help."""
        await self._retrying(self._ready)

    async def aclose(self) -> None:
        if self._client is not None:
            await close_client(self._client, self._settings.store_url)
            self._client = self._collection = None
        if self._release is not None:
            await asyncio.to_thread(self._release)
            self._release = None

    # -- writing -------------------------------------------------------------------------------------------------

    async def insert(self, ref: CubeRef, points: Sequence[Point]) -> None:
        """Insert what is not there yet; no upsert: a memory that is there stays, whatever became of it since."""
        for point in points:
            if point.memory.ref != ref:
                raise ValueError("a memory of another cube")
        pace = Pace()
        for at in range(0, len(points), _POINTS_PER_CALL):
            batch = []
            for point in points[at : at + _POINTS_PER_CALL]:
                batch.append(_as_point(ref, point))
                await pace.rest()
            await self._call(
                lambda client, name, batch=batch: client.upsert(  # type: ignore[misc]
                    name, batch, wait=True, update_mode=models.UpdateMode.INSERT_ONLY
                )
            )
        await self._announce(ref, [point.memory.memory_id for point in points])

    async def patch(self, ref: CubeRef, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Set payload fields of memories, by id. Fields hold what ``Memory.to_payload`` returns."""
        ends = [memory_id for memory_id, fields in changes.items() if _ends(fields)]
        if ends:
            await self._tell_outdated(ref, ends)
        operations = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload=dict(fields), filter=within(ref, among([memory_id for memory_id, _ in alike]))
                )
            )
            for fields, alike in groupby(changes.items(), key=itemgetter(1))
        ]
        for at in range(0, len(operations), _POINTS_PER_CALL):
            part = operations[at : at + _POINTS_PER_CALL]
            await self._call(lambda client, name, part=part: client.batch_update_points(name, part, wait=True))  # type: ignore[misc]
        if ends:
            await self._tell_outdated(ref, ends)
        await self._announce(ref, [memory_id for memory_id, fields in changes.items() if _MARKS & fields.keys()])

    async def add_sources(
        self,
        ref: CubeRef,
        sources: Mapping[str, Mapping[str, str]],
        said_again: Mapping[str, Mapping[str, int]] | None = None,
        last_said: Mapping[str, int] | None = None,
        asked_again: Mapping[str, Mapping[str, int]] | None = None,
        trigrams: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """Add to where memories come from, and to when, where and beside what they were said again, by id. Whoever else
        adds at the same time loses nothing by it.
        """
        operations = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload={"last_said": ms}, filter=within(ref, among([memory_id]), told_before(ms))
                )
            )
            for memory_id, ms in (last_said or {}).items()
        ] + [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload=dict(added), key=name, filter=within(ref, among([memory_id])))
            )
            for name, additions in (
                ("sources", sources),
                ("said_again", said_again or {}),
                ("asked_again", asked_again or {}),
                ("trigrams", trigrams or {}),
            )
            for memory_id, added in additions.items()
            if added
        ]
        if operations:
            await self._call(lambda client, name: client.batch_update_points(name, operations, wait=True))
            await self._announce(ref, list(sources))

    async def delete(self, ref: CubeRef, memory_ids: Sequence[str] | None = None) -> None:
        """Delete memories for good because their owner said so: these, or all of the cube.

        Also from the collection that this one has just replaced, from which they might be copied once more.
        """
        await self._tell_outdated(ref, memory_ids)
        conditions = [] if memory_ids is None else [among(list(memory_ids))]
        selector = models.FilterSelector(filter=within(ref, *conditions))
        if replaced := (await self.in_use()).replaces:  # first: whoever copies looks there once more afterwards
            await self._delete_in(replaced, selector)
        await self._call(lambda client, name: client.delete(name, selector, wait=True))
        await self._tell_outdated(ref, memory_ids)
        await self._announce(ref, [EVERYTHING] if memory_ids is None else memory_ids)

    # -- reading -------------------------------------------------------------------------------------------------

    async def get(self, ref: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        """Those of these memories that are in the cube, by id."""
        found: dict[str, Memory] = {}
        ids = [each for each in dict.fromkeys(memory_ids) if is_memory_id(each)]  # of others the store knows nothing
        for at in range(0, len(ids), _PAGE):
            part = ids[at : at + _PAGE]
            records = await self._call(
                lambda client, name, part=part: client.retrieve(name, part, with_payload=True)  # type: ignore[misc]
            )
            found.update((memory.memory_id, memory) for memory in _memories(ref, records))
        return found

    async def query(self, ref: CubeRef, rankings: Sequence[Ranking]) -> list[list[Hit]]:
        """The best memories of each ranking, in one call; [] for one whose vector is empty."""
        asked = {
            number: _request(_vector(each.vector), each.using, matching(ref, each.conditions), each.limit)
            for number, each in enumerate(rankings)
            if not each.is_empty
        }
        found: list[list[Hit]] = [[] for _ in rankings]
        if asked:
            answers = await self._call(lambda client, name: query_batch(client, name, list(asked.values())))
            for number, answer in zip(asked, answers, strict=True):
                found[number] = _hits(ref, answer.points)
        return found

    async def in_use(self, *, for_sure: bool = False) -> InUse:
        """The collection that is in use now, and its schema: a reindex changes both.

        Args:
            for_sure: ask, whatever is cached.
        """
        if for_sure:
            self._forget_name()
        await self._retrying(self._ready)
        return self._in_use

    async def has_windows(self) -> bool:
        """Whether its sparse vectors are window vectors."""
        return (await self.in_use()).has_windows

    async def set_words(self, ref: CubeRef, vectors: Mapping[str, Sparse]) -> None:
        """Replace the sparse vectors of memories that are there, by id. What is not there any more is left alone."""
        await self._set_vectors({memory_id: {LEXICAL: _vector(vector)} for memory_id, vector in vectors.items()})

    async def set_dense(self, vectors: Mapping[str, Sequence[float]]) -> None:
        """Replace the dense vectors of memories that are there, by id. What is not there any more is left alone."""
        await self._set_vectors({memory_id: {DENSE: list(vector)} for memory_id, vector in vectors.items()})

    async def _set_vectors(self, vectors: Mapping[str, dict[str, Any]]) -> None:
        changes = list(vectors.items())
        for at in range(0, len(changes), _POINTS_PER_CALL):
            points = [
                models.PointVectors(id=memory_id, vector=vector)
                for memory_id, vector in changes[at : at + _POINTS_PER_CALL]
            ]
            await self._call(lambda client, name, points=points: update_vectors(client, name, points))  # type: ignore[misc]

    async def vectors(self, ref: CubeRef, memory_ids: Sequence[str]) -> dict[str, tuple[list[float], Sparse]]:
        """The dense and the lexical vector of those of these memories that are in the cube, by id."""
        if not memory_ids:
            return {}
        records = await self._call(
            lambda client, name: client.retrieve(
                name, list(memory_ids), with_payload=True, with_vectors=[DENSE, LEXICAL]
            )
        )
        found: dict[str, Any] = {str(record.id): record.vector for record in _of_cube(ref, records)}
        return {
            memory_id: (named[DENSE], Sparse(named[LEXICAL].indices, named[LEXICAL].values))
            for memory_id, named in found.items()
        }

    async def similar(self, ref: CubeRef, vectors: Sequence[Sequence[float]], limit: int) -> list[list[Hit]]:
        """For each dense vector the nearest active memories, in one call."""
        chosen = within(ref, equals("status", "activated"))
        requests: list[models.QueryRequest] = [_request(list(vector), DENSE, chosen, limit) for vector in vectors]
        if not requests:
            return []
        answers = await self._call(lambda client, name: query_batch(client, name, requests))
        return [_hits(ref, answer.points) for answer in answers]

    async def at_places(self, ref: CubeRef, places: Mapping[str, set[int]], conditions: Conditions | None) -> list[Hit]:
        """The memories said at these turns, by session. Scores are 0."""
        return _hits(ref, await self._at_places(ref, places, conditions, True))

    async def ids_at_places(self, ref: CubeRef, places: Mapping[str, set[int]]) -> list[str]:
        """The ids of those that have a text."""
        found = _hits(ref, await self._at_places(ref, places, None, [TENANT, *NEEDED]))
        return [hit.memory_id for hit in found if hit.payload["text"]]

    async def _at_places(
        self, ref: CubeRef, places: Mapping[str, set[int]], conditions: Conditions | None, payload: bool | list[str]
    ) -> list[Any]:
        if not places:
            return []
        anywhere: list[Any] = [
            models.Filter(
                must=[
                    equals("session_id", session),
                    models.FieldCondition(key="turn", match=models.MatchAny(any=sorted(turns))),
                ]
            )
            for session, turns in places.items()
        ]
        chosen = matching(ref, conditions, models.Filter(should=anywhere))
        found: list[Any] = []
        offset: Any = None
        while True:
            records, offset = await self._call(
                lambda client, name, offset=offset: client.scroll(  # type: ignore[misc]
                    name, chosen, limit=_PAGE, offset=offset, with_payload=payload
                )
            )
            found += records
            if offset is None:
                return found

    async def hits(self, ref: CubeRef, memory_ids: Sequence[str], conditions: Conditions | None) -> list[Hit]:
        """Those of these memories for which the conditions hold, in no order. Scores are 0."""
        if not memory_ids:
            return []
        chosen = matching(ref, conditions, among(list(memory_ids)))
        limit = len(memory_ids)
        records, _ = await self._call(lambda client, name: client.scroll(name, chosen, limit=limit, with_payload=True))
        return _hits(ref, records)

    async def with_hashes(self, ref: CubeRef, hashes: Sequence[str]) -> list[Memory]:
        """The memories with one of these content hashes that are active or put away as asked, oldest first."""
        if not hashes:
            return []
        chosen = within(
            ref,
            models.Filter(should=[equals("status", "activated"), equals("archived_because", "asked")]),
            models.FieldCondition(key="content_hash", match=models.MatchAny(any=list(hashes))),
        )
        records, _ = await self._call(lambda client, name: client.scroll(name, chosen, limit=_PAGE, with_payload=True))
        return sorted(_memories(ref, records), key=lambda memory: (memory.created_at, memory.memory_id))

    async def derived_from(self, ref: CubeRef, memory_ids: Sequence[str]) -> list[Memory]:
        """The statements that were taken from one of these turns, archived ones too."""
        return await self._naming(ref, "derived_from", memory_ids)

    async def answers_to(self, ref: CubeRef, memory_ids: Sequence[str]) -> list[Memory]:
        """The short answers to these questions, archived ones too."""
        return await self._naming(ref, "answers", memory_ids)

    async def asked_again_at(self, ref: CubeRef, places: Sequence[str]) -> list[Memory]:
        """The questions that were asked again at one of these places, by their names."""
        chosen = within(ref, models.Filter(should=[at_least(f"asked_again.{name}", 0) for name in places]))
        limit = len(places)
        records, _ = await self._call(lambda client, name: client.scroll(name, chosen, limit=limit, with_payload=True))
        return _memories(ref, records)

    async def _naming(self, ref: CubeRef, field: str, memory_ids: Sequence[str]) -> list[Memory]:
        if not memory_ids:
            return []
        chosen = within(ref, models.FieldCondition(key=field, match=models.MatchAny(any=list(memory_ids))))
        found: list[Any] = []
        offset: Any = None
        while True:
            records, offset = await self._call(
                lambda client, name, offset=offset: client.scroll(  # type: ignore[misc]
                    name, chosen, limit=_PAGE, offset=offset, with_payload=True
                )
            )
            found += records
            if offset is None:
                return _memories(ref, found)

    async def next_turn(self, ref: CubeRef, session_id: str) -> int:
        """The place that comes after the last turn of a session; 0 for a new one."""
        chosen = within(ref, equals("session_id", session_id))
        order = models.OrderBy(key="turn", direction=models.Direction.DESC)
        records, _ = await self._call(
            lambda client, name: client.scroll(name, chosen, limit=1, order_by=order, with_payload=["turn"])
        )
        return int((records[0].payload or {}).get("turn", 0)) + 1 if records else 0

    async def by_time(
        self,
        ref: CubeRef,
        limit: int,
        conditions: Conditions | None = None,
        *,
        newest: bool,
        at_most: int | None = None,
        without: Sequence[str] = (),
    ) -> list[Memory]:
        """Memories in the order in which they were said.

        Args:
            newest: the newest first; otherwise the oldest.
            at_most: from this time on, ms since the epoch, in that direction.
            without: ids of some that are left out.
        """
        others: list[Any] = []
        if at_most is not None:
            bounds = models.Range(lt=at_most + 1) if newest else models.Range(gte=at_most)
            others.append(models.FieldCondition(key="at", range=bounds))
        if without:
            others.append(models.Filter(must_not=[among([*without])]))
        direction = models.Direction.DESC if newest else models.Direction.ASC
        order = models.OrderBy(key="at", direction=direction)
        chosen = matching(ref, conditions, *others)
        records, _ = await self._call(
            lambda client, name: client.scroll(name, chosen, limit=limit, order_by=order, with_payload=True)
        )
        return _memories(ref, records)

    async def newest(self, ref: CubeRef, limit: int, conditions: Conditions | None = None) -> list[Memory]:
        """The memories said last, newest first."""
        chosen = matching(ref, conditions)
        order = models.OrderBy(key="at", direction=models.Direction.DESC)
        records, _ = await self._call(
            lambda client, name: client.scroll(name, chosen, limit=limit, order_by=order, with_payload=True)
        )
        return _memories(ref, records)

    async def times(self, ref: CubeRef, limit: int, since: datetime) -> dict[str, tuple[int, int]]:
        """When what was said, or said again, since then was said first and last, ms since the epoch, by id.

        Args:
            limit: those of it that were said first latest.
        """
        chosen = within(ref, told_since(to_ms(since)))
        order = models.OrderBy(key="at", direction=models.Direction.DESC)
        fields = [TENANT, *NEEDED, "last_said"]
        records, _ = await self._call(
            lambda client, name: client.scroll(name, chosen, limit=limit, order_by=order, with_payload=fields)
        )
        hits = _hits(ref, records)
        firsts = {hit.memory_id: int(hit.payload["at"]) for hit in hits}
        return {hit.memory_id: (at := firsts[hit.memory_id], max(at, hit.payload.get("last_said", at))) for hit in hits}

    async def scan(
        self, ref: CubeRef, conditions: Conditions | None = None, *, with_vectors: bool = False, after: str = ""
    ) -> AsyncIterator[tuple[Memory, list[float]]]:
        """All memories of a cube in the order of their ids, page by page; the dense vector if asked for, else [].

        Args:
            after: the id of a memory; it and those before it are left out.
        """
        chosen = matching(ref, conditions)
        offset: Any = after or None
        while True:
            records, offset = await self._call(
                lambda client, name, offset=offset: client.scroll(  # type: ignore[misc]
                    name,
                    chosen,
                    limit=_PAGE,
                    offset=offset,
                    with_payload=True,
                    with_vectors=[DENSE] if with_vectors else False,
                )
            )
            vectors: dict[str, Any] = {str(record.id): record.vector or {} for record in records}
            for memory in _memories(ref, records):
                if memory.memory_id != after:
                    yield memory, list(vectors[memory.memory_id].get(DENSE, ()))
            if offset is None:
                return

    async def count(self, ref: CubeRef, conditions: Conditions | None = None) -> int:
        chosen = matching(ref, conditions)
        answer = await self._call(lambda client, name: client.count(name, chosen, exact=True))
        return int(answer.count)

    async def _delete_in(self, replaced: str, selector: models.FilterSelector) -> None:
        try:
            if await self._call(lambda client, _: client.collection_exists(replaced)):
                await self._call(lambda client, _: client.delete(replaced, selector, wait=True))
        except StoreUnavailable as error:  # it may be dropped at any moment
            if not error.collection_is_gone:
                raise

    async def _announce(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        if self._changed is not None and memory_ids:
            await self._changed(ref, memory_ids)

    async def _tell_outdated(self, ref: CubeRef, memory_ids: Sequence[str] | None) -> None:
        """Before it happens, so that nothing made of them outlives them; and after, for what was made meanwhile."""
        if self._outdated is not None:
            await self._outdated(ref, memory_ids)

    # -- calls ---------------------------------------------------------------------------------------------------

    async def _call(self, ask: Callable[[AsyncQdrantClient, str], Awaitable[T]]) -> T:
        """Ask, with a time limit; again after a pause where that may help."""

        async def once() -> T:
            client, name = await self._ready()
            async with asyncio.timeout(self._settings.store_timeout_seconds):
                return await ask(client, name)

        began, outcome = time.monotonic(), "error"
        try:
            found = await self._retrying(once)
            outcome = "done"
            return found
        finally:
            counted[f"store:{outcome}"] += 1
            counted.observe("store_seconds", time.monotonic() - began)

    async def _retrying(self, once: Callable[[], Awaitable[T]]) -> T:
        return await with_retries(self._settings, once, on_gone=self._forget_name)

    def _forget_name(self) -> None:
        self._name_cached = Deadline(0.0)

    async def _ready(self) -> tuple[AsyncQdrantClient, str]:
        """The client, and the collection's name, which is cached for a short time, since a reindex changes it."""
        if self._client is not None and self._in_use.name and not self._name_cached.passed:
            return self._client, self._in_use.name
        # Who waits while others ask in vain waits no longer than they do.
        limit = None if self._client is None else self._settings.store_timeout_seconds
        async with asyncio.timeout(limit), self._opening:
            if self._client is None:
                self._client, self._release = await open_client(self._settings)
            if self._collection is None:
                self._collection = Collection(
                    self._client,
                    self._settings.collection,
                    self._embedder,
                    self._dimensions,
                    datatype_for(self._settings),
                    Layout.of(self._settings),
                )
            if not self._in_use.name or self._name_cached.passed:
                cached = Deadline(RESOLVE_AFTER_SECONDS)  # from now: a reindex relies on how long it is believed
                async with asyncio.timeout(self._settings.store_timeout_seconds):
                    self._in_use = await self._collection.resolve()
                self._name_cached = cached
            return self._client, self._in_use.name


@dataclass(frozen=True, slots=True)
class _Named:
    """A collection by its real name, in the place of the one behind the alias."""

    in_use: InUse

    async def resolve(self) -> InUse:
        return self.in_use


def _ends(fields: Mapping[str, Any]) -> bool:
    """Whether a memory that gets these fields holds no more. One that is merged does: the other says the same."""
    merged = fields.get("status") == "archived" and bool(fields.get("superseded_by"))
    return fields.get("archived_because") == "asked" or (bool(fields.get("superseded_by")) and not merged)


def _hits(ref: CubeRef, points: Sequence[Any]) -> list[Hit]:
    """What came back of the cube, as far as it can be read."""
    return [
        Hit(str(point.id), getattr(point, "score", 0.0), payload)
        for point in _of_cube(ref, points)
        if (payload := readable(point.payload)) is not None
    ]


def _of_cube(ref: CubeRef, points: Sequence[Any]) -> list[Any]:
    """What came back of the cube. There is nothing else, unless the store ignores a filter: then it stays unseen."""
    tenant = ref.tenant
    return [point for point in points if point.payload and point.payload.get(TENANT) == tenant]


def _memories(ref: CubeRef, points: Sequence[Any]) -> list[Memory]:
    return [hit.memory() for hit in _hits(ref, points)]


def _as_point(ref: CubeRef, point: Point) -> models.PointStruct:
    vectors: dict[str, Any] = {
        DENSE: point.dense,
        LEXICAL: models.SparseVector(indices=point.lexical.indices, values=point.lexical.values),
    }
    payload = point.memory.to_payload() | {TENANT: ref.tenant}
    return models.PointStruct(id=point.memory.memory_id, vector=vectors, payload=payload)


def _vector(given: Sequence[float] | Sparse) -> Any:
    if isinstance(given, Sparse):
        return models.SparseVector(indices=given.indices, values=given.values)
    return list(given)


def _request(query: Any, using: str, chosen: models.Filter, limit: int) -> models.QueryRequest:
    return models.QueryRequest(query=query, using=using, filter=chosen, limit=limit, with_payload=True)
