"""Reindex: all memories embedded anew with another model, while everything goes on.

The next collection is filled beside the one in use, and brought up to date with what changed meanwhile, again and again
until little is left. Then the alias moves, in one step. Processes that still use the old model notice it within
RESOLVE_AFTER_SECONDS and stop; what they wrote until then is copied too, and the old collection goes.

Whoever is killed in between leaves everything as it was, with the next collection half full; the next run goes on. Its
metadata say whose place it is to take, so nothing about a run has to be kept elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.lock import Lock
from memsched.deadline import Deadline
from memsched.errors import MemschedError
from memsched.logs import get_logger
from memsched.memory.embedding.embedder import Embedder, EmbeddingError
from memsched.memory.model import SCHEMA_VERSION
from memsched.memory.reindex.copy import CollectionCopy, Tell
from memsched.memory.store.client import RetryingClient, close_client, datatype_for, open_client
from memsched.memory.store.collection import Collection
from memsched.memory.store.errors import StoreUnavailable
from memsched.memory.store.store import RESOLVE_AFTER_SECONDS
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
_FILLED_FROM = "filled_from"
"""In a collection's metadata: of which one it is to take the place; empty or missing when it has."""
_COMPLETE_UNTIL = "complete_until"
"""And in ms since the epoch: what was changed before is in it for certain."""
_CLOCKS_DIFFER_SECONDS = 5.0

Progress = Callable[[str, int, int], None]
"""Told in words what is done, how many memories are looked through, and of how many."""


class ReindexRefused(MemschedError):
    """There is nothing to embed anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Args:
        source: the collection in use.
        target: a collection that an earlier run began to fill, "" for none.
        switched: the target is in use already, and only the end of that run is missing.
        needed: whether the models differ.
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
        self._embedder = embedder
        self._batch = batch
        self._client = RetryingClient(settings, client)
        self._collection = Collection(
            client, settings.collection, embedder.name, embedder.dimensions, datatype_for(settings)
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
        if int(metadata.get("schema", 0)) > SCHEMA_VERSION:
            raise ReindexRefused(f"The collection {name} was written by a newer version of memsched: upgrade this one.")
        made_with, wanted = _model(metadata), _model(self._collection.own_metadata())
        count, needed = await self._count(name), made_with != wanted
        source = str(metadata.get(_FILLED_FROM) or "")
        if source and await self._exists(source):
            before = _model(await self._metadata(source))
            return Plan(source, before, made_with, count, target=name, switched=True, needed=needed)
        return Plan(name, made_with, wanted, count, target=await self._begun(name, wanted), needed=needed)

    async def run(self, progress: Progress, *, force: bool = False, keep_old: bool = False) -> Outcome:
        """Do it, or go on with what an earlier run began.

        Args:
            force: also if the model is the same.
        """
        began = time.monotonic()
        outcome = await self._lock.during(self._all_of_it(progress, force, keep_old))
        outcome.seconds = time.monotonic() - began
        log.info(
            "all memories are embedded anew",
            action="reindex.done",
            collection=outcome.collection,
            embedder=outcome.embedding,
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
        await self._mark(plan.source, {_FILLED_FROM: ""})  # that one may be gone, and this one is to be kept
        target = plan.target or await self._ask(self._collection.next_name)
        await self._drop_unfinished(plan)
        return await self._fill_and_switch(plan, target, progress, keep_old)

    async def _fill_and_switch(self, plan: Plan, target: str, progress: Progress, keep_old: bool) -> Outcome:
        copy = self._copy(plan.source, target)
        await self._ask(lambda: self._collection.create(target, {_FILLED_FROM: plan.source}), _LONG_CALL_SECONDS)
        if plan.target:
            await copy.resume(_telling(progress, "looks at what is there already"))
        outcome = Outcome(target, plan.source, plan.made_with, plan.wanted)
        for number in range(1, _ROUNDS + 1):
            round_began = time.time()
            what = "embeds all memories" if number == 1 else f"embeds what changed meanwhile (round {number})"
            changes = await self._through_outages(copy, copy.copy_changes, progress, what)
            outcome.rounds += 1
            if changes <= _FEW:
                break
        await self._mark(target, {_COMPLETE_UNTIL: int(1000 * (round_began - _CLOCKS_DIFFER_SECONDS))})
        await self._lock.renew()
        await self._ask(lambda: self._collection.point_alias_to(target))
        await self._end(copy, None, outcome, progress, keep_old)
        return outcome

    async def _finish(self, plan: Plan, progress: Progress, keep_old: bool) -> Outcome:
        """The end of a run that was killed after the switch."""
        outcome = Outcome(plan.target, plan.source, plan.made_with, plan.wanted)
        complete_until = int((await self._metadata(plan.target)).get(_COMPLETE_UNTIL, 0))
        await self._end(self._copy(plan.source, plan.target), complete_until, outcome, progress, keep_old)
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
            progress("waits for processes with the old model to notice", int(pause - left), int(pause))
            await asyncio.sleep(min(left, 1.0))

        def last(tell: Tell) -> Awaitable[int]:
            return copy.copy_last_changes(tell, complete_until)

        await self._through_outages(copy, last, progress, "embeds what came last")
        outcome.rounds += 1
        outcome.embedded = copy.embedded
        outcome.kept = keep_old
        await self._lock.renew()
        if not keep_old:
            await self._drop(copy.source)
        await self._mark(copy.target, {_FILLED_FROM: ""})
        outcome.memories = await self._count(copy.target)

    async def _through_outages(
        self, copy: CollectionCopy, copy_round: Callable[[Tell], Awaitable[int]], progress: Progress, what: str
    ) -> int:
        """One round, begun again when store or model were away; it leaves out what was copied."""
        embedded, deadline = copy.embedded, Deadline(_OUTAGE_SECONDS)
        while True:
            try:
                return await copy_round(_telling(progress, what))
            except (StoreUnavailable, EmbeddingError) as error:
                if copy.embedded > embedded:
                    embedded, deadline = copy.embedded, Deadline(_OUTAGE_SECONDS)
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

    def _copy(self, source: str, target: str) -> CollectionCopy:
        return CollectionCopy(self._client, self._embedder, source, target, self._lock.renew_if_old, self._batch)

    # -- collections ---------------------------------------------------------------------------------------------

    async def _begun(self, source: str, wanted: str) -> str:
        """The collection that an earlier run began to fill from this one with this model."""
        for name, metadata in (await self._unfinished(source)).items():
            if metadata.get(_FILLED_FROM) == source and _model(metadata) == wanted:
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
            if name != in_use and (metadata := await self._metadata(name)).get(_FILLED_FROM):
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


def _model(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('embedder')} ({metadata.get('dimensions')} dimensions)"
