"""Where something was changed: the turns whose windows are to be computed anew, and who spoke there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.windows import Windows
from memsched.memory.model import Memory, folded
from memsched.memory.search.constants import REACH
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore

_TURNS_AT_ONCE = 128

Tell = Callable[[int, int], None]


class Places:
    """The places of memories that were copied, changed or deleted. Windows there follow from what is stored then.

    Args:
        store: of the collection that is written to.
        fence: awaited before each write; raises if it is not ours to do any more.
    """

    def __init__(self, store: MemoryStore, fence: Callable[[], Awaitable[None]] | None = None) -> None:
        self._store = store
        self._windows = Windows(store)
        self._fence = fence
        self._sessions: dict[CubeRef, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        self._speakers: dict[CubeRef, set[str]] = defaultdict(set)
        self.settled = 0

    def add(self, memory: Memory) -> None:
        if memory.session_id:
            self._sessions[memory.ref][memory.session_id].add(memory.turn)
        if memory.speaker:
            self._speakers[memory.ref].add(folded(memory.speaker))

    async def settle(self, tell: Tell | None = None) -> None:
        """Bring the windows there and around up to date. May be called again when it has failed, and goes on."""
        done, total = 0, sum(len(turns) for sessions in self._sessions.values() for turns in sessions.values())
        for ref in list(self._sessions):
            sessions = self._sessions[ref]
            turns = ((session, turn) for session in list(sessions) for turn in sorted(sessions[session]))
            while part := list(islice(turns, _TURNS_AT_ONCE)):
                there = await self._store.at_places(ref, _around(part), None)
                if self._fence is not None:
                    await self._fence()
                await self._windows.settle(ref, [hit.memory() for hit in there])
                for session, turn in part:
                    sessions[session].discard(turn)
                done += len(part)
                self.settled += len(part)
                if tell is not None:
                    tell(done, total)
            del self._sessions[ref]

    async def count_speakers(self, terms: TermStatistics, tell: Tell) -> None:
        """Have it known how many memories are whose, also in cubes that were counted before anybody asked for it."""
        total = len(self._speakers)
        for done, ref in enumerate(list(self._speakers), 1):

            async def count(speaker: str, ref: CubeRef = ref) -> int:
                return await self._store.count(ref, Conditions(speaker=[speaker], include_archived=True))

            await terms.recount_speakers(ref, self._speakers[ref], count)
            del self._speakers[ref]
            tell(done, total)


def _around(turns: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    """These turns, and those whose windows they are in, by session."""
    around: dict[str, set[int]] = defaultdict(set)
    for session, turn in turns:
        around[session].update(range(turn - REACH, turn + REACH + 1))
    return around
