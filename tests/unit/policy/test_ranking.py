"""Which memories the working set holds, by relevance, use, age and their own value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import FIRST, memory

from memsched.memory.model import to_ms
from memsched.policy.ranking import StandardPolicy, use_value
from memsched.policy.strategy import Candidate, Chosen, CubeState
from memsched.policy.talk import TalkEvent, Use

NOW = to_ms(FIRST)
DAY = 86_400_000
TALK = [TalkEvent(event_id=f"e{number}", at=NOW + number, text=str(number)) for number in range(3)]


def choose(*candidates: Candidate, size: int = 20, **state: Any) -> list[Chosen]:
    given = {"talk": TALK, "covered": frozenset(), "uses": {}, "present": [], "now": NOW, **state}
    return StandardPolicy().choose(CubeState(**given), candidates, size)


def names(chosen: list[Chosen]) -> list[str]:
    return [each.memory.memory_id for each in chosen]


def test_what_the_talk_needs_comes_first_and_its_latest_word_weighs_most() -> None:
    early, late = (Candidate(memory(name), {event: 1.0}) for name, event in [("early", "e0"), ("late", "e2")])

    assert names(choose(Candidate(memory("idle")), early, late)) == ["late", "early", "idle"]


def test_what_answers_used_comes_before_its_like_and_more_so_the_later_it_was() -> None:
    uses = {
        "used": Use(count=1, times=[(NOW, "a")]),
        "used long ago": Use(count=1, times=[(NOW - 400 * DAY, "b")]),
    }

    chosen = choose(*map(Candidate, map(memory, ("never", "used", "used long ago"))), uses=uses)

    assert names(chosen) == ["used", "used long ago", "never"]


def test_what_is_vital_and_what_is_new_come_before_their_like() -> None:
    vital, plain = Candidate(memory("vital", importance=0.9)), Candidate(memory("plain", importance=0.2))
    old = Candidate(memory("old", minute=-60 * 24 * 500, importance=0.2))

    assert names(choose(old, plain, vital)) == ["vital", "plain", "old"]


def test_age_reorders_and_hides_nothing() -> None:
    ancient = Candidate(memory("ancient", minute=-60 * 24 * 10_000), {"e2": 1.0})
    fresh = Candidate(memory("fresh"), {"e2": 0.5})

    assert names(choose(fresh, ancient)) == ["ancient", "fresh"]


CANDIDATES = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(-10_000, 10_000), st.integers(0, 3)), max_size=12
)


@given(CANDIDATES, st.integers(1, 15), st.randoms())
def test_it_is_a_function_of_its_arguments_whose_scores_add_up(
    drawn: list[tuple[float, float, int, int]], size: int, chance: Any
) -> None:
    candidates = [
        Candidate(memory(f"m{number}", minute, importance=value), {"e1": relevance})
        for number, (relevance, value, minute, _) in enumerate(drawn)
    ]
    uses = {
        f"m{number}": Use(count=n, times=[(NOW, str(each)) for each in range(n)])
        for number, (*_, n) in enumerate(drawn)
    }
    shuffled = sorted(candidates, key=lambda _: chance.random())

    chosen = choose(*candidates, size=size, uses=uses)

    assert chosen == choose(*shuffled, size=size, uses=uses)
    assert len(chosen) == min(size, len(candidates))
    assert [each.score for each in chosen] == sorted((each.score for each in chosen), reverse=True)
    assert all(each.score == pytest.approx(sum(each.parts.values())) for each in chosen)
    assert all(0 <= each.score <= 1 for each in chosen)


def test_without_talk_there_is_an_order_too() -> None:
    assert names(choose(Candidate(memory("dull")), Candidate(memory("vital", importance=0.9)), talk=[])) == [
        "vital",
        "dull",
    ]


def test_a_use_is_worth_less_with_time_and_never_nothing() -> None:
    values = [use_value(Use(count=1, times=[(NOW - days * DAY, "a")]), NOW) for days in (0, 1, 30, 3000)]

    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(0.5)
    assert values[-1] > 0
    assert use_value(Use(), NOW) == 0.0
    assert use_value(Use(count=2, times=[(NOW, "a"), (NOW, "b")]), NOW) > values[0]
    assert use_value(Use(count=1, times=[(NOW + DAY, "a clock that is ahead")]), NOW) == values[0]
