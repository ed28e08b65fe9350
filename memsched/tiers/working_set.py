"""The working set of a cube, kept up to date: what answers use is credited, memories are valued, the policy chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import from_ms
from memsched.memory.search.arguments import SearchArgs, SearchResult
from memsched.memory.search.hybrid import HybridSearch
from memsched.policy.block import BlockLimits
from memsched.policy.running_theme import RUNNING_THEME, vague_request
from memsched.policy.strategy import Candidate, Chosen, CubeMemory, CubeState, WorkingSetPolicy
from memsched.policy.talk import ANSWERS_KEPT, Answered, TalkEvent, exchanges, latest
from memsched.policy.theme import Theme
from memsched.policy.themes import LazyThemes
from memsched.policy.transitions import StandardTransitions, TransitionRules
from memsched.tiers.activation_block import Wanted
from memsched.tiers.cube_cache import CubeCache, CubeCaches, archived_because
from memsched.tiers.hot_state import HotState, HotStates, Prediction, WorkingMemory
from memsched.tiers.upkeep import RESTORABLE, now_of, upkeep_due

Rerank = Callable[[Sequence[TalkEvent], Sequence[Chosen]], Awaitable[Sequence[Chosen]]]

FOUND = 20
"""Memories that the search for a question may credit."""
_LOOKED_AT = 3
"""Candidates by value, as a multiple of the set's size."""
_OF_EACH_VITAL_KIND = 8
"""Candidates of each kind of what is vital, the most valuable and the newest: more than there are places for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """A cube, as a policy sees it."""

    cube: CubeCache
    state: CubeState
    candidates: list[Candidate]


class WorkingSets:
    """The working sets of all cubes.

    Args:
        size: memories in a working set.
        window: questions that are found anew when memories come late.
        rules: say which theme is activated.
        capacity: memories beside the archive; of more, some are to be archived.
        limits: of the activation block.
        rerank: asked for the final order, if given.
    """

    def __init__(
        self,
        states: HotStates,
        cubes: CubeCaches,
        search: HybridSearch,
        policy: WorkingSetPolicy,
        *,
        size: int,
        window: int,
        limits: BlockLimits,
        rules: TransitionRules | None = None,
        capacity: int = 10_000,
        rerank: Rerank | None = None,
    ) -> None:
        self._states = states
        self._cubes = cubes
        self._search = search
        self._policy = policy
        self._size = size
        self._window = window
        self._rules = rules or StandardTransitions()
        self._capacity = capacity
        self._limits = limits
        self._rerank = rerank

    async def update(
        self, ref: CubeRef, marks: Mapping[str, str], events: Sequence[TalkEvent]
    ) -> tuple[HotState, HotState]:
        """Take questions and answers into account, and what is new in the cube. Returns the state before and after.

        Args:
            marks: by message id, the mark of its effect; an event's id is its message's.
        """

        async def compute(state: HotState, known: set[str]) -> HotState:
            fresh = [event for event in events if marks[event.event_id] not in known]
            return await self.recompute(ref, state.with_talk(fresh))

        before, after = await self._states.change(ref, list(marks.values()), compute)
        return before, await self.with_upkeep(ref, before, after)

    async def with_upkeep(self, ref: CubeRef, before: HotState, after: HotState) -> HotState:
        """The state that a change ended in, with what is to be done about its placement.

        Also when the change was made by a run before this one, which may have died before it could say so.
        """
        if after.version != before.version:
            return after
        due = upkeep_due(await self._cubes.current(ref), after, self._capacity)
        return after.model_copy(update={"upkeep": due})

    async def recompute(self, ref: CubeRef, state: HotState) -> HotState:
        """The same state with the log and the working set that follow from its talk and the cube's memories.

        They follow from nothing else. So the outcome does not depend on the order in which things arrived, nor on who
        computes it. The activation block follows on the present one, and so on the passes that there were.
        """
        cube = await self._cubes.current(ref)
        state = await self._credited(ref, cube, state)
        look = look_at(cube, state, self._size, self._rules)
        pinned, others = _pinned_first(look.candidates, cube.pinned(state.placement.pins), self._size)
        left = self._size - len(pinned)
        chosen: Sequence[Chosen] = self._policy.choose(look.state, others, left)[:left] if left else []
        chosen = _with(pinned, chosen)
        if self._rerank is not None and chosen and state.talk:
            chosen = await self._rerank(state.talk, chosen)
        themes = cube.themes(state.log)
        working_set = [
            WorkingMemory.of(
                each.memory, each.score, each.parts, themes.label_of(each.memory.memory_id), sources=[each.source]
            )
            for each in chosen
        ]
        state = state.model_copy(update={"working_set": working_set, "predicted": _still_there(state.predicted, cube)})
        block = Wanted.now(state, cube, themes.unnamed).block_after(state.block, self._limits)
        due = upkeep_due(cube, state, self._capacity)
        return state.model_copy(update={"block": block, "upkeep": due})

    async def predict(self, ref: CubeRef, text: str, at: int, slots: int, session_id: str = "") -> HotState:
        """Have near, in the last places of the set, what the question that somebody is typing will ask for.

        What is typed is nobody's question: it is in no talk and no log, and when the question comes, nothing is left of
        it. Returns the state after.

        Args:
            text: what is typed so far.
            at: when, ms since the epoch. What was typed before the last question, or before what is predicted now, is
                over, and changes nothing.
            session_id: the conversation in which it is typed.
        """
        found = await self._search.search(ref, text, self._size) if slots else []

        async def compute(state: HotState, _: set[str]) -> HotState:
            asked = max((event.at for event in state.talk if event.kind == "question"), default=-1)
            if asked >= at or (state.predicted is not None and state.predicted.at > at):
                return state
            near = {each.memory_id for each in state.working_set[: self._size - slots]}
            chosen = [each for each in found if each.memory.memory_id not in near][:slots]
            memories = [WorkingMemory.of(each.memory, each.score, each.parts, sources=["predicted"]) for each in chosen]
            predicted = Prediction(at=at, size=self._size, memories=memories, session_id=session_id)
            return state.model_copy(update={"predicted": predicted})

        _, after = await self._states.change(ref, [], compute)
        return after

    async def sizes(self, ref: CubeRef) -> Counter[str]:
        """How many memories are not archived, by memory type."""
        return (await self._cubes.current(ref)).sizes

    async def look(self, ref: CubeRef) -> Look:
        """What a policy would be told now."""
        return look_at(await self._cubes.current(ref), await self._states.load(ref), self._size, self._rules)

    async def members(self, ref: CubeRef) -> dict[str, CubeMemory]:
        """The cube's memories, by id."""
        return {each.memory_id: each for each in (await self._cubes.current(ref)).memories}

    async def themes(self, ref: CubeRef) -> list[Theme]:
        """The themes of a cube at the time of its latest message, hottest first; without what may not be near.

        One whose memories are all in the archive is ``archived``.
        """
        cube, state = await self._cubes.current(ref), await self._states.load(ref)
        return themes_of(cube, state, self._rules)

    async def _credited(self, ref: CubeRef, cube: CubeCache, state: HotState) -> HotState:
        """The same state with what the exchanges of its talk used in the log, and only the last of them in the talk."""
        talk = {event.event_id: event for event in state.talk}
        log = {event.event_id: event for event in state.log if event.event_id not in talk}
        for asked, answer in exchanges(state.talk):
            found = talk[asked.event_id] = await self._found(ref, cube, asked)
            if credited := cube.credited(found.hits or [], "" if answer is None else answer.text):
                log[asked.event_id] = Answered(event_id=asked.event_id, at=asked.at, credited=credited)
        kept = sorted(log.values(), key=lambda event: event.order)[-ANSWERS_KEPT:]
        state = state.model_copy(update={"talk": latest(list(talk.values()), self._window), "log": kept})
        if request := request_of(cube, state):  # what its words happen to find says nothing of what it is about
            state = state.model_copy(update={"log": [each for each in kept if each.event_id != request.event_id]})
        return state

    async def _found(self, ref: CubeRef, cube: CubeCache, event: TalkEvent) -> TalkEvent:
        """The event with what search finds for it among the memories of its time."""
        seen = cube.seen_at(event.at)
        if event.hits is not None and event.seen == seen:
            return event
        counts = cube.counts_at(seen[0], stems(event.text))
        # The archive too: what is found there is needed again. And nobody's credit depends on when it was archived.
        args = SearchArgs(until=from_ms(event.at + 1), include_archived=True)
        found = await self._search.search(ref, event.text, FOUND, args=args, counts=counts) if seen[0] else []
        found = [each for each in found if archived_because(each.memory) in ("", *RESTORABLE)]
        return event.model_copy(update={"hits": _hits(found), "seen": seen})


def request_of(cube: CubeCache, state: HotState) -> TalkEvent | None:
    """The vague request that waits for an answer, if there is one: until it has it, the running theme alone counts."""

    def is_clear(asked: TalkEvent) -> bool:
        before = [event for event in state.log if event.order < asked.order]
        return cube.themes(before, cube.known_at(asked.at)).is_clear(asked.text)

    return vague_request(state.talk, is_clear)


def look_at(
    cube: CubeCache,
    state: HotState,
    size: int,
    rules: TransitionRules,
    also: Callable[[CubeMemory], bool] | None = None,
) -> Look:
    """What a policy is told of a cube.

    Args:
        rules: say which theme is activated.
        also: memories that are candidates in any case.
    """
    may = cube.available()
    values = cube.valuation.values(cube.columns(), cube.used(state.log), may, cube.generation)
    if request_of(cube, state):
        values = values.under(RUNNING_THEME)
    relevance: dict[str, dict[str, float]] = {}
    for event in state.talk:
        for memory_id, score in event.hits or () if event.kind == "question" else ():
            relevance.setdefault(memory_id, {})[event.event_id] = score
    themes = cube.themes(state.log)
    hottest = themes.unnamed[0].memory_ids if themes.unnamed else ()
    also_seen = map(cube.ordinal, [*relevance, *hottest, *cube.pinned(state.placement.pins)])
    looked_at = np.zeros(len(cube), dtype=np.bool_)
    looked_at[values.best(_LOOKED_AT * size, may)] = True
    looked_at[np.flatnonzero(may)[-size:]] = True
    looked_at[[each for each in also_seen if each is not None]] = True
    for of_a_kind in cube.vital().values():
        near = np.array([each for each in of_a_kind if may[each]], dtype=np.int64)
        looked_at[near[np.argsort(-values.value[near], kind="stable")[:_OF_EACH_VITAL_KIND]]] = True
        looked_at[near[-_OF_EACH_VITAL_KIND:]] = True
    if also is not None:
        looked_at[[ordinal for ordinal, each in enumerate(cube.memories) if also(each)]] = True
    best_first = values.best(len(cube), looked_at & may)
    nothing: dict[str, float] = {}
    candidates = [
        Candidate(memory, value, parts, relevance.get(memory.memory_id, nothing))
        for value, parts, memory in zip(
            values.value[best_first].tolist(),
            values.parts(best_first),
            map(cube.memories.__getitem__, best_first.tolist()),
            strict=True,
        )
    ]
    present = [memory.memory_id for memory in state.working_set]
    named = LazyThemes(lambda: themes_of(cube, state, rules))
    now = now_of(cube, state)
    return Look(cube, CubeState(cube.memories, state.talk, state.log, present, now, named), candidates)


def themes_of(cube: CubeCache, state: HotState, rules: TransitionRules) -> list[Theme]:
    """The themes of a cube, hottest first, as people may see them."""
    found: list[Theme] = []
    for theme in cube.themes(state.log, now=now_of(cube, state)).standing(rules):
        members = [each for memory_id in theme.memory_ids if (each := cube.memory(memory_id)) is not None]
        near = [each.memory_id for each in members if each.available]
        away = [each.memory_id for each in members if each.archived not in ("", "merged")]
        if near:
            found.append(replace(theme, memory_ids=near))
        elif away:
            found.append(replace(theme, memory_ids=away, state="archived"))
    return found


def _still_there(predicted: Prediction | None, cube: CubeCache) -> Prediction | None:
    """What is predicted, without memories that were deleted, archived or corrected since."""
    if predicted is None:
        return None
    there = [each for each in predicted.memories if (memory := cube.memory(each.memory_id)) and memory.available]
    return predicted.model_copy(update={"memories": there})


def _pinned_first(
    candidates: Sequence[Candidate], pins: Sequence[str], size: int
) -> tuple[list[Chosen], list[Candidate]]:
    """The pinned memories, which are near whatever a policy says, and the other candidates."""
    if not pins:
        return [], list(candidates)
    first = set(pins[:size])
    pinned = [
        Chosen(each.memory, each.value, each.parts, "pinned") for each in candidates if each.memory.memory_id in first
    ]
    return pinned, [each for each in candidates if each.memory.memory_id not in first]


def _with(pinned: Sequence[Chosen], chosen: Sequence[Chosen]) -> list[Chosen]:
    """The chosen memories in their order, and each pinned one before the first of a lower score."""
    found = list(chosen)
    for each in pinned:
        at = next((place for place, other in enumerate(found) if other.score < each.score), len(found))
        found.insert(at, each)
    return found


def _hits(results: Sequence[SearchResult]) -> list[tuple[str, float]]:
    """The ids of what a search found, with scores scaled to 1 for the best."""
    best = max((result.score for result in results), default=0.0) or 1.0
    return [(result.memory.memory_id, round(max(0.0, result.score / best), 6)) for result in results]
