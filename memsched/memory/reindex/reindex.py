"""Reindex: all memories in a new collection, while everything goes on: embedded anew with another model, or only in the
form that this version writes (window vectors), with the vectors that the same model has made.

The next collection is filled beside the one in use, and brought up to date with what changed meanwhile, again and again
until little is left. Then the alias moves, in one step. Processes that still use the old collection notice it within
RESOLVE_AFTER_SECONDS; what they wrote until then is copied too, and the old collection goes.

Whoever is killed in between leaves everything as it was, with the next collection half full; the next run goes on. Its
metadata say whose place it is to take, so nothing about a run has to be kept elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.lock import Lock
from memsched.deadline import Deadline
from memsched.errors import MemschedError
from memsched.logs import get_logger
from memsched.memory.embedding.embedder import Embedder, EmbeddingError
from memsched.memory.ingest.places import Places, Tell
from memsched.memory.model import SCHEMA_VERSION
from memsched.memory.reindex.copy import CollectionCopy
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.client import RetryingClient, close_client, datatype_for, open_client
from memsched.memory.store.collection import FILLED_FROM, Collection, InUse, Layout
from memsched.memory.store.errors import StoreUnavailable
from memsched.memory.store.store import RESOLVE_AFTER_SECONDS, MemoryStore
from memsched.settings import Settings

T = TypeVar("T")
log = get_logger(__name__)

_FEW = 50
"""So few changes of one round are left to the last one."""
_ROUNDS = 10
_OUTAGE_SECONDS = 300.0
"""A store or a model that does not answer for so long ends the run."""
_OUTAGE_PAUSE_SECONDS = 2.0
_LONG_CALL_SECONDS = 30.0
"""For making a collection with all its indexes, and for dropping one."""
_COMPLETE_UNTIL = "complete_until"
"""In the metadata, in ms since the epoch: what was changed before is in it for certain."""
_KEEPS_DENSE = "keeps_dense"
"""And whether it gets the dense vectors of that one."""
_CLOCKS_DIFFER_SECONDS = 5.0

Progress = Callable[[str, int, int], None]
"""Told in words what is done, how many memories are looked through, and of how many."""


class ReindexRefused(MemschedError):
    """There is nothing to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Args:
        source: the collection in use.
        target: a collection that an earlier run began to fill, "" for none.
        switched: the target is in use already, and only the end of that run is missing.
        old_form: the memories are found by their own words only.
        needed: whether the models differ, or the form is old.
    """

    source: str
    made_with: str
    wanted: str
    memories: int
    target: str = ""
    switched: bool = False
    old_form: bool = False
    needed: bool = True

    @property
    def keeps_dense(self) -> bool:
        """Whether only the form is old, and not the model: nothing is to be embedded."""
        return self.old_form and self.made_with == self.wanted


@dataclass(slots=True)
class Outcome:
    """What was done.

    Args:
        embedded: how many vectors were made.
        kept: whether the old collection is still there.
    """

    collection: str
    replaced: str
    made_with: str
    embedding: str
    memories: int = 0
    embedded: int = 0
    rounds: int = 0
    seconds: float = 0.0
    kept: bool = False


class Reindexer:
    """``open`` it before use. Raises what the store and the embedder raise, ReindexRefused and LockHeld."""

    def __init__(
        self, settings: Settings, server: Server, keys: Keys, embedder: Embedder, client: AsyncQdrantClient, batch: int
    ) -> None:
        self._settings = settings
        self._lock = Lock(server, keys.reindex(settings.collection))
        self._terms = TermStatistics(server, keys)
        self._embedder = embedder
        self._batch = batch
        self._client = RetryingClient(settings, client)
        self._store = partial(MemoryStore.of_collection, settings, client)
        self._collection = Collection(
            *(client, settings.collection, embedder.name, embedder.dimensions),
            datatype_for(settings),
            Layout.of(settings),
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, server: Server, keys: Keys, embedder: Embedder, *, batch: int = 64
    ) -> AsyncIterator[Reindexer]:
        """Load the model and connect to the store, which is closed at the end."""
        await embedder.prepare()
        client, release = await open_client(settings)
        try:
            yield cls(settings, server, keys, embedder, client, batch)
        finally:
            await close_client(client, settings.store_url)
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
        metadata = await self._metadata(name)
        if _schema(metadata) > SCHEMA_VERSION:
            raise ReindexRefused(f"The collection {name} was written by a newer version of memsched: upgrade this one.")
        made_with, wanted = _model(metadata), _model(self._collection.own_metadata())
        count, old_form = await self._count(name), _schema(metadata) < SCHEMA_VERSION
        needed = old_form or made_with != wanted
        source = str(metadata.get(FILLED_FROM) or "")
        if source and await self._exists(source):
            before = _model(await self._metadata(source))
            return Plan(source, before, made_with, count, name, switched=True, old_form=old_form, needed=needed)
        begun = await self._begun(name, wanted)
        return Plan(name, made_with, wanted, count, begun, old_form=old_form, needed=needed)

    async def run(self, progress: Progress, *, force: bool = False, keep_old: bool = False) -> Outcome:
        """Do it, or go on with what an earlier run began.

        Args:
            force: embed anew, also if the model is the same.
        """
        began = time.monotonic()
        outcome = await self._lock.during(self._all_of_it(progress, force, keep_old))
        outcome.seconds = time.monotonic() - began
        log.info(
            "all memories are in a new collection",
            action="reindex.done",
            collection=outcome.collection,
            embedder=outcome.embedding,
            embedded=outcome.embedded,
            memories=outcome.memories,
            replaced=outcome.replaced,
        )
        return outcome

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _all_of_it(self, progress: Progress, force: bool, keep_old: bool) -> Outcome:
        plan = await self.plan()
        if plan.switched:
            outcome = await self._finish(plan, progress, keep_old)
            if not (plan.needed or force):
                return outcome
            plan = await self.plan()
        if not (plan.needed or force):
            raise ReindexRefused(f"The collection {plan.source} was made with {plan.wanted} already.")
        keeps_dense = plan.keeps_dense and not force
        if plan.target and bool((await self._metadata(plan.target)).get(_KEEPS_DENSE)) != keeps_dense:
            plan = replace(plan, target="")
        await self._mark(plan.source, {FILLED_FROM: ""})  # that one may be gone, and this one is to be kept
        target = plan.target or await self._ask(self._collection.next_name)
        await self._drop_unfinished(plan)
        return await self._fill_and_switch(plan, target, keeps_dense, progress, keep_old)

    async def _fill_and_switch(
        self, plan: Plan, target: str, keeps_dense: bool, progress: Progress, keep_old: bool
    ) -> Outcome:
        copy = self._copy(plan.source, InUse(target, SCHEMA_VERSION), keeps_dense)
        marks = {FILLED_FROM: plan.source, _KEEPS_DENSE: keeps_dense}
        await self._ask(lambda: self._collection.create(target, marks), _LONG_CALL_SECONDS)
        if plan.target:
            await copy.resume(_telling(progress, "looks at what is there already"))
        outcome = Outcome(target, plan.source, plan.made_with, plan.wanted)
        for number in range(1, _ROUNDS + 1):
            round_began = time.time()
            verb = "copies" if keeps_dense else "embeds"
            what = f"{verb} all memories" if number == 1 else f"{verb} what changed meanwhile (round {number})"
            changes = await self._round(copy, copy.copy_changes, outcome, progress, what)
            if changes <= _FEW:
                break
        await self._mark(target, {_COMPLETE_UNTIL: int(1000 * (round_began - _CLOCKS_DIFFER_SECONDS))})
        await self._lock.renew()
        await self._ask(lambda: self._collection.point_alias_to(target))
        # So that whoever sees the new collection already need not wait for this until all do.
        await self._round(copy, copy.copy_last_changes, outcome, progress, "copies what came around the switch")
        await self._count_speakers(copy, progress)
        await self._end(copy, None, outcome, progress, keep_old)
        return outcome

    async def _finish(self, plan: Plan, progress: Progress, keep_old: bool) -> Outcome:
        """The end of a run that was killed after the switch."""
        outcome = Outcome(plan.target, plan.source, plan.made_with, plan.wanted)
        metadata = await self._metadata(plan.target)
        complete_until = int(metadata.get(_COMPLETE_UNTIL, 0))
        copy = self._copy(plan.source, InUse(plan.target, _schema(metadata)), bool(metadata.get(_KEEPS_DENSE)))
        await self._end(copy, complete_until, outcome, progress, keep_old)
        return outcome

    async def _end(
        self, copy: CollectionCopy, complete_until: int | None, outcome: Outcome, progress: Progress, keep_old: bool
    ) -> None:
        """After the switch: what was still written to the old collection, and then the old collection itself."""
        # The longest that somebody caches the old name, and then the longest that a call of theirs may take.
        timeout = self._settings.store_timeout_seconds
        pause = max(RESOLVE_AFTER_SECONDS, timeout) + timeout
        noticed = Deadline(pause)
        while (left := noticed.left) > 0:
            progress("waits for all processes to notice", int(pause - left), int(pause))
            await asyncio.sleep(min(left, 1.0))

        def last(tell: Tell) -> Awaitable[int]:
            return copy.copy_last_changes(tell, complete_until)

        await self._round(copy, last, outcome, progress, "copies what came last")
        await self._count_speakers(copy, progress)
        outcome.embedded = copy.embedded
        outcome.kept = keep_old
        await self._lock.renew()
        if not keep_old:
            await self._drop(copy.source)
        await self._mark(copy.target.name, {FILLED_FROM: ""})
        outcome.memories = await self._count(copy.target.name)

    async def _round(
        self,
        copy: CollectionCopy,
        copy_round: Callable[[Tell], Awaitable[int]],
        outcome: Outcome,
        progress: Progress,
        what: str,
    ) -> int:
        changes = await self._through_outages(copy, copy_round, progress, what)
        await self._through_outages(copy, copy.places.settle, progress, "looks at what was said around them")
        outcome.rounds += 1
        return changes

    async def _count_speakers(self, copy: CollectionCopy, progress: Progress) -> None:
        def count(tell: Tell) -> Awaitable[None]:
            return copy.places.count_speakers(self._terms, tell)

        if copy.target.has_windows:  # before, nobody asks for them
            await self._through_outages(copy, count, progress, "counts whose memories they are")

    async def _through_outages(
        self, copy: CollectionCopy, step: Callable[[Tell], Awaitable[T]], progress: Progress, what: str
    ) -> T:
        """One step, begun again when store or model were away; it leaves out what it had done."""
        done, deadline = copy.progress, Deadline(_OUTAGE_SECONDS)
        while True:
            try:
                return await step(_telling(progress, what))
            except (StoreUnavailable, EmbeddingError) as error:
                if copy.progress > done:
                    done, deadline = copy.progress, Deadline(_OUTAGE_SECONDS)
                if not _may_pass(error) or deadline.passed:
                    raise
                pause = max(_OUTAGE_PAUSE_SECONDS, min(getattr(error, "retry_after", None) or 0.0, 60.0))
                log.warning(
                    "the reindex cannot go on now; it tries again",
                    action="reindex.waits",
                    delay_seconds=pause,
                    error=str(error),
                )
                await asyncio.sleep(pause)

    def _copy(self, source: str, target: InUse, keeps_dense: bool) -> CollectionCopy:
        fence = self._lock.renew_if_old
        places = Places(self._store(target), fence)
        return CollectionCopy(
            self._client, self._embedder, source, target, places, fence, self._batch, keeps_dense=keeps_dense
        )

    # -- collections ---------------------------------------------------------------------------------------------

    async def _begun(self, source: str, wanted: str) -> str:
        """The collection that an earlier run began to fill from this one with this model, in the present form."""
        for name, metadata in (await self._unfinished(source)).items():
            as_wanted = _model(metadata) == wanted and _schema(metadata) == SCHEMA_VERSION
            if metadata.get(FILLED_FROM) == source and as_wanted:
                return name
        return ""

    async def _drop_unfinished(self, plan: Plan) -> None:
        """Those with which nobody will go on: nobody but us fills one now."""
        for name in await self._unfinished(plan.source):
            if name != plan.target:
                await self._drop(name)
                log.info("an unfinished collection is dropped", action="reindex.dropped", collection=name)

    async def _unfinished(self, in_use: str) -> dict[str, Mapping[str, Any]]:
        """The metadata of collections that never were in use, by name."""
        found = {}
        for name in await self._ask(self._collection.names):
            if name != in_use and (metadata := await self._metadata(name)).get(FILLED_FROM):
                found[name] = metadata
        return found

    async def _drop(self, name: str) -> None:
        try:
            await self._client.ask(lambda client: client.delete_collection(name), _LONG_CALL_SECONDS)
        except StoreUnavailable:  # of a large one; it may have been done all the same
            if await self._exists(name):
                raise

    async def _exists(self, name: str) -> bool:
        return await self._client.ask(lambda client: client.collection_exists(name))

    async def _mark(self, name: str, marks: dict[str, Any]) -> None:
        metadata = {**await self._metadata(name), **marks}
        await self._client.ask(lambda client: client.update_collection(name, metadata=metadata))

    async def _metadata(self, name: str) -> Mapping[str, Any]:
        return await self._ask(lambda: self._collection.metadata(name))

    async def _count(self, name: str) -> int:
        return (await self._client.ask(lambda client: client.count(name, exact=True))).count

    async def _ask(self, ask: Callable[[], Awaitable[T]], seconds: float = 0.0) -> T:
        return await self._client.ask(lambda _: ask(), seconds)


def _telling(progress: Progress, what: str) -> Tell:
    return lambda done, total: progress(what, done, total)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, EmbeddingError):
        return error.temporary
    return isinstance(error, StoreUnavailable) and not error.collection_is_gone


def _schema(metadata: Mapping[str, Any]) -> int:
    return int(metadata.get("schema", 0))


def _model(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('embedder')} ({metadata.get('dimensions')} dimensions)"
