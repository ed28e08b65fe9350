"""A store for LangGraph whose items are memories: found by what they mean, and kept apart by user. Needs the extra
``langgraph``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

try:
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        InvalidNamespaceError,
        Item,
        ListNamespacesOp,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        validate_op_namespace,
    )
except ImportError as error:
    _missing = error.name or str(error)
    raise ImportError(f"MemschedStore needs {_missing}: pip install 'memsched[langgraph]'", name=_missing) from None

from memsched.errors import CubeForbidden, UnknownCube, UnknownUser
from memsched.integrations.langgraph_items import (
    NAMESPACE,
    SEARCHED,
    WHOLE,
    Namespace,
    Place,
    as_found,
    as_item,
    lets_through,
    memory_of,
    namespaces_that,
    parts_of_item,
    value_as_json,
)
from memsched.memory.access.permissions import Permission
from memsched.memory.model import Memory
from memsched.memory.transfer.import_cube import store_page
from memsched.mos.mos import AsyncMOS
from memsched.mos.sync import MOS

_PAGE = 200
_MOST_SEARCHED = 1_000
_TTL = "memsched forgets by what is needed and by deletion, not by a time to live: leave ttl out."


class MemschedStore(BaseStore):
    """A LangGraph store over memsched, for any number of users.

    The first label of a namespace is the user, the second one the user's name of the cube, the rest is kept with the
    item: ``("ada", "home", "recipes")``. In the store of one user (``user_id``) the first label is the cube. Whoever
    names no user sees nothing.

    Items are there as soon as ``put`` returns; no worker is needed. They are memories of the cube: the search and the
    prompts of memsched find them too, and a deletion takes them away everywhere.

    It may be used from any thread and any event loop at once: it has a loop of its own.
    """

    supports_ttl = False

    def __init__(
        self,
        mos: MOS | None = None,
        *,
        user_id: str | None = None,
        fields: Sequence[str] = (WHOLE,),
        **settings: Any,
    ) -> None:
        """A store on a MOS that is there already; or on one of its own, by the environment and what is told here.

        Args:
            user_id: whose it is alone.
            fields: what of a value is searched where ``put`` does not say it (``index``): paths; ``$`` is all of it.
            settings: of the MOS of its own: ``redis_url``, ``qdrant_url``, ...
        """
        self._own = mos is None
        self._mos = MOS(enable_mem_scheduler=False, **settings) if mos is None else mos
        self._items = _Items(self._mos._async, user_id, tuple(fields))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do these: what is read is read before anything is written, and of two writes to one key the last one counts.

        Raises InvalidItem, InvalidNamespaceError and NotImplementedError (``ttl``) before anything is done.
        """
        return self._mos._thread.call(partial(self._items.batch, [*ops]))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """The same for code that awaits."""
        return await self._mos._thread.acall(partial(self._items.batch, [*ops]))

    def close(self) -> None:
        """Close the connections, if they are the store's own."""
        if self._own:
            self._mos.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Items:
    """What the store does, on the loop of its MOS."""

    def __init__(self, mos: AsyncMOS, owner: str | None, fields: Sequence[str]) -> None:
        self._mos = mos
        self._owner = owner
        self._fields = fields

    async def batch(self, ops: Sequence[Op]) -> list[Result]:
        for op in ops:
            self._check(op)
        results = await asyncio.gather(*map(self._read, ops))
        writes = {(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        by_cube: dict[tuple[str, str], list[PutOp]] = defaultdict(list)
        for op in writes.values():
            place = self._place(op.namespace)
            by_cube[place.user, place.cube_name].append(op)
        for (user, cube), some in by_cube.items():
            await self._write(user, cube, some)
        return [*results]

    def _check(self, op: Op) -> None:
        validate_op_namespace(op)
        if isinstance(op, PutOp):
            if op.ttl is not None:
                raise NotImplementedError(_TTL)
            if not op.namespace:
                raise InvalidNamespaceError("A namespace has one label at least.")
            if op.value is not None:
                value_as_json(op)
        if self._owner is None and self._user_label(op) in (None, "*"):
            raise InvalidNamespaceError(
                "Say whose: the first label of a namespace is the user. MemschedStore(user_id=...) is one user's own."
            )

    @staticmethod
    def _user_label(op: Op) -> str | None:
        """The first label of what an op is about."""
        if isinstance(op, ListNamespacesOp):
            prefixes = (each.path for each in op.match_conditions or () if each.match_type == "prefix")
            return next((path[0] for path in prefixes if path), None)
        namespace = op.namespace_prefix if isinstance(op, SearchOp) else op.namespace
        return namespace[0] if namespace else None

    def _place(self, namespace: Namespace) -> Place:
        return Place.of(namespace, self._owner)

    async def _read(self, op: Op) -> Result:
        if isinstance(op, GetOp):
            return await self._get(op)
        if isinstance(op, SearchOp):
            return await self._search(op)
        return await self._namespaces(op) if isinstance(op, ListNamespacesOp) else None

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _get(self, op: GetOp) -> Item | None:
        place = self._place(op.namespace)
        async for memory in self._newest(place, place.here(op.key)):
            parts = parts_of_item(memory, place, self._owner)
            return None if parts is None else as_item(parts)
        return None

    async def _newest(self, place: Place, wanted: Mapping[str, Any]) -> AsyncIterator[Memory]:
        """A cube's memories for which a filter holds, those that were put last first; none of what others have."""
        conditions = {"filter": wanted, "include_archived": True}
        cursor = ""
        with suppress(UnknownCube, CubeForbidden):
            while True:
                page = await self._mos.list_memories(
                    place.cube_name, place.user, limit=_PAGE, after=cursor, conditions=conditions
                )
                for memory in page.memories:
                    yield memory
                if not (cursor := page.cursor):
                    return

    async def _cubes(self, place: Place) -> list[Place]:
        """The place, or where it names no cube one in each that the user may read."""
        if place.cube is not None:
            return [place]
        with suppress(UnknownUser):
            found = (await self._mos.get_user_info(place.user))["accessible_cubes"]
            return [Place(place.user, each["cube_id"], ()) for each in found]
        return []

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        most = op.offset + op.limit
        asked = self._place(op.namespace_prefix)
        found: dict[tuple[Namespace, str], SearchItem] = {}
        places = await self._cubes(asked)
        if op.query and places:
            found = await self._ranked(op, asked, places)
        if len(found) < most:
            for item in await self._in_order(op, asked, places):
                found.setdefault((item.namespace, item.key), item)
        return [*found.values()][op.offset : most]

    async def _in_order(self, op: SearchOp, asked: Place, places: Sequence[Place]) -> list[SearchItem]:
        """What a filter lets through, that which was put last first."""

        async def of(place: Place) -> list[SearchItem]:
            some: dict[tuple[Namespace, str], SearchItem] = {}
            async for memory in self._newest(place, asked.within()):
                parts = parts_of_item(memory, place, self._owner)
                if parts is not None and lets_through(parts["value"], op.filter):
                    some.setdefault((parts["namespace"], parts["key"]), as_found(parts, None))
                if len(some) >= op.offset + op.limit and not op.query:
                    break
            return [*some.values()]

        every = [each for some in await asyncio.gather(*map(of, places)) for each in some]
        return sorted(every, key=lambda each: each.updated_at, reverse=True)

    async def _ranked(
        self, op: SearchOp, asked: Place, places: Sequence[Place]
    ) -> dict[tuple[Namespace, str], SearchItem]:
        """What fits a query, the best first: as many as are asked for, or all that do."""
        by_name = {place.cube_name: place for place in places}
        wanted = {"filter": {**asked.within(), SEARCHED: True}, "include_archived": True}
        k = min(_MOST_SEARCHED, op.offset + op.limit)
        while True:
            found: dict[tuple[Namespace, str], SearchItem] = {}
            answer: Sequence[Any] = ()
            with suppress(UnknownCube, CubeForbidden):
                answer = (await self._mos.search(op.query or "", asked.user, [*by_name], k, search_args=wanted))[
                    "text_mem"
                ]
            results = [(each, by_name[cube["cube_id"]]) for cube in answer for each in cube["memories"]]
            if len(answer) > 1:
                results.sort(key=lambda each: -each[0].score)
            for each, place in results:
                parts = parts_of_item(each.item, place, self._owner)
                if parts is not None and lets_through(parts["value"], op.filter):
                    found.setdefault((parts["namespace"], parts["key"]), as_found(parts, each.score))
            is_all = all(len(cube["memories"]) < k for cube in answer)
            if is_all or len(found) >= op.offset + op.limit or k >= _MOST_SEARCHED:
                return found
            k = min(_MOST_SEARCHED, 4 * k)

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        prefix = next((each.path for each in op.match_conditions or () if each.match_type == "prefix"), ())
        user = self._owner or prefix[0]
        label = next(iter(prefix[0 if self._owner else 1 :]), "*")
        asked = Place(user, None if label == "*" else label, ())
        found: set[Namespace] = set()
        for place in await self._cubes(asked):
            async for memory in self._newest(place, {NAMESPACE: {"exists": True}}):
                if (parts := parts_of_item(memory, place, self._owner)) is not None:
                    found.add(parts["namespace"])
        return namespaces_that(found, op)

    # -- writing ---------------------------------------------------------------------------------------------------

    async def _write(self, user: str, cube: str, ops: Sequence[PutOp]) -> None:
        """Put new items in, then take what stood there out: whoever reads meanwhile finds one of both."""
        before = dict(zip((id(op) for op in ops), await asyncio.gather(*map(self._standing, ops)), strict=True))
        if not any(before.values()) and all(op.value is None for op in ops):
            return  # nothing is there to be deleted, and no cube is made for that
        services = await self._mos._services()
        ref = await services.cubes.resolve(user, cube, Permission.WRITE)
        now = datetime.now(UTC)
        new = [
            memory_of(
                op,
                self._place(op.namespace),
                ref,
                fields=self._fields,
                first=min((each.created_at for each in before[id(op)]), default=None),
                now=now,
                secrets=self._mos.settings.secrets,
            )
            for op in ops
            if op.value is not None
        ]
        await store_page(services, ref, new)
        if ids := [each.memory_id for some in before.values() for each in some]:
            there = await services.store.get(ref, ids)
            await services.deletion.delete(ref, [*there.values()], user_id=user, name=cube)

    async def _standing(self, op: PutOp) -> list[Memory]:
        """What stands under a key now: one, or none; several after two that wrote it at the same time."""
        place = self._place(op.namespace)
        return [each async for each in self._newest(place, place.here(op.key))]
