"""All memories embedded anew with another model, while everything goes on.

The next collection is filled beside the one in use, and brought up to date with what changed meanwhile, again and again
until little is left. Then the alias moves, in one step. Processes that still use the old model notice it within
RESOLVE_AFTER_SECONDS and stop; what they wrote until then is brought over, and the old collection goes.

Whoever is killed in between leaves everything as it was or the next collection half full: the next run goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import structlog

from memsched.connection import Server
from memsched.errors import MemschedError
from memsched.keys import Keys
from memsched.lua import as_int, script
from memsched.memory.collection import Collection
from memsched.memory.embedding import Embedder
from memsched.memory.items import SCHEMA_VERSION, Memory
from memsched.memory.lexical import document_weights, stems
from memsched.memory.store import DENSE, LEXICAL, RESOLVE_AFTER_SECONDS
from memsched.memory.store_client import close_client, datatype_for, open_client, patiently
from memsched.settings import Settings

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

T = TypeVar("T")
log = structlog.get_logger(__name__)

_HOLD = script("hold", "memory")
_HOLD_SECONDS = 30
_FEW = 50
"""So few changes of one round are left to the last one."""
_ROUNDS = 10
_PAGE = 256
_FILLED_FROM = "filled_from"
"""In a collection's metadata: of which one it is to take the place; empty when it has."""
_COMPLETE_UNTIL = "complete_until"
"""And in ms since the epoch: what was changed before is in it for certain."""
_CLOCKS_DIFFER_SECONDS = 5.0


class ReindexRefused(MemschedError):
    """There is nothing to embed anew, or somebody does it already."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    source: the collection in use. target: a collection that an earlier run began to fill, "" for none. switched: the
    target is in use already, and only the end of that run is missing. needed: whether the models differ.
    """

    source: str
    made_with: str
    wanted: str
    memories: int
    target: str = ""
    switched: bool = False
    needed: bool = True


@dataclass(slots=True)
class Outcome:
    """What was done. embedded: how many vectors were made. kept: whether the old collection is still there."""

    collection: str
    replaced: str
    made_with: str
    embedding: str
    memories: int = 0
    embedded: int = 0
    rounds: int = 0
    seconds: float = 0.0
    kept: bool = False


Progress = Callable[[str, int, int], None]
"""Told in words what is done, how many memories are looked through, and of how many."""


@dataclass(slots=True)
class _Copy:
    """What is known of a collection that is filled. written: by id, a digest of the payload that was copied."""

    source: str
    target: str
    written: dict[str, bytes] = field(default_factory=dict)


class Reindexer:
    """One run. ``open`` it before use; raises what the store and the embedder raise, and ReindexRefused."""

    def __init__(self, settings: Settings, server: Server, keys: Keys, embedder: Embedder, *, batch: int = 64) -> None:
        self._settings = settings
        self._server = server
        self._key = keys.reindex(settings.collection)
        self._embedder = embedder
        self._batch = batch
        self._holder = uuid4().hex
        self._held_until = 0.0
        self._client: AsyncQdrantClient
        self._collection: Collection

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, server: Server, keys: Keys, embedder: Embedder, *, batch: int = 64
    ) -> AsyncIterator[Reindexer]:
        """Load the model and connect; all is closed at the end."""
        self = cls(settings, server, keys, embedder, batch=batch)
        await embedder.prepare()
        self._client, release = await open_client(settings)
        self._collection = Collection(
            self._client, settings.collection, embedder.name, embedder.dimensions, datatype_for(settings)
        )
        try:
            yield self
        finally:
            await close_client(self._client, settings.store_url)
            if release is not None:
                await asyncio.to_thread(release)

    async def plan(self) -> Plan:
        """Look, and change nothing."""
        name = await self._ask(self._collection.behind_alias)
        if name is None:
            raise ReindexRefused(
                f"There is no collection {self._settings.collection!r} yet: nothing has been remembered. The first "
                "memory will be embedded with the model that is set now."
            )
        metadata = await self._ask(lambda: self._collection.metadata(name))
        if int(metadata.get("schema", 0)) > SCHEMA_VERSION:
            raise ReindexRefused(f"The collection {name} was written by a newer version of memsched: upgrade this one.")
        made_with = _model(metadata)
        wanted = _model(self._collection.own_metadata())
        count = (await self._ask(lambda: self._client.count(name, exact=True))).count
        if source := metadata.get(_FILLED_FROM):  # an earlier run switched, and was killed before its end
            there = await self._ask(lambda: self._client.collection_exists(source))
            if there:
                before = _model(await self._ask(lambda: self._collection.metadata(source)))
                return Plan(source, before, made_with, count, target=name, switched=True, needed=made_with != wanted)
        target = await self._begun(name, wanted)
        return Plan(name, made_with, wanted, count, target=target, needed=made_with != wanted)

    async def run(self, progress: Progress, *, force: bool = False, keep_old: bool = False) -> Outcome:
        """Do it, or go on with what an earlier run began."""
        began = time.monotonic()
        await self._hold()
        try:
            plan = await self.plan()
            if plan.switched:
                outcome = await self._finish(plan, progress, keep_old)
                if not (plan.needed or force):
                    outcome.seconds = time.monotonic() - began
                    return outcome
                plan = await self.plan()
            if not (plan.needed or force):
                raise ReindexRefused(f"The collection {plan.source} was made with {plan.wanted} already.")
            outcome = await self._fill_and_switch(plan, progress, keep_old)
        finally:
            await self._let_go()
        outcome.seconds = time.monotonic() - began
        log.info(
            "all memories are embedded anew", action="store.reindexed", collection=outcome.collection,
            embedder=outcome.embedding, memories=outcome.memories, replaced=outcome.replaced,
        )  # fmt: skip
        return outcome

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _fill_and_switch(self, plan: Plan, progress: Progress, keep_old: bool) -> Outcome:
        copy = _Copy(plan.source, plan.target or await self._ask(self._collection.next_name))
        await self._ask(lambda: self._collection.create(copy.target))
        await self._mark(copy.target, {_FILLED_FROM: copy.source})
        if plan.target:
            progress("looks at what is there already", 0, plan.memories)
            async for records in self._pages(copy.target):
                copy.written.update((str(record.id), _digest(record.payload)) for record in records)
        outcome = Outcome(copy.target, copy.source, plan.made_with, plan.wanted)
        for number in range(1, _ROUNDS + 1):
            round_began = time.time()
            what = "embeds all memories" if number == 1 else f"embeds what changed meanwhile (round {number})"
            changes = await self._bring_over(copy, outcome, progress, what)
            if changes <= _FEW:
                break
        await self._mark(copy.target, {_COMPLETE_UNTIL: int(1000 * (round_began - _CLOCKS_DIFFER_SECONDS))})
        await self._ask(lambda: self._collection.point_alias_to(copy.target))
        await self._end(copy, outcome, progress, keep_old)
        return outcome

    async def _finish(self, plan: Plan, progress: Progress, keep_old: bool) -> Outcome:
        """The end of a run that was killed after the switch."""
        copy = _Copy(plan.source, plan.target)
        outcome = Outcome(plan.target, plan.source, plan.made_with, plan.wanted)
        complete_until = (await self._ask(lambda: self._collection.metadata(plan.target))).get(_COMPLETE_UNTIL, 0)
        there: dict[str, int] = {}
        async for records in self._pages(copy.target):
            there.update((str(record.id), int((record.payload or {}).get("updated_at", 0))) for record in records)
        async for records in self._pages(copy.source):
            for record in records:
                changed = int((record.payload or {}).get("updated_at", 0))
                if changed <= max(there.get(str(record.id), 0), complete_until):
                    # What is there is as new or newer; what is not was deleted after the switch.
                    copy.written[str(record.id)] = _digest(record.payload)
        await self._end(copy, outcome, progress, keep_old)
        return outcome

    async def _end(self, copy: _Copy, outcome: Outcome, progress: Progress, keep_old: bool) -> None:
        """After the switch: what was still written to the old collection, and then the old collection itself."""
        pause = RESOLVE_AFTER_SECONDS + self._settings.store_timeout_seconds
        for second in range(int(pause) + 1):
            progress("waits for processes with the old model to notice", second, int(pause))
            await self._hold()
            await asyncio.sleep(min(1.0, pause - second) if pause > second else 0)
        await self._bring_over(copy, outcome, progress, "embeds what came last")
        await self._mark(copy.target, {_FILLED_FROM: ""})
        outcome.kept = keep_old
        if not keep_old:
            await self._ask(lambda: self._client.delete_collection(copy.source))
        outcome.memories = (await self._ask(lambda: self._client.count(copy.target, exact=True))).count

    async def _bring_over(self, copy: _Copy, outcome: Outcome, progress: Progress, what: str) -> int:
        """One round: copy what is new or changed in the source, delete what is no more; gives how many that were."""
        from qdrant_client import models

        total = (await self._ask(lambda: self._client.count(copy.source, exact=True))).count
        seen: set[str] = set()
        changes = 0
        outcome.rounds += 1
        async for records in self._pages(copy.source):
            changed = [
                (record, digest) for record in records
                if copy.written.get(str(record.id)) != (digest := _digest(record.payload))
            ]  # fmt: skip
            for at in range(0, len(changed), self._batch):
                some = changed[at : at + self._batch]
                await self._hold()
                points = await self._embedded([record for record, _ in some])
                await self._ask(lambda points=points: self._client.upsert(copy.target, points, wait=True))  # type: ignore[misc]
                copy.written.update((str(record.id), digest) for record, digest in some)
            seen.update(str(record.id) for record in records)
            changes += len(changed)
            outcome.embedded += len(changed)
            progress(what, min(len(seen), total), total)
        if gone := sorted(copy.written.keys() - seen):
            for at in range(0, len(gone), _PAGE):
                selector = models.PointIdsList(points=list(gone[at : at + _PAGE]))
                await self._ask(lambda selector=selector: self._client.delete(copy.target, selector, wait=True))  # type: ignore[misc]
            for each in gone:
                del copy.written[each]
        progress(what, total, total)
        return changes + len(gone)

    async def _embedded(self, records: Sequence[Any]) -> list[Any]:
        from qdrant_client import models

        texts = [Memory.from_payload(str(record.id), record.payload or {}).indexed_text for record in records]
        vectors = await self._embedder.embed_documents(texts)
        points = []
        for record, text, vector in zip(records, texts, vectors, strict=True):
            words = document_weights(stems(text))
            lexical = models.SparseVector(indices=words.indices, values=words.values)
            points.append(
                models.PointStruct(id=record.id, vector={DENSE: vector, LEXICAL: lexical}, payload=record.payload)
            )
        return points

    async def _begun(self, source: str, wanted: str) -> str:
        """The collection that an earlier run began to fill from this one with this model."""
        prefix = f"{self._settings.collection}-"
        for each in (await self._ask(self._client.get_collections)).collections:
            if each.name.startswith(prefix) and each.name != source:
                metadata = await self._ask(lambda name=each.name: self._collection.metadata(name))  # type: ignore[misc]
                if metadata.get(_FILLED_FROM) == source and _model(metadata) == wanted:
                    return each.name
        return ""

    async def _mark(self, name: str, marks: dict[str, Any]) -> None:
        metadata = {**await self._ask(lambda: self._collection.metadata(name)), **marks}
        await self._ask(lambda: self._client.update_collection(name, metadata=metadata))

    async def _pages(self, name: str) -> AsyncIterator[Sequence[Any]]:
        offset: Any = None
        while True:
            records, offset = await self._ask(
                lambda offset=offset: self._client.scroll(name, limit=_PAGE, offset=offset, with_payload=True)  # type: ignore[misc]
            )
            yield records
            if offset is None:
                return

    # -- calls ---------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        async def once() -> T:
            async with asyncio.timeout(self._settings.store_timeout_seconds):
                return await ask()

        return await patiently(self._settings, once, on_gone=lambda: None)

    async def _hold(self) -> None:
        """Only one at a time. Raises ReindexRefused if another does it."""
        if time.monotonic() < self._held_until:
            return
        command = _HOLD.command([self._key], [self._holder, _HOLD_SECONDS], as_int)
        if not await self._server.persistently(lambda: self._server.call(command)):
            raise ReindexRefused(
                f"Another process embeds all memories anew right now. If it was killed, try again in {_HOLD_SECONDS} s."
            )
        self._held_until = time.monotonic() + _HOLD_SECONDS / 3

    async def _let_go(self) -> None:
        if self._held_until:
            await self._server.persistently(
                lambda: self._server.call(_HOLD.command([self._key], [self._holder, 0], as_int))
            )


def _model(metadata: Any) -> str:
    return f"{metadata.get('embedder')} ({metadata.get('dimensions')} dimensions)"


def _digest(payload: Any) -> bytes:
    return hashlib.blake2b(json.dumps(payload or {}, sort_keys=True).encode("utf-8", "replace"), digest_size=8).digest()
