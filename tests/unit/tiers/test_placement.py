"""Where memories stand follows from the cube and its log, whenever it was decided, and however often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import stories
from support.memories import FIRST, memory, said

from memsched.errors import MemoryPinned
from memsched.handlers.follow_ups import upkeep_after
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, from_ms, to_ms
from memsched.policy.ranking import StandardPolicy
from memsched.policy.talk import Answered, TalkEvent
from memsched.policy.transitions import DAY_MS, Archiving, StandardTransitions, Standing, ThemeHistory
from memsched.tiers.checked import CheckedRules
from memsched.tiers.cube_cache import CubeCache
from memsched.tiers.explain import Explainer
from memsched.tiers.hot_state import HotState, Use
from memsched.tiers.moves import MOVES_DECIDED, MOVES_KEPT, ActivatedTheme, Move, Placement
from memsched.tiers.placement import Placements, activated_memories
from memsched.tiers.upkeep import upkeep_due

HOME = CubeRef("alice", "home")
RULES = StandardTransitions(archive_after_days=20)
DAY = 24 * 60


class FakeCube:
    """Store, hot state and cache of one cube; it may die before it has done what it wrote down."""

    def __init__(self) -> None:
        self.memories: dict[str, Memory] = {}
        self.state = HotState()
        self.kept: list[Move] = []
        self.marks: set[str] = set()
        self.dies = False

    async def current(self, _: CubeRef) -> CubeCache:
        cube = CubeCache()
        cube.put(self.memories.values())
        return cube

    async def get(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        return {each: self.memories[each] for each in memory_ids if each in self.memories}

    async def patch(self, _: CubeRef, changes: Mapping[str, Mapping[str, Any]]) -> None:
        if self.dies:
            raise ConnectionError
        for memory_id, fields in changes.items():
            given = {name: from_ms(value) if name.endswith("_at") else value for name, value in fields.items()}
            self.memories[memory_id] = self.memories[memory_id].model_copy(update=given)

    async def load(self, _: CubeRef) -> HotState:
        return self.state

    async def snapshot(self, _: CubeRef, memory_ids: Sequence[str]) -> HotState:
        return self.state

    async def moves(self, _: CubeRef) -> list[Move]:
        return self.kept

    async def uses(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, Use]:
        return {}

    async def recompute(self, _: CubeRef, state: HotState) -> HotState:
        return state

    async def change(
        self, _: CubeRef, marks: Sequence[str], compute: Callable[[HotState, set[str]], Awaitable[HotState]]
    ) -> tuple[HotState, HotState]:
        before = self.state
        if not marks or not self.marks.issuperset(marks):
            self.state = await compute(before, set())
            self.kept = self.state.moves if self.state.moves is not None else self.kept
            self.state = self.state.model_copy(update={"moves": None})
            self.marks.update(marks)
        return before, self.state

    @property
    def end(self) -> tuple[dict[str, tuple[str, str]], list[ActivatedTheme]]:
        statuses = {name: (each.status, each.archived_because) for name, each in self.memories.items()}
        return statuses, self.state.placement.activated


def placements(cube: FakeCube, rules: StandardTransitions = RULES) -> Placements:
    fake: Any = cube
    return Placements(fake, fake, fake, fake, rules, fake, fake, working_set_size=4)


Step = Memory | Answered


def talk_of(steps: Sequence[Step]) -> list[TalkEvent]:
    return [
        TalkEvent(event_id=each.event_id, at=each.at, text=each.credited[0])
        for each in steps
        if isinstance(each, Answered)
    ]


async def play(steps: Sequence[Step], rests: set[int], chance: random.Random | None = None) -> FakeCube:
    """The steps; after those in ``rests``, and at the end, moves are decided."""
    cube, told = FakeCube(), list[Step]()
    for number, step in enumerate(steps):
        told.append(step)
        if isinstance(step, Memory):
            cube.memories[step.memory_id] = step
        else:
            log = sorted([*cube.state.log, step], key=lambda event: event.order)
            cube.state = cube.state.model_copy(update={"log": log, "talk": talk_of(told)[-3:]})
        due = upkeep_due(await cube.current(HOME), cube.state, 1000)
        if number in rests or number == len(steps) - 1 or (due and due.needed):
            needed = due.needed if due else {}
            for name in [f"m{number}"] * (chance.randint(1, 2) if chance else 1):
                await placements(cube).decide(HOME, {name: name}, needed)
    return cube


def weeks() -> list[Step]:
    lines = [*stories.HOUSE["en"], *stories.RENOVATION["en"]]
    told: list[Step] = [memory(text, day * DAY) for day, text in lines]
    asked = [(24, lines[3][1]), (26, lines[1][1])]
    used = [
        Answered(event_id=f"q{day}", at=to_ms(FIRST) + day * DAY_MS, credited=[memory_id]) for day, memory_id in asked
    ]
    return sorted([*told, *used], key=lambda each: to_ms(each.at) if isinstance(each, Memory) else each.at)


def test_the_end_is_the_same_whenever_moves_were_decided() -> None:
    steps = weeks()

    async def run() -> None:
        expected = (await play(steps, set())).end
        assert ("archived", "cold") in expected[0].values()
        assert len(expected[1]) == 1
        for seed in range(12):
            chance = random.Random(seed)
            rests = {number for number in range(len(steps)) if chance.random() < 0.4}
            assert (await play(steps, rests, chance)).end == expected, f"seed {seed}"

    asyncio.run(run())


def test_the_order_in_which_things_arrive_makes_no_difference() -> None:
    async def run() -> None:
        expected = (await play(weeks(), set())).end
        for seed in range(6):
            steps = weeks()
            random.Random(seed).shuffle(steps)
            assert (await play(steps, set())).end == expected, f"seed {seed}"

    asyncio.run(run())


def test_who_dies_between_writing_moves_down_and_doing_them_does_them_when_run_again() -> None:
    async def run() -> None:
        whole = await play(weeks(), set())
        cube = FakeCube()
        cube.memories = {each.memory_id: each for each in weeks() if isinstance(each, Memory)}
        log = [each for each in weeks() if isinstance(each, Answered)]
        cube.state = HotState(log=log, talk=talk_of(log))
        cube.dies = True
        try:
            await placements(cube).decide(HOME, {"m": "m"}, {})
        except ConnectionError:
            cube.dies = False
        assert cube.end[0] != whole.end[0]

        made, _ = await placements(cube).decide(HOME, {"m": "m"}, {})

        assert cube.end == whole.end
        assert made == cube.kept
        assert [move.subject for move in made].count("theme") == 3
        again, _ = await placements(cube).decide(HOME, {"n": "n"}, {})
        assert again == []

    asyncio.run(run())


def test_one_message_decides_so_many_moves_and_leaves_the_rest_to_the_next() -> None:
    async def run() -> None:
        cube = FakeCube()
        many = range(MOVES_DECIDED + MOVES_KEPT)
        cube.memories = {f"old {number}": memory(f"old {number}", number) for number in many}
        cube.memories["new"] = memory("new", 40 * DAY)
        rules = replace(RULES, least_heat=99.0)  # no theme is activated
        made, more = await placements(cube, rules).decide(HOME, {"m": "m"}, {})
        assert (len(made), more) == (MOVES_DECIDED, True)
        assert [each.subject_id for each in cube.kept] == [each.subject_id for each in made]
        made, more = await placements(cube, rules).decide(HOME, {"n": "n"}, {})
        assert (len(made), more) == (MOVES_KEPT, True)
        made, more = await placements(cube, rules).decide(HOME, {"o": "o"}, {})
        assert (len(made), more) == (0, False)
        assert len(cube.kept) == MOVES_KEPT
        assert [name for name, (status, _) in cube.end[0].items() if status == "activated"] == ["new"]

    asyncio.run(run())


def test_rules_of_ones_own_decide_what_must_stay() -> None:
    class KeepOld(StandardTransitions):
        def must_stay(self, standing: Any) -> str:
            return "it is ours" if standing.memory.text.startswith("ours") else super().must_stay(standing)

    async def run() -> None:
        cube = FakeCube()
        texts = ["ours: the rules of the house", "a thing of no matter"]
        cube.memories = {text: memory(text, 0) for text in texts} | {"new": memory("new", 40 * DAY)}
        await placements(cube, KeepOld(archive_after_days=20)).decide(HOME, {"m": "m"}, {})
        assert [status for status, _ in cube.end[0].values()] == ["activated", "archived", "activated"]

    asyncio.run(run())


def test_the_activated_memories_are_those_of_the_activated_theme_that_may_be_near() -> None:
    async def run() -> None:
        cube = FakeCube()
        lines = [*stories.HOUSE["en"], *stories.RENOVATION["en"]]
        cube.memories = {text: memory(text, day * DAY) for day, text in lines}
        cache = await cube.current(HOME)
        matters = [text for _, text in stories.RENOVATION["en"] if text not in stories.CHATTER]
        assert activated_memories(cache, HotState(), RULES) == matters
        cache.put([cube.memories[matters[0]].model_copy(update={"status": "archived"})])
        assert activated_memories(cache, HotState(), RULES) == matters[1:]
        assert activated_memories(cache, HotState(), replace(RULES, least_heat=99.0)) == []

    asyncio.run(run())


MOMENTS = st.one_of(
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1970, 2004, 2026)]),
    st.just(datetime.max.replace(tzinfo=UTC)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(MOMENTS, min_size=4, max_size=4), st.lists(MOMENTS, max_size=2))
def test_no_time_is_too_early_too_late_or_too_far_from_the_others(told: list[datetime], asked: list[datetime]) -> None:
    lines = [text for _, text in stories.HOUSE["en"]]

    async def run() -> None:
        cube = FakeCube()
        cube.memories = {text: memory(text, at=told[number // 3 % len(told)]) for number, text in enumerate(lines)}
        log = [Answered(event_id=str(at), at=to_ms(at), credited=[lines[0]]) for at in sorted(set(asked))]
        cube.state = cube.state.model_copy(update={"log": log})
        await placements(cube).decide(HOME, {"m": "m"}, {})
        fake: Any = cube
        for memory_id in [None, *lines]:
            found = await Explainer(fake, fake, RULES, StandardPolicy(), 4).explain(HOME, memory_id)
        assert [each for each in found.themes if each.heat < 0] == []

    asyncio.run(run())


class Interrupted(FakeCube):
    """Everybody waits a while before and after each step."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance

    async def pause(self) -> None:
        for _ in range(self.chance.randint(0, 6)):
            await asyncio.sleep(0)

    async def current(self, ref: CubeRef) -> CubeCache:
        await self.pause()
        return await super().current(ref)

    async def get(self, ref: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        found = await super().get(ref, memory_ids)
        await self.pause()
        return found

    async def patch(self, ref: CubeRef, changes: Mapping[str, Mapping[str, Any]]) -> None:
        await self.pause()
        await super().patch(ref, changes)

    async def undo(self, ref: CubeRef, texts: Sequence[str]) -> None:
        """Nobody asked to forget any of these."""
        await self.pause()

    async def lay(self, ref: CubeRef, names: Sequence[str]) -> None:
        """Nothing here is told again."""
        await self.pause()

    lift = lay

    async def change(
        self, ref: CubeRef, marks: Sequence[str], compute: Callable[[HotState, set[str]], Awaitable[HotState]]
    ) -> tuple[HotState, HotState]:
        while True:
            before = self.state
            after = await compute(before, set())
            await self.pause()
            if self.state is before:
                self.kept = after.moves if after.moves is not None else self.kept
                self.state = after.model_copy(update={"moves": None, "version": before.version + 1})
                return before, self.state


@pytest.mark.parametrize("by_hand", [True, False])
def test_whoever_pins_while_it_is_archived_has_it_near(*, by_hand: bool) -> None:
    async def attempt(chance: random.Random) -> None:
        cube = Interrupted(chance)
        cube.memories = {"old": memory("old"), "new": memory("new", 400 * DAY)}
        here = placements(cube)
        away = here.archive(HOME, "old") if by_hand else here.decide(HOME, {"m": "m"}, {})
        outcomes = await asyncio.gather(away, here.pin(HOME, "old"), return_exceptions=True)
        assert [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, MemoryPinned)] == []
        assert cube.state.placement.pins == ["old"]
        assert cube.memories["old"].status == "activated"

    async def run() -> None:
        for seed in range(60):
            await attempt(random.Random(seed))

    asyncio.run(run())


def test_what_is_pinned_and_archived_all_the_same_comes_back_with_the_next_decision() -> None:
    async def run() -> None:
        cube = FakeCube()
        cube.memories = {"old": memory("old", status="archived", archived_because="asked"), "new": memory("new", DAY)}
        cube.state = HotState(placement=Placement(pins=["old"]))
        moves, _ = await placements(cube).decide(HOME, {"m": "m"}, {})
        (move,) = [each for each in moves if each.subject == "memory"]
        assert (move.subject_id, move.because) == ("old", "pinned")
        assert cube.memories["old"].status == "activated"

    asyncio.run(run())


def test_each_excess_over_the_capacity_is_looked_at_also_an_equal_one_on_the_same_day() -> None:
    rules = StandardTransitions(capacity=10, least_heat=99.0)

    async def run() -> None:
        cube = FakeCube()
        cube.state = HotState(placement=Placement(pins=["note 1", "note 2"]))
        asked: list[str] = []
        for number in range(25):
            cube.memories[f"note {number}"] = memory(f"note {number}", number)
            if due := upkeep_due(await cube.current(HOME), cube.state, rules.capacity):
                asked.append(upkeep_after(said(""), due).item_id)
                await placements(cube, rules).decide(HOME, {f"m{number}": f"m{number}"}, {})
            near = {name for name, each in cube.memories.items() if each.status == "activated"}
            assert len(near) <= 10
        assert near >= {"note 1", "note 2", "note 24"}
        assert len(set(asked)) == len(asked) == 15

    asyncio.run(run())


def test_a_theme_that_is_given_up_with_another_past_than_was_told_says_so_and_under_which_id() -> None:
    async def run() -> None:
        cube = FakeCube()
        lines = [*stories.HOUSE["en"], *stories.RENOVATION["en"]]
        cube.memories = {f"m{at}": memory(text, day * DAY, memory_id=f"m{at}") for at, (day, text) in enumerate(lines)}
        told = Placement(
            at=to_ms(FIRST) + 20 * DAY_MS,
            activated=[ActivatedTheme(theme_id="m1", since=to_ms(FIRST) + 19 * DAY_MS, latest=["m1", "m4"])],
        )
        cube.state = HotState(placement=told)
        made, _ = await placements(cube, replace(RULES, archive_after_days=0)).decide(HOME, {"m": "m"}, {})
        (up,) = [each for each in made if each.to_tier == "ActivationMemory"]
        (down,) = [each for each in made if each.to_tier == "PlainText"]
        assert (up.because, up.formerly) == ("", "")
        assert (down.subject_id, down.because, down.formerly) == ("m0", "recut", "m1")
        assert "anew" in down.reason

    asyncio.run(run())


class Flip(StandardTransitions):
    """No function of its arguments."""

    asked = 0

    def archived(self, standings: Sequence[Standing], now: int) -> dict[str, Archiving]:
        Flip.asked += 1
        chosen = [each for number, each in enumerate(standings) if (number + Flip.asked) % 2]
        return {each.memory.memory_id: Archiving("whim", "") for each in chosen}


class Silent(StandardTransitions):
    def archived(self, standings: Sequence[Standing], now: int) -> Any:
        return None

    def theme_moves(self, history: ThemeHistory) -> Any:
        return ["now"]

    def outlook(self, standing: Standing, now: int) -> str:
        raise KeyError


async def test_rules_that_decide_otherwise_each_time_come_to_an_end() -> None:
    cube = FakeCube()
    told = [memory(f"The rope {number} is {number} metres long.", number) for number in range(120)]
    cube.memories = {each.memory_id: each for each in told}
    rules = placements(cube, Flip())

    more, rounds = True, 0
    while more:
        _, more = await rules.decide(HOME, {f"m{rounds}": f"m{rounds}"}, {}, rounds)
        rounds += 1

    assert 3 <= rounds <= 5
    assert {each.archived_because for each in cube.memories.values()} == {"", "cold"}


async def test_rules_without_an_answer_move_no_memory() -> None:
    cube = FakeCube()
    away = memory("The rope is long.", 0, status="archived", archived_because="cold")
    cube.memories = {each.memory_id: each for each in (away, memory("The cat is black.", 500 * DAY))}

    assert await placements(cube, Silent()).decide(HOME, {"m": "m"}, {}) == ([], False)
    assert activated_memories(await cube.current(HOME), cube.state, CheckedRules(Silent())) == []
