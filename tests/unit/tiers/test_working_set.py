"""The working set follows from the talk and the uses, whoever computes it and in whatever order things arrived."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import stories
from support.memories import FIRST, cube_memory, memory

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchArgs, SearchResult
from memsched.memory.search.bm25 import TermCounts
from memsched.memory.store.changes import Changes
from memsched.memory.store.conditions import Conditions
from memsched.policy.block import BlockLimits
from memsched.policy.ranking import ActivatedFirst, RecentFirst, StandardPolicy
from memsched.policy.strategy import Candidate, Chosen, CubeState, WorkingSetPolicy
from memsched.policy.talk import TalkEvent
from memsched.policy.transitions import StandardTransitions
from memsched.tiers.cube_cache import CubeCaches
from memsched.tiers.explain import Explainer
from memsched.tiers.hot_state import HotState, Prediction, WorkingMemory
from memsched.tiers.moves import Placement
from memsched.tiers.set_changes import set_changes
from memsched.tiers.working_set import WorkingSets, look_at, themes_of

HOME = CubeRef("alice", "home")
NOW = to_ms(FIRST)
CUBE = [
    memory("Anna is allergic to nuts", 0, importance=0.9),
    memory("Rex eats carrots", 1),
    memory("Rex sleeps in the basket", 2),
    memory("Bob repairs motorcycles", 3),
    memory("The lake is frozen", 4),
    memory("We moved to Porto", 5),
    memory("Rex hates the vacuum cleaner", 6),
]


class FakeCube:
    """Store, feed and search of a few memories; ``asked`` are the searches, ``read`` how often all was read."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = {each.memory_id: each for each in memories}
        self.changed: list[str] = []
        self.asked: list[str] = []
        self.read = 0
        self.talk: list[TalkEvent] = []
        self.state = HotState()

    def commit(self, state: HotState) -> HotState:
        """What a pass ended in, as the next one loads it."""
        self.talk += state.new
        return state.model_copy(update={"new": []})

    async def said(self, _: CubeRef) -> list[TalkEvent]:
        return [event.as_said for event in self.talk]

    async def snapshot(self, _: CubeRef, memory_ids: Sequence[str]) -> HotState:
        await asyncio.sleep(0)
        return self.state

    def add(self, *memories: Memory) -> None:
        self.memories.update((each.memory_id, each) for each in memories)
        self.changed += [each.memory_id for each in memories]

    def delete(self, memory_id: str) -> None:
        del self.memories[memory_id]
        self.changed.append(memory_id)

    async def since(self, _: CubeRef, position: str | None) -> Changes:
        ids = None if position is None else frozenset(self.changed[int(position) :])
        return Changes(str(len(self.changed)), ids)

    async def scan(self, _: CubeRef, conditions: Conditions) -> AsyncIterator[tuple[Memory, list[float]]]:
        assert conditions.include_archived
        self.read += 1
        for each in list(self.memories.values()):
            yield each, []

    async def get(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        return {each: self.memories[each] for each in memory_ids if each in self.memories}

    async def search(
        self,
        _: CubeRef,
        query: str,
        top_k: int,
        method: str,
        args: SearchArgs,
        counts: TermCounts,
        windows: Any,
        *,
        links: bool,
    ) -> list[SearchResult]:
        assert not links
        self.asked.append(query)
        asked = set(stems(query))
        assert args.until is not None
        there = {name: each for name, each in self.memories.items() if each.at < args.until}
        common = {name: sum(counts.idf(stem) for stem in asked & set(stems(each.text))) for name, each in there.items()}
        found = sorted((name for name, score in common.items() if score), key=lambda name: (-common[name], name))
        return [SearchResult(self.memories[name], common[name], {}) for name in found[:top_k]]


def working_sets(cube: FakeCube, size: int = 4, policy: Any = None, rerank: Any = None) -> WorkingSets:
    fake: Any = cube
    caches = CubeCaches(fake, fake)
    limits = BlockLimits(60, 4000, 0.4)
    chooser = policy or StandardPolicy()
    return WorkingSets(fake, caches, fake, chooser, size=size, window=5, limits=limits, rerank=rerank)


def question(text: str, at: int = 60) -> TalkEvent:
    return TalkEvent(event_id=f"q{at} {text}", at=NOW + at * 60_000, text=text)


def answer(text: str, at: int) -> TalkEvent:
    return TalkEvent(event_id=f"a{at}", kind="answer", at=NOW + at * 60_000, text=text)


def state(*said: str) -> HotState:
    return HotState().with_talk([question(text, 60 + at) for at, text in enumerate(said)])


async def texts(cube: FakeCube, before: HotState, **more: Any) -> list[str]:
    after = await working_sets(cube, **more).recompute(HOME, before)
    return [each.text for each in after.working_set]


async def test_it_holds_what_was_asked_for_and_what_is_vital() -> None:
    found = await texts(FakeCube(CUBE), state("What does Rex eat?"))

    assert {"Rex eats carrots", "Anna is allergic to nuts"} <= set(found)
    assert len(found) == 4


async def test_of_an_empty_cube_nothing_is_near() -> None:
    assert await texts(FakeCube([]), state("What does Rex eat?")) == []


async def test_a_question_is_always_searched_also_when_the_set_shares_its_words() -> None:
    cube = FakeCube(CUBE)

    await texts(cube, state("What does Rex eat?", "Does Rex eat carrots?"))

    assert cube.asked == ["What does Rex eat?", "Does Rex eat carrots?"]


async def test_what_was_found_once_is_not_looked_for_again() -> None:
    cube = FakeCube(CUBE)
    sets = working_sets(cube)
    after = await sets.recompute(HOME, state("What does Rex eat?"))
    cube.add(memory("Rex eats apples too", 90))

    again = await sets.recompute(HOME, after)

    assert cube.asked == ["What does Rex eat?"], "what was said after the question is no answer to it"
    assert (again.talk, again.log) == (after.talk, after.log)
    assert cube.read == 1, "one change is not worth reading all of the cube again"


async def test_what_comes_late_is_looked_for_again() -> None:
    cube = FakeCube(CUBE)
    sets = working_sets(cube)
    after = await sets.recompute(HOME, state("What does Rex eat?"))
    cube.add(memory("Rex eats eggs, eats and eats", 3))

    assert (await sets.recompute(HOME, after)).log == (
        await working_sets(FakeCube([*CUBE, memory("Rex eats eggs, eats and eats", 3)])).recompute(
            HOME, state("What does Rex eat?")
        )
    ).log
    assert len(cube.asked) == 2


@pytest.mark.parametrize("change", [{"status": "archived"}, {"superseded_by": "another"}])
async def test_what_was_archived_or_corrected_since_leaves(change: dict[str, str]) -> None:
    cube = FakeCube(CUBE)
    sets = working_sets(cube)
    after = await sets.recompute(HOME, state("What does Rex eat?"))
    cube.add(memory("Rex eats carrots", 1, **change))

    near = [each.text for each in (await sets.recompute(HOME, after)).working_set]

    assert "Rex eats carrots" not in near
    cube.add(memory("Rex eats carrots", 1))
    assert "Rex eats carrots" in [each.text for each in (await sets.recompute(HOME, after)).working_set]


async def test_what_was_deleted_leaves() -> None:
    cube = FakeCube(CUBE)
    sets = working_sets(cube, size=20)
    after = await sets.recompute(HOME, state("What does Rex eat?"))
    cube.delete("Rex eats carrots")

    near = [each.text for each in (await sets.recompute(HOME, after)).working_set]

    assert sorted(near) == sorted(each.text for each in CUBE if each.text != "Rex eats carrots")


async def test_of_the_same_words_stored_twice_one_is_enough() -> None:
    cube = FakeCube([*CUBE, memory("Rex eats carrots!", 9), memory("REX eats carrots", 9)])

    found = await texts(cube, state("What does Rex eat?"), size=20)

    assert sum("eats carrots" in text for text in found) == 1


async def test_it_is_never_larger_than_it_may_be() -> None:
    assert len(await texts(FakeCube(CUBE), state("Rex Bob lake Porto vacuum"), size=3)) == 3


async def test_a_policy_of_the_users_own_decides() -> None:
    class Shortest:
        def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
            assert [each.text for each in state.memories] == [each.text for each in CUBE]
            assert {each.memory.text for each in candidates if 1.0 in each.relevance.values()} == {"Rex eats carrots"}
            found = [Chosen(each.memory, -len(each.memory.text), {}) for each in candidates]
            return sorted(found, key=lambda each: -each.score)[:size]

    found = await texts(FakeCube(CUBE), state("Rex eats carrots"), policy=Shortest())

    assert found == sorted(found, key=len)


GOOD = [Chosen(cube_memory("Rex eats carrots", 1), 1.0, {}), Chosen(cube_memory("The lake is frozen", 4), 0.5, {})]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ([GOOD[0], GOOD[0], GOOD[1]], ["Rex eats carrots", "The lake is frozen"]),
        ([Chosen(cube_memory("a stranger's"), 2.0, {}), GOOD[1]], ["The lake is frozen"]),
        ([Chosen(cube_memory("We moved to Lima"), 2.0, {}), GOOD[1]], ["The lake is frozen"]),
        ([Chosen(cube_memory("We moved to Rome"), 2.0, {}), GOOD[1]], ["The lake is frozen"]),
        ([Chosen(cube_memory("We moved to Porto"), 2.0, {}), *GOOD], ["Rex eats carrots", "The lake is frozen"]),
        ([replace(GOOD[0], score=math.nan, parts={"x": math.inf})], ["Rex eats carrots"]),
        ([replace(GOOD[0], memory=cube_memory("Other words", memory_id="Rex eats carrots"))], ["Rex eats carrots"]),
        (iter(GOOD), ["Rex eats carrots", "The lake is frozen"]),
        ([], []),
        (None, None),
        ([None], None),
        (KeyError("x"), None),
    ],
)
async def test_what_a_policy_of_the_users_own_returns_is_checked(choice: Any, expected: list[str] | None) -> None:
    class Own:
        def choose(self, *_: Any) -> Any:
            if isinstance(choice, Exception):
                raise choice
            return choice

    away = [memory("We moved to Lima", 6, status="archived"), memory("We moved to Rome", 6, superseded_by="x")]
    cube = FakeCube([*CUBE, *away])
    pinned = HotState(placement=Placement(pins=["We moved to Porto"]))

    sets = working_sets(cube, size=3, policy=Own())
    found = (await sets.recompute(HOME, pinned)).working_set

    names = [each.text for each in found if each.text != "We moved to Porto"]
    standard = (await working_sets(cube, size=3).recompute(HOME, pinned)).working_set
    assert "We moved to Porto" in {each.text for each in found}
    if expected is None:
        assert found == standard
    else:
        assert names == expected
    assert all(math.isfinite(each.score) for each in found)


async def test_an_order_by_a_model_is_asked_for_once_whoever_changes_the_cube_meanwhile() -> None:
    asked: list[str] = []
    inside = False

    class Contested(FakeCube):
        """Three others write first."""

        async def load(self, _: CubeRef) -> HotState:
            return HotState()

        async def change(self, _: CubeRef, marks: Sequence[str], compute: Any) -> tuple[HotState, HotState]:
            nonlocal inside
            inside = True
            for _attempt in range(4):
                after = await compute(HotState(), set())
            return HotState(), after

    async def rerank(talk: Sequence[TalkEvent], chosen: Sequence[Chosen]) -> Sequence[Chosen]:
        assert not inside
        asked.append(talk[-1].text)
        return chosen[::-1]

    events = [question("Bob", 60), question("Rex", 61)]
    plain = await texts(FakeCube(CUBE), state("Bob", "Rex"))
    sets = working_sets(Contested(CUBE), rerank=rerank)
    _, after = await sets.update(HOME, {event.event_id: event.event_id for event in events}, events)

    assert [each.text for each in after.working_set] == plain[::-1]
    assert asked == ["Rex"]


async def test_an_answer_says_which_of_what_was_found_it_used() -> None:
    talk = [question("Which things does Rex like?"), answer("He sleeps in a basket.", 61)]

    after = await working_sets(FakeCube(CUBE)).recompute(HOME, HotState().with_talk(talk))

    assert [event.credited for event in after.log] == [["Rex sleeps in the basket"]]
    assert after.log[0].event_id == talk[0].event_id


async def test_the_log_goes_further_back_than_the_talk() -> None:
    sets, after = working_sets(FakeCube(CUBE)), HotState()
    for at in range(70):
        after = await sets.recompute(HOME, after.with_talk([question("What does Rex eat?", 60 + at)]))

    assert len(after.talk) == 5
    assert len(after.log) == 64


SAID: list[TalkEvent | Memory] = [
    *CUBE[:4],
    question("What does Rex eat?", 2),
    answer("Carrots, Rex eats carrots.", 3),
    question("Where does Rex sleep?", 4),
    question("Who repairs motorcycles?", 5),
    answer("Bob repairs motorcycles", 6),
    question("Is the lake frozen?", 9),
    memory("Rex eats apples", 7),
]
MONTHS: list[TalkEvent | Memory] = [
    *CUBE,
    *(
        event
        for at in range(30)
        for event in (
            question(f"What of number {at}: does Rex eat, or sleep?", 100 * at),
            answer("One moment.", 100 * at + 1),
            answer(f"Rex {('eats carrots', 'sleeps in the basket')[at % 2]}", 100 * at + 2),
        )
    ),
    *(memory(f"Rex eats number {at}, or sleeps", 100 * at - 3) for at in range(0, 30, 7)),
]


async def end_of(said: Sequence[TalkEvent | Memory], together: int = 1) -> HotState:
    """The state when all of this arrived, so many at a time, and two processes took turns."""
    cube, after = FakeCube([]), HotState()
    sets, others = working_sets(cube, size=3), working_sets(cube, size=3)
    for number in range(0, len(said), together):
        part = said[number : number + together]
        cube.add(*(each for each in part if isinstance(each, Memory)))
        after = after.with_talk([each for each in part if isinstance(each, TalkEvent) for _ in range(2)])
        after = cube.commit(await (others if number % 3 else sets).recompute(HOME, after))
    return after


def same(got: HotState, expected: HotState) -> bool:
    return (got.log, got.talk, got.working_set) == (expected.log, expected.talk, expected.working_set)


@settings(max_examples=15, deadline=None)
@given(st.permutations(SAID), st.integers(1, 4))
def test_the_order_of_arrival_makes_no_difference(arrived: list[TalkEvent | Memory], together: int) -> None:
    assert same(asyncio.run(end_of(arrived, together)), asyncio.run(end_of(SAID)))


async def test_months_may_arrive_in_any_order() -> None:
    questions, answers, memories = (
        [each for each in MONTHS if kind == ("memory" if isinstance(each, Memory) else each.kind)]
        for kind in ("question", "answer", "memory")
    )
    shuffled = Random(4).sample(MONTHS, len(MONTHS))
    expected = await end_of(sorted(MONTHS, key=lambda each: to_ms(each.at) if isinstance(each, Memory) else each.at))

    assert len(expected.log) == 30
    assert [entry.credited[0] for entry in expected.log[4:]] != [expected.log[4].credited[0]] * 26
    for arrived, together in (
        ([*memories, *questions, *answers], 20),
        ([*answers, *questions, *memories], 30),
        (MONTHS[::-1], 20),
        (shuffled, 10),
    ):
        assert same(await end_of(arrived, together), expected)


async def test_what_was_said_before_the_talk_is_read_only_if_it_matters() -> None:
    cube, read = FakeCube(CUBE), 0
    sets, after = working_sets(cube), HotState()

    async def counted(_: CubeRef) -> list[TalkEvent]:
        nonlocal read
        read += 1
        return cube.talk

    cube.said = counted  # type: ignore[method-assign]
    for at in range(20):
        for event in (question("What does Rex eat?", 60 + 2 * at), answer("Carrots", 61 + 2 * at)):
            after = cube.commit(await sets.recompute(HOME, after.with_talk([event])))
        cube.add(memory(f"We saw lake number {at}", 61 + 2 * at))
        after = cube.commit(await sets.recompute(HOME, after))

    assert read == 0
    assert len(cube.asked) == 20
    cube.add(memory("Rex eats a lake", 85))
    await sets.recompute(HOME, after)
    assert (read, len(cube.asked)) == (1, 20 + 7), "only the questions after it are searched for again"


async def test_a_strategy_and_people_are_shown_the_same_themes_in_the_same_states() -> None:
    cube: Any = FakeCube([memory(text, day * 1440) for day, text in [*stories.HOUSE["en"], *stories.RENOVATION["en"]]])

    for rules, state_of_the_first in (
        (StandardTransitions(), "activated"),
        (StandardTransitions(least_heat=99.0), "plaintext"),
    ):
        look = look_at(await CubeCaches(cube, cube).current(HOME), HotState(), 20, rules)

        assert look.state.themes[0].state == state_of_the_first
        assert list(look.state.themes) == themes_of(look.cube, HotState(), rules)


YEARS = st.sampled_from([1, 2, 1969, 1970, 2004, 2025, 2026, 9998, 9999])


@settings(max_examples=30, deadline=None)
@given(st.lists(YEARS, min_size=len(CUBE), max_size=len(CUBE)), st.lists(YEARS, min_size=1, max_size=3))
def test_no_time_is_too_early_too_late_or_too_far_from_the_others(told: list[int], asked: list[int]) -> None:
    def moment(year: int, minute: int) -> datetime:
        return datetime(year, 12, 31, 23, minute, 59, 999_999, tzinfo=UTC)

    cube = FakeCube(
        [
            each.model_copy(update={"at": moment(year, 50 + at)})
            for at, (each, year) in enumerate(zip(CUBE, told, strict=True))
        ]
    )
    said: list[TalkEvent] = []
    for minute, year in enumerate(asked, 57):
        at = to_ms(moment(year, minute))
        said.append(TalkEvent(event_id=f"q{minute}", at=at, text="What does Rex eat?"))
        said.append(TalkEvent(event_id=f"a{minute}", kind="answer", at=at, text="Rex eats carrots"))

    after = asyncio.run(working_sets(cube).recompute(HOME, HotState().with_talk(said)))

    assert len(after.working_set) == 4
    assert all(math.isfinite(each.score) for each in after.working_set)


async def test_any_number_of_vital_memories_leaves_each_kind_its_place() -> None:
    deadlines = [memory(f"The deadline of form {number} is near", number, importance=0.9) for number in range(150)]
    pills = [memory(f"My medication number {number}", 200 + number, importance=0.9) for number in range(150)]
    cube = FakeCube([memory("I am allergic to nuts", -1), *deadlines, *pills])

    after = await working_sets(cube, size=20).recompute(HOME, HotState())

    assert "I am allergic to nuts" in [each.text for each in after.working_set]


class Worth:
    """A strategy, if one memory were worth something else."""

    def __init__(self, strategy: WorkingSetPolicy, memory_id: str, value: float) -> None:
        self.strategy, self.memory_id, self.value = strategy, memory_id, value

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        others = [each for each in candidates if each.memory.memory_id != self.memory_id]
        moved = [*others, *(Candidate(each, self.value) for each in state.memories if each.memory_id == self.memory_id)]
        return self.strategy.choose(state, sorted(moved, key=lambda each: -each.value), size)


@pytest.mark.parametrize("strategy", [StandardPolicy(), RecentFirst(), ActivatedFirst()])
@pytest.mark.parametrize("size", [4, 10, 60])
async def test_a_memory_moves_exactly_where_explain_says(strategy: WorkingSetPolicy, size: int) -> None:
    vital = [memory(f"My allergy number {at}", -at, importance=0.9) for at in range(6)]
    lines = [*stories.HOUSE["en"], *stories.RENOVATION["en"]]
    cube = FakeCube([*CUBE, *vital, *(memory(text, day * 1440) for day, text in lines)])
    asked = question("What does Rex eat?", lines[-1][0] * 1440 + 1)
    before = HotState(placement=Placement(pins=["The lake is frozen"])).with_talk([asked])
    rules = StandardTransitions()

    async def near(strategy: WorkingSetPolicy) -> HotState:
        return await working_sets(cube, size=size, policy=strategy).recompute(HOME, before)

    cube.state = await near(strategy)
    here = {each.memory_id for each in cube.state.working_set}
    fake: Any = cube
    explainer = Explainer(fake, CubeCaches(fake, fake), rules, strategy, size)
    said = set()
    for memory_id in cube.memories:
        found = (await explainer.explain(HOME, memory_id)).memory
        assert found is not None
        assert (found.tier == "WorkingMemory") == (memory_id in here)
        if found.pinned:
            continue
        bound = re.search("(below|above) ([0-9.]+), as others stand", found.outlook)
        said.add(bound[1] if bound else "whatever")
        for value in (float(bound[2]) - 1e-12, float(bound[2]) + 1e-12) if bound else (0.0, 1.0):
            moved = await near(Worth(strategy, memory_id, value))
            shall = value > float(bound[2]) if bound else memory_id in here
            assert (memory_id in {each.memory_id for each in moved.working_set}) == shall, found.outlook
        assert not bound or (bound[1] == "below") == (memory_id in here)
    if size == 10 and isinstance(strategy, StandardPolicy):
        assert said == {"below", "above"}


async def test_what_is_predicted_is_near_and_what_made_way_is_not() -> None:
    cube = FakeCube(CUBE)
    after = await working_sets(cube, size=3).recompute(HOME, HotState())
    there = {each.memory_id for each in after.working_set}
    typed = next(each for each in CUBE if each.memory_id not in there)
    near = WorkingMemory.of(typed, 1.0, {}, sources=["predicted"])
    cube.state = after.model_copy(update={"predicted": {"alice": Prediction(at=0, size=3, memories=[near])}})
    gone = there - {each.memory_id for each in cube.state.near("alice")}
    fake: Any = cube
    explainer = Explainer(fake, CubeCaches(fake, fake), StandardTransitions(), StandardPolicy(), 3)

    for memory_id, tier, words in (
        (typed.memory_id, "WorkingMemory", "is near because"),
        (*gone, "LongTermMemory", "makes way"),
    ):
        found = (await explainer.explain(HOME, memory_id, "alice")).memory
        assert found is not None
        assert (found.tier, words in found.outlook) == (tier, True)
        others = (await explainer.explain(HOME, memory_id, "bob")).memory
        assert others is not None
        assert (others.tier == "WorkingMemory") == (memory_id in there)


async def test_what_is_explained_is_of_one_moment_whatever_is_told_meanwhile() -> None:
    cube: Any = FakeCube(CUBE)
    cube.state = await working_sets(cube).recompute(HOME, state("What does Rex eat?"))
    caches = CubeCaches(cube, cube)
    explainer = Explainer(cube, caches, StandardTransitions(), StandardPolicy(), 4)

    async def tell(number: int) -> None:
        cube.add(memory(f"Late {number}", -number))
        await caches.current(HOME)
        cube.delete(f"Late {number}")
        await caches.current(HOME)

    explained = await asyncio.gather(
        *(each for number in range(20) for each in (explainer.explain(HOME, "Rex eats carrots"), tell(number)))
    )

    for each in explained[::2]:
        assert each.memory.text == "Rex eats carrots"
        assert sum(each.memory.by_mode.values()) == pytest.approx(each.memory.value, abs=1e-6)


async def test_in_a_set_that_was_made_smaller_the_first_pinned_have_half_of_the_places() -> None:
    pins = [each.memory_id for each in CUBE[:4]]
    pinned = HotState(placement=Placement(pins=pins))

    after = await working_sets(FakeCube(CUBE), size=4).recompute(HOME, pinned)

    assert {each.memory_id for each in after.working_set if "pinned" in each.sources} == set(pins[:2])
    assert len(after.working_set) == 4


async def test_who_came_and_who_left_is_told_with_the_reason_and_the_parts() -> None:
    cube = FakeCube([*CUBE, memory("A pink elephant", 7)])
    before = await working_sets(cube, size=2).recompute(HOME, HotState(placement=Placement(pins=["A pink elephant"])))
    cube.delete(next(each.memory_id for each in before.working_set if "value" in each.sources))
    after = await working_sets(cube, size=2).recompute(HOME, before.model_copy(update={"placement": Placement()}))
    pinned = await working_sets(cube, size=2).recompute(
        HOME, after.model_copy(update={"placement": Placement(pins=["We moved to Porto"])})
    )

    assert set_changes(after, after) == {}
    gone, came = (set_changes(before, after)[name] for name in ("went_out", "came_in"))
    assert [each["reason"] for each in gone if each["memory_id"] != "A pink elephant"] == ["it was deleted"]
    assert all(each["to"] == "WorkingMemory" and each["parts"] and each["reason"] for each in came)
    changes = set_changes(after, pinned)
    assert {"it is pinned"} == {each["reason"] for each in changes["came_in"]}
    assert {"others are worth more"} == {each["reason"] for each in changes["went_out"]}
