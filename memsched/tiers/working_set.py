"""The working set of a cube, kept up to date: what answers use is credited, memories are valued, the policy chooses."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import from_ms
from memsched.memory.search.arguments import SearchArgs, SearchResult
from memsched.memory.search.hybrid import HybridSearch
from memsched.policy.block import BlockLimits
from memsched.policy.running_theme import RUNNING_THEME, vague_requests
from memsched.policy.strategy import Candidate, Chosen, CubeMemory, CubeState, WorkingSetPolicy
from memsched.policy.talk import (
    ANSWERS_KEPT,
    Answered,
    TalkEvent,
    basis_of,
    exchanges,
    latest,
    paired,
    seen_part,
)
from memsched.policy.theme import Theme
from memsched.policy.themes import LazyThemes
from memsched.policy.transitions import StandardTransitions, TransitionRules
from memsched.tiers.activation_block import Wanted
from memsched.tiers.checked import CheckedPolicy, CheckedRules
from memsched.tiers.cube_cache import RESTORABLE, CubeCache, CubeCaches, archived_because
from memsched.tiers.hot_state import HotState, HotStates, Prediction, WorkingMemory
from memsched.tiers.moves import most_pins
from memsched.tiers.set_changes import why_not
from memsched.tiers.upkeep import now_of, upkeep_due

Forget = Callable[[CubeRef, Sequence[str]], Awaitable[None]]
Rerank = Callable[[Sequence[TalkEvent], Sequence[Chosen]], Awaitable[Sequence[Chosen]]]

FOUND = 20
"""Memories that the search for a question may credit."""
_TYPISTS = 8
"""Of one cube, for whom something is predicted at once."""
_ORDERS_KEPT = 1000
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


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody has typed so far.

    Args:
        at: when, ms since the epoch. What was typed before the last question, or before what is predicted for them now,
            is over.
        now: whether that is of the clock (``scheduler.predict``), and not the time that a message tells, which may be
            another one: then it is compared with when the last question came, and else with when it says it was asked.
        session_id: the conversation in which it is typed.
    """

    user_id: str
    text: str
    at: int
    now: bool
    session_id: str


class WorkingSets:
    """The working sets of all cubes.

    Args:
        size: memories in a working set.
        window: questions in the talk, which a policy is told what was found for.
        rules: say which theme is activated.
        capacity: memories beside the archive; of more, some are to be archived.
        limits: of the activation block.
        rerank: asked for the final order, if given: once for each question, before the set is changed.
        forget: takes memories of a cube out of where they are kept.
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
        forget: Forget | None = None,
    ) -> None:
        self._states = states
        self._cubes = cubes
        self._search = search
        self._policy = CheckedPolicy(policy)
        self._size = size
        self._window = max(2, window)  # of two questions it is seen whether the first was answered
        self._rules = CheckedRules(rules or StandardTransitions())
        self._capacity = capacity
        self._limits = limits
        self._rerank = rerank
        self._orders: OrderedDict[tuple[CubeRef, str], list[str]] = OrderedDict()
        self._forget = forget

    async def update(
        self, ref: CubeRef, marks: Mapping[str, str], events: Sequence[TalkEvent], emptied: int | None = None
    ) -> tuple[HotState, HotState]:
        """Take questions and answers into account, and what is new in the cube. Returns the state before and after.

        Args:
            marks: by message id, the mark of its effect; an event's id is its message's.
            emptied: when all of the cube was deleted last, as known when the messages were admitted. If it was since,
                they are over. None: whenever it was.
        """

        async def compute(state: HotState, known: set[str]) -> HotState:
            over = emptied not in (None, state.emptied)
            fresh = [event for event in events if marks[event.event_id] not in known and not over]
            if fresh:
                state = state.model_copy(update={"asked": int(time.time() * 1000)})
            return await self.recompute(ref, state.with_talk(fresh))

        if self._rerank is not None and events:
            await self._ask_for_order(ref, events)
        before, after = await self._states.change(ref, list(marks.values()), compute)
        return before, await self.with_upkeep(ref, before, after)

    async def _ask_for_order(self, ref: CubeRef, events: Sequence[TalkEvent]) -> None:
        """Have the latest question's set ordered, and remember it.

        Who waits for a model while others change the cube would lose the race again and again.
        """
        assert self._rerank is not None
        state = (await self._states.load(ref)).with_talk(events)
        _, state, chosen = await self._chosen(ref, state)
        if chosen and (name := _last_question(state)):
            self._orders[ref, name] = [each.memory.memory_id for each in await self._rerank(state.talk, chosen)]
            while len(self._orders) > _ORDERS_KEPT:
                self._orders.popitem(last=False)

    async def _chosen(self, ref: CubeRef, state: HotState) -> tuple[CubeCache, HotState, Sequence[Chosen]]:
        cube = await self._cubes.current(ref)
        state = await self._credited(ref, cube, state)
        look = look_at(cube, state, self._size, self._rules)
        return cube, state, chosen_of(self._policy, look, state, self._size)

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

        A deletion that was begun is ended first, whoever died over it.
        """
        if state.deleting and self._forget is not None:
            await self._forget(ref, state.deleting)
            await self._states.forget_uses(ref, state.deleting)
            state = state.without(frozenset(state.deleting)).model_copy(update={"deleting": []})
        cube, state, chosen = await self._chosen(ref, state)
        if order := self._orders.get((ref, _last_question(state))):
            chosen = _in_order(chosen, order)
        themes = cube.themes(state.log)
        working_set = [
            WorkingMemory.of(
                each.memory, each.score, each.parts, themes.label_of(each.memory.memory_id), sources=[each.source]
            )
            for each in chosen
        ]
        stays = {each.memory_id for each in working_set}
        why_left = {
            each.memory_id: why_not(cube.memory(each.memory_id))
            for each in state.working_set
            if each.memory_id not in stays
        }
        predicted = _still_there(state.predicted, cube)
        state = state.model_copy(update={"working_set": working_set, "left": why_left, "predicted": predicted})
        wanted = Wanted.now(state, cube, themes.unnamed)
        block = wanted.block_after(state.block, self._limits)
        salt = "" if wanted.takes_back(state.block, block) else state.salt
        before = state.block_before if block == state.block else [each.memory_id for each in state.block]
        due = upkeep_due(cube, state, self._capacity)
        return state.model_copy(update={"block": block, "block_before": before, "salt": salt, "upkeep": due})

    async def predict(self, ref: CubeRef, typed: Typed, slots: int) -> HotState:
        """Have near, in the last places of the set, what the question that somebody is typing will ask for.

        What is typed is nobody's question: it is in no talk and no log, and when the question comes, nothing is left of
        it. Returns the state after.
        """
        found = await self._search.search(ref, typed.text, self._size) if slots else []

        async def compute(state: HotState, _: set[str]) -> HotState:
            asked = [event.at for event in state.talk if event.kind == "question"]
            over = typed.at <= state.asked if typed.now else typed.at <= max(asked, default=typed.at - 1)
            before = state.predicted.get(typed.user_id)
            if over or (before is not None and before.at > typed.at):
                return state
            near = {*state.deleting, *(each.memory_id for each in state.working_set[: self._size - slots])}
            chosen = [each for each in found if each.id not in near][:slots]
            memories = [WorkingMemory.of(each.item, each.points, each.parts, sources=["predicted"]) for each in chosen]
            prediction = Prediction(at=typed.at, size=self._size, memories=memories, session_id=typed.session_id)
            others = {name: each for name, each in state.predicted.items() if name != typed.user_id}
            kept = dict([*others.items()][1 - _TYPISTS :])
            there = _still_there({**kept, typed.user_id: prediction}, await self._cubes.current(ref))  # since then
            return state.model_copy(update={"predicted": there})

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
        """The same state with what each exchange used in the log, and only the last of them in the talk.

        What was said before the talk is read only if it matters, and searched for again only where there is something
        else to be found now, or another answer.
        """
        talk, log = state.talk, {entry.event_id: entry for entry in state.log}
        if _reaches_back(cube, state):
            said = [event for event in await self._states.said(ref) if event not in state.gone]
            talk = paired([*state.new, *said, *(event for event in state.talk if event not in state.new)])
            there = {event.event_id for event in talk}
            for name in log.keys() - there:  # nobody can pair these again
                log[name] = log[name].model_copy(update={"basis": ""})
        log = {name: entry for name, entry in log.items() if name not in {event.event_id for event in talk}}
        entries = {entry.event_id: entry for entry in state.log}
        at_hand = {event.event_id for event in (*state.talk, *latest(talk, self._window))}
        found: dict[str, TalkEvent] = {}
        for asked, answer in exchanges(talk):
            name, basis = asked.event_id, basis_of(cube.seen_at(asked.at), answer)
            entry = entries.get(name)
            is_open = answer is None and entry is not None and not entry.credited  # it may not be vague any more
            if entry is None or entry.basis != basis or name in at_hand or is_open:
                found[name] = await self._found(ref, cube, asked)
                credited = cube.credited(found[name].hits or [], "" if answer is None else answer.text)
                entry = Answered(event_id=name, at=asked.at, credited=credited, basis=basis)
            log[name] = entry
        kept = sorted(log.values(), key=lambda entry: entry.order)[-ANSWERS_KEPT:]
        last = latest([found.get(event.event_id) or event.as_said for event in talk], self._window)
        state = state.model_copy(update={"talk": last, "log": kept})
        requests = {each.event_id for each in _requests_of(cube, talk, kept)}
        kept = [entry.without(entry.credited) if entry.event_id in requests else entry for entry in kept]
        return state.model_copy(update={"log": kept})

    async def _found(self, ref: CubeRef, cube: CubeCache, event: TalkEvent) -> TalkEvent:
        """The event with what search finds for it among the memories of its time."""
        seen = cube.seen_at(event.at)
        if event.hits is not None and event.seen == seen:
            return event

        async def search() -> list[tuple[str, float]]:
            known = cube.known_at(event.at)
            counts = cube.counts_at(known, stems(event.text))
            # The archive too: what is found there is needed again. And nobody's credit depends on when it was archived.
            args = SearchArgs(until=from_ms(event.at + 1), include_archived=True)
            windows = cube.windows_at(known)
            # Without links: they would have to be known as they were then.
            found = (
                await self._search.search(ref, event.text, FOUND, "hybrid", args, counts, windows, links=False)
                if known
                else []
            )
            return _hits([each for each in found if archived_because(each.item) in ("", *RESTORABLE)])

        return event.model_copy(update={"hits": await cube.hits(event, search), "seen": seen})


def _reaches_back(cube: CubeCache, state: HotState) -> bool:
    """Whether exchanges before the talk may be others now: something new was said before the end, or answers none of
    the talk's questions; or what there was to be found for them has changed.
    """
    new, there = ({event.event_id for event in events} for events in (state.new, state.talk))
    before = [event.order for event in state.talk if event.event_id not in new]
    last = max([*before, *(entry.order for entry in state.log[-1:])], default=None)
    if last is not None and any(event.order < last for event in state.new):
        return True
    if any(asked.kind == "answer" and asked.event_id in new for asked, _ in exchanges(state.talk)):
        return True
    return any(
        entry.basis and entry.event_id not in there and not entry.basis.startswith(seen_part(cube.seen_at(entry.at)))
        for entry in state.log
    )


def request_of(cube: CubeCache, state: HotState) -> TalkEvent | None:
    """The vague request that waits for an answer, if there is one: until it has it, the running theme alone counts."""
    last = max(state.talk, key=lambda event: event.order, default=None)
    requests = _requests_of(cube, state.talk, state.log) if last is not None and last.kind == "question" else []
    return next((each for each in requests if each == last), None)


def _requests_of(cube: CubeCache, talk: Sequence[TalkEvent], log: Sequence[Answered]) -> list[TalkEvent]:
    """The vague requests in a talk that nobody answered, also those before the last."""

    def is_clear(asked: TalkEvent, requests: Set[str]) -> bool:
        before = [entry for entry in log if entry.order < asked.order and entry.event_id not in requests]
        return cube.themes(before, cube.known_at(asked.at)).is_clear(asked.text)

    return vague_requests(talk, log, is_clear)


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


def chosen_of(policy: CheckedPolicy, look: Look, state: HotState, size: int) -> list[Chosen]:
    """What a policy chooses of the candidates of a look, and the pinned memories before it."""
    pinned, others = _pinned_first(look.candidates, look.cube.pinned(state.placement.pins), size)
    left = size - len(pinned)
    near = _may_be_chosen(look.cube, {each.memory.memory_id for each in pinned})
    return _with(pinned, policy.choose(look.state, others, left, near) if left else [])


def _last_question(state: HotState) -> str:
    return next((event.event_id for event in reversed(state.talk) if event.kind == "question"), "")


def _in_order(chosen: Sequence[Chosen], order: Sequence[str]) -> list[Chosen]:
    """Those that are in the order by it, each in the place of one of them; the others where they are."""
    places = {memory_id: place for place, memory_id in enumerate(order)}
    ordered = iter(
        sorted(
            (each for each in chosen if each.memory.memory_id in places),
            key=lambda each: places[each.memory.memory_id],
        )
    )
    return [next(ordered) if each.memory.memory_id in places else each for each in chosen]


def _still_there(predicted: Mapping[str, Prediction], cube: CubeCache) -> dict[str, Prediction]:
    """What is predicted, without memories that were deleted, archived or corrected since."""

    def there(each: WorkingMemory) -> bool:
        memory = cube.memory(each.memory_id)
        return memory is not None and memory.available

    return {
        name: each.model_copy(update={"memories": [*filter(there, each.memories)]}) for name, each in predicted.items()
    }


def _pinned_first(
    candidates: Sequence[Candidate], pins: Sequence[str], size: int
) -> tuple[list[Chosen], list[Candidate]]:
    """The pinned memories, which are near whatever a policy says, and the other candidates.

    In a set that was made smaller since, those that were pinned last compete by their value.
    """
    if not pins:
        return [], list(candidates)
    first = set(pins[: most_pins(size)])
    pinned = [
        Chosen(each.memory, each.value, each.parts, "pinned") for each in candidates if each.memory.memory_id in first
    ]
    return pinned, [each for each in candidates if each.memory.memory_id not in first]


def _may_be_chosen(cube: CubeCache, pinned: Set[str]) -> Callable[[str], CubeMemory | None]:
    may = cube.available()

    def near(memory_id: str) -> CubeMemory | None:
        ordinal = cube.ordinal(memory_id)
        return None if ordinal is None or not may[ordinal] or memory_id in pinned else cube.memories[ordinal]

    return near


def _with(pinned: Sequence[Chosen], chosen: Sequence[Chosen]) -> list[Chosen]:
    """The chosen memories in their order, and each pinned one before the first of a lower score."""
    found = list(chosen)
    for each in pinned:
        at = next((place for place, other in enumerate(found) if other.score < each.score), len(found))
        found.insert(at, each)
    return found


def _hits(results: Sequence[SearchResult]) -> list[tuple[str, float]]:
    """The ids of what a search found, with points scaled to 1 for the best."""
    best = max((result.points for result in results), default=0.0) or 1.0
    return [(result.id, round(max(0.0, result.points / best), 6)) for result in results]
