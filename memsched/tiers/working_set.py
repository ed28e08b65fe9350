"""The working set of a cube, kept up to date: what the talk needs is searched for, and the policy chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.store import MemoryStore
from memsched.policy.selection import VITAL_IMPORTANCE, Selection
from memsched.policy.strategy import Chosen, WorkingSetPolicy
from memsched.policy.talk import TalkEvent
from memsched.tiers.hot_state import HotState, HotStates, WorkingMemory

Rerank = Callable[[Sequence[TalkEvent], Sequence[Chosen]], Awaitable[Sequence[Chosen]]]


class WorkingSets:
    """The working sets of all cubes.

    Args:
        size: memories in a working set.
        window: events of the talk that count.
        rerank: asked for the final order, if given.
    """

    def __init__(
        self,
        states: HotStates,
        store: MemoryStore,
        search: HybridSearch,
        terms: TermStatistics,
        policy: WorkingSetPolicy,
        *,
        size: int,
        window: int,
        rerank: Rerank | None = None,
    ) -> None:
        self._states = states
        self._store = store
        self._search = search
        self._terms = terms
        self._policy = policy
        self._size = size
        self._window = window
        self._rerank = rerank

    async def update(
        self, ref: CubeRef, marks: Mapping[str, str], events: Sequence[TalkEvent], *, refresh: bool = False
    ) -> tuple[HotState, HotState]:
        """Take events of the talk into account. Returns the state before and after.

        Args:
            marks: by message id, the mark of its effect; an event's id is its message's.
            refresh: search again for all of the talk, because there are new memories.
        """

        async def compute(state: HotState, known: set[str]) -> HotState:
            fresh = [event for event in events if marks[event.event_id] not in known]
            state = state.with_talk(fresh, self._window)
            return await self.recompute(ref, state.without_hits() if refresh else state)

        return await self._states.change(ref, list(marks.values()), compute)

    async def recompute(self, ref: CubeRef, state: HotState) -> HotState:
        """The same state with the working set that follows from its talk and uses, and from nothing else.

        The talk is gone through from its oldest event, as if each had just arrived. So the outcome does not depend
        on the order in which they did arrive, nor on who computes it.
        """
        important = await self._store.important(ref, VITAL_IMPORTANCE, self._size)
        found_before = [memory_id for event in state.talk for memory_id, _ in event.hits or ()]
        known = {memory.memory_id: memory for memory in important}
        known |= await self._store.get(ref, [*found_before, *state.uses])
        selection = Selection(
            self._policy,
            near=[*important, *(known[memory_id] for memory_id in state.uses if memory_id in known)],
            uses=state.uses,
            present=[memory.memory_id for memory in state.working_set],
            counts=await self._terms.counts(ref, [stem for event in state.talk for stem in stems(event.text)]),
            size=self._size,
        )
        for event in state.talk:
            if selection.cover(event):
                continue
            if event.hits is None:
                found = await self._search.search(ref, event.text, self._size)
                known.update((result.memory.memory_id, result.memory) for result in found)
                event = event.model_copy(update={"hits": _hits(found)})  # noqa: PLW2901
            selection.find(event, [known[memory_id] for memory_id, _ in event.hits or () if memory_id in known])
        chosen: Sequence[Chosen] = selection.chosen
        if self._rerank is not None and chosen and selection.talk:
            chosen = await self._rerank(selection.talk, chosen)
        working_set = [WorkingMemory.of(each.memory, each.score, each.parts) for each in chosen]
        return state.model_copy(update={"talk": selection.talk, "working_set": working_set})


def _hits(results: Sequence[SearchResult]) -> list[tuple[str, float]]:
    """The ids of what a search found, with scores scaled to 1 for the best."""
    best = max((result.score for result in results), default=0.0) or 1.0
    return [(result.memory.memory_id, round(max(0.0, result.score / best), 6)) for result in results]
