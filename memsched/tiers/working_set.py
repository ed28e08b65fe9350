"""Keeping a working set: what the talk needs is looked for, unless the set has it, and the policy chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from memsched.memory.access.cubes import CubeRef
from memsched.memory.model import Memory
from memsched.memory.search.bm25 import TermCounts, stems
from memsched.policy.strategy import Candidate, Chosen, CubeState, TalkEvent, WorkingSetPolicy
from memsched.tiers.hot_state import HotState, HotStates, WorkingMemory

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import HybridSearch
    from memsched.memory.search.term_statistics import Terms
    from memsched.memory.store.store import MemoryStore

Rerank = Callable[[Sequence[TalkEvent], Sequence[Chosen]], Awaitable[Sequence[Chosen]]]

_COVERED = 0.8
"""Share of a query's words, by their weight, that must occur in what earlier ones brought in."""
_VITAL = 0.8
"""Importance from which a memory may enter whatever the talk is about: allergies, illness, such things."""


class WorkingSets:
    """Brings the working set of a cube up to date."""

    def __init__(
        self,
        states: HotStates,
        store: MemoryStore,
        search: HybridSearch,
        terms: Terms,
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
        """Take events of the talk into account; gives the state before and after.

        marks: by message id, the mark of its effect; an event's id is its message's.
        refresh: look again for all of the talk, because there are new memories.
        """

        async def compute(state: HotState, known: set[str]) -> HotState:
            fresh = [event for event in events if marks[event.event_id] not in known]
            state = state.with_talk(fresh, self._window)
            if refresh:
                state = state.model_copy(
                    update={"talk": [event.model_copy(update={"hits": None}) for event in state.talk]}
                )
            return await self.recompute(ref, state)

        return await self._states.change(ref, list(marks.values()), compute)

    async def recompute(self, ref: CubeRef, state: HotState) -> HotState:
        """The same state with the working set that follows from its talk and uses, and from nothing else.

        The talk is gone through from its oldest event, as if each had just arrived. So the outcome does not depend
        on the order in which they did arrive, nor on who computes it.
        """
        counts = await self._terms.counts(ref, [stem for event in state.talk for stem in stems(event.text)])
        near = {memory.memory_id: memory for memory in await self._store.important(ref, _VITAL, self._size)}
        asked = [memory_id for event in state.talk for memory_id, _ in event.hits or ()]
        known = near | await self._store.get(ref, [*asked, *state.uses])
        near |= {memory_id: known[memory_id] for memory_id in state.uses if memory_id in known}
        fold = _Fold(self._policy, state, near, self._size)
        for event in state.talk:
            words = stems(event.text)
            if fold.chosen and covers(words, fold.memories(), counts):
                fold.cover(event, _overlaps(words, fold.memories(), counts))
                continue
            if event.hits is None:
                results = await self._search.search(ref, event.text, self._size)
                best = max((result.score for result in results), default=0.0) or 1.0
                hits = [(result.memory.memory_id, round(max(0.0, result.score / best), 6)) for result in results]
                known.update((result.memory.memory_id, result.memory) for result in results)
                event = event.model_copy(update={"hits": hits})  # noqa: PLW2901
            fold.find(event, [known[memory_id] for memory_id, _ in event.hits or () if memory_id in known])
        chosen: Sequence[Chosen] = fold.chosen if fold.talk else fold.choose()
        if self._rerank is not None and chosen and fold.talk:
            chosen = await self._rerank(fold.talk, chosen)
        working_set = [WorkingMemory.of(each.memory, each.score, each.parts) for each in chosen]
        return state.model_copy(update={"talk": fold.talk, "working_set": working_set})


class _Fold:
    """The working set while the talk is gone through."""

    def __init__(self, policy: WorkingSetPolicy, state: HotState, near: dict[str, Memory], size: int) -> None:
        self._policy = policy
        self._state = state
        self._size = size
        self._candidates = dict(near)
        self._relevance: dict[str, dict[str, float]] = {}
        self._covered: set[str] = set()
        self.talk: list[TalkEvent] = []
        self.chosen: list[Chosen] = []

    def memories(self) -> list[Memory]:
        return [each.memory for each in self.chosen]

    def cover(self, event: TalkEvent, shares: Sequence[tuple[str, float]]) -> None:
        """The set has what the event needs: what it shares with it counts, nothing new comes in."""
        self._covered.add(event.event_id)
        self._add(event, shares)

    def find(self, event: TalkEvent, memories: Sequence[Memory]) -> None:
        self._candidates.update((memory.memory_id, memory) for memory in memories)
        self._add(event, event.hits or ())

    def _add(self, event: TalkEvent, scores: Sequence[tuple[str, float]]) -> None:
        self.talk.append(event)
        for memory_id, score in scores:
            self._relevance.setdefault(memory_id, {})[event.event_id] = score
        self.chosen = self.choose()

    def choose(self) -> list[Chosen]:
        uses = self._state.uses
        times = [event.at for event in self.talk] + [use.times[-1][0] for use in uses.values() if use.times]
        present = [memory.memory_id for memory in self._state.working_set]
        cube = CubeState(self.talk, frozenset(self._covered), uses, present, max(times, default=0))
        candidates = [
            Candidate(memory, self._relevance.get(memory_id, {}))
            for memory_id, memory in sorted(self._candidates.items())
            if memory.status == "activated" and memory.superseded_by is None
        ]
        return self._each_once(self._policy.choose(cube, candidates, len(candidates)))[: self._size]

    @staticmethod
    def _each_once(chosen: Sequence[Chosen]) -> list[Chosen]:
        """Two workers may have stored the same text at once: until mem_organize merges them, one is enough."""
        by_text: dict[str, Chosen] = {}
        for each in chosen:
            by_text.setdefault(each.memory.content_hash or each.memory.memory_id, each)
        return list(by_text.values())


def covers(words: Sequence[str], memories: Sequence[Memory], counts: TermCounts) -> bool:
    """Whether memories hold nearly all of what a query asks for, its rare words above all."""
    weights = counts.idfs(set(words))
    known = {stem for memory in memories for stem in stems(memory.indexed_text)}
    return sum(weight for stem, weight in weights.items() if stem in known) >= _COVERED * sum(weights.values())


def _overlaps(words: Sequence[str], memories: Sequence[Memory], counts: TermCounts) -> list[tuple[str, float]]:
    """The memories that share words with a query, with the share of its weight."""
    weights = counts.idfs(set(words))
    total = sum(weights.values()) or 1.0
    shares = []
    for memory in memories:
        share = sum(weights.get(stem, 0.0) for stem in set(stems(memory.indexed_text))) / total
        if share > 0:
            shares.append((memory.memory_id, round(share, 6)))
    return sorted(shares, key=lambda each: (-each[1], each[0]))
