"""Deletion for good, because the user said so: out of the store, and out of everything that shows what was in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text, as_texts
from memsched.errors import InvalidMessage
from memsched.memory.access.permissions import CubeRef
from memsched.memory.derived import going_with
from memsched.memory.import_journal import ImportJournal
from memsched.memory.ingest.forget_journal import ForgetJournal
from memsched.memory.ingest.retelling import names_of
from memsched.memory.ingest.turn_places import TurnPlaces
from memsched.memory.model import Memory
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.store import MemoryStore, Outdated
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleLogForWebItem
from memsched.queue.events import append_event
from memsched.settings import Settings
from memsched.tiers.hot_state import HotState, HotStates
from memsched.tiers.moves import Placement
from memsched.tiers.working_set import WorkingSets
from memsched.tracing import memory_operation

DELETED = "Deleted"
_LABEL = "delete"
_SHOWN = 150
"""Of a text, the beginning that an event shows in any case."""
_EVENTS_PER_CALL = 500
_MEMORY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART_OF_A_TURN_CHARACTERS = 20
"""A memory that long and within what was said is a part of it, and no word that happens to stand there too."""


class Deletion:
    """Deletes memories, and what was derived from them, for good. Whether the user may is checked by the caller.

    Adapters that were made of them are revoked before anything else (memsched/parameters). Then the hot state: there
    they are gone at once, it is written down that they are to be forgotten, and tombstones are laid
    (memory/tombstones.py): their ids and the names of their turns, so that no message brings them back. Then the
    events, the store and the word counts, then the hot state again. Whoever computes the working set, or reads the
    cube, and finds a deletion begun, ends it: so it does not matter who dies in between.

    What cannot be found stays: what an answer or a question of the last few said of a memory in other words. It is gone
    after as many others.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        keys: Keys,
        store: MemoryStore,
        terms: TermStatistics,
        turn_places: TurnPlaces,
        imports: ImportJournal,
        asked: ForgetJournal,
        states: HotStates,
        working_sets: WorkingSets,
        outdated: Outdated,
    ) -> None:
        self._settings = settings
        self._server = server
        self._keys = keys
        self._store = store
        self._terms = terms
        self._turn_places = turn_places
        self._imports = imports
        self._asked = asked
        self._states = states
        self._working_sets = working_sets
        self._outdated = outdated

    @memory_operation("delete_memory")
    async def delete(self, ref: CubeRef, memories: Sequence[Memory], *, user_id: str, name: str) -> None:
        """Delete these memories of a cube, and what was derived from them.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        derived = await going_with(self._store, ref, memories)
        await self._store.patch(ref, {memory_id: {"sources": left} for memory_id, left in derived.sources.items()})
        ids = sorted(derived.gone)
        await self._begin(ref, list(derived.gone.values()))
        working_set_size = await self._end(ref)
        said = "1 memory was deleted" if len(ids) == 1 else f"{len(ids)} memories were deleted"
        memory_type = memories[0].memory_type if memories else LONG_TERM_MEMORY_TYPE
        had = {memory.memory_id: {"had_superseded": memory.replaces} for memory in memories if memory.replaces}
        details: list[dict[str, Any]] = [{"memory_id": memory_id, **had.get(memory_id, {})} for memory_id in ids]
        await self._log(ref, user_id, name, said, memory_type, details, working_set_size)

    @memory_operation("delete_memory")
    async def delete_all(self, ref: CubeRef, *, user_id: str, name: str) -> int:
        """Delete all memories of a cube, its working set and its word counts. Returns how many it had.

        What was submitted before, and is still on its way into the cube, is over: it does not arrive afterwards.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        count = await self._store.count(ref)
        emptied = await self._now()
        ids = sorted([memory.memory_id async for memory, _ in self._store.scan(ref)])

        async def nothing(state: HotState, _: set[str]) -> HotState:
            said = await self._states.said(ref)
            placement = Placement(changes=state.placement.changes + 1)
            kept: dict[str, Any] = {"version": state.version, "sent": state.sent, "placement": placement}
            latest = max(emptied, state.emptied + 1)  # another one, also within a millisecond
            return HotState(**kept, moves=[], deleting=ids, gone=said, emptied=latest)

        await self._outdated(ref, None)
        await self._states.change(ref, [], nothing)
        await self._store.delete(ref)  # also what cannot be read
        await self._terms.reset(ref)
        await self._turn_places.forget(ref)
        await self._imports.forget(ref)
        await self._asked.forget(ref)
        await forget_events(self._server, self._keys, ref, frozenset(ids), None)
        await self._end(ref)
        await self._states.forget_uses(ref)
        await self._log(ref, user_id, name, f"All memories were deleted: {count}", LONG_TERM_MEMORY_TYPE, [], 0)
        return count

    async def finish(self, ref: CubeRef) -> None:
        """End a deletion that somebody died over. Before anybody reads the cube: for them it has happened."""
        if await self._states.deleting(ref):
            await self._end(ref)

    async def _now(self) -> int:
        """Ms since the epoch, by the clock that tells when messages were submitted."""
        seconds, microseconds = await self._server.persistently(lambda: self._server.execute("TIME"))
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _begin(self, ref: CubeRef, memories: Sequence[Memory]) -> None:
        """Take memories out of all that is at hand, and write down that they are to be forgotten."""
        gone, texts = frozenset(each.memory_id for each in memories), [each.text for each in memories]
        await self._outdated(ref, sorted(gone))

        async def without(state: HotState, _: set[str]) -> HotState:
            said = await self._states.said(ref)
            moves = [each for each in await self._states.moves(ref) if each.subject == "memory"]  # a theme's name tells
            changed = {
                "talk": [event for event in state.talk if not _holds(event.text, texts)],
                "gone": [event for event in said if _holds(event.text, texts)],
                "moves": [each for each in moves if each.subject_id not in gone],
                "deleting": sorted({*state.deleting, *gone}),
                "tombstones": sorted(
                    {*gone, *(name for each in memories for name in (*each.said_again, *names_of(each)))}
                ),
            }
            return state.without(gone).model_copy(update=changed)

        await self._states.change(ref, [], without)

    async def _end(self, ref: CubeRef) -> int:
        """Have them forgotten, and the rest computed without them. Returns the size of the working set then."""

        async def computed(state: HotState, _: set[str]) -> HotState:
            return await self._working_sets.recompute(ref, state)

        _, after = await self._states.change(ref, [], computed)
        return len(after.working_set)

    async def _log(
        self,
        ref: CubeRef,
        user_id: str,
        name: str,
        said: str,
        memory_type: str,
        details: list[dict[str, Any]],
        working_set_size: int,
    ) -> None:
        item = ScheduleLogForWebItem(
            user_id=user_id,
            mem_cube_id=name,
            label=_LABEL,
            log_content=f"{said}, as asked",
            from_memory_type=memory_type,
            to_memory_type=DELETED,
            metadata=details,
            current_memory_sizes={"working_memory_size": working_set_size},
        )
        await append_event(self._server, self._keys, self._settings, (ref.user_id, ref.mem_cube_id), item)


async def forget_events(
    server: Server, keys: Keys, ref: CubeRef, memory_ids: Set[str], texts: Sequence[str] | None
) -> None:
    """Delete the events that name these memories, and those of the cube that hold their texts (None: all of it)."""
    own = keys.cube(ref.user_id, ref.mem_cube_id).events
    if texts is None:
        await server.persistently(lambda: server.execute("DEL", own))
    else:
        await _forget(server, own, lambda fields: _names(fields, memory_ids) or _shows(fields, texts))
    await _forget(server, keys.events, lambda fields: _names(fields, memory_ids) or _shows(fields, texts, of=ref))


async def _forget(server: Server, stream: str, is_meant: Callable[[Sequence[str]], bool]) -> None:
    after = "-"
    while True:
        page = Command(("XRANGE", stream, after, "+", "COUNT", _EVENTS_PER_CALL), lambda reply: reply)
        entries = await server.persistently(lambda page=page: server.call(page))  # type: ignore[misc]
        if not entries:
            return
        names = [name for name, fields in entries if is_meant(as_texts(fields))]
        if names:
            await server.persistently(lambda names=names: server.execute("XDEL", stream, *names))  # type: ignore[misc]
        after = f"({as_text(entries[-1][0])}"


def _names(fields: Sequence[str], memory_ids: Set[str]) -> bool:
    return not memory_ids.isdisjoint(_MEMORY_ID.findall(" ".join(fields)))


def _shows(fields: Sequence[str], texts: Sequence[str] | None, *, of: CubeRef | None = None) -> bool:
    """Whether an event shows one of these texts (None: any).

    Args:
        of: only if it is of this cube.
    """
    try:
        event = ScheduleLogForWebItem.from_wire(dict(zip(fields[::2], fields[1::2], strict=True)))
    except InvalidMessage:
        return False
    if of is not None and CubeRef(event.user_id, event.mem_cube_id) != of:
        return False
    if texts is None:
        return True
    shown = [text[:_SHOWN] for text in texts if len(text) >= _PART_OF_A_TURN_CHARACTERS]
    return any(each in event.log_content for each in shown)


def _holds(said: str, texts: Sequence[str]) -> bool:
    """Whether what was said is one of these texts, or a longer turn that one of them is a part of."""
    return any(text == said or (len(text) >= _PART_OF_A_TURN_CHARACTERS and text in said) for text in texts)
