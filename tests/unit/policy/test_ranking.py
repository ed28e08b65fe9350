"""Which memories the working set holds under each strategy: the first, and some of what must never be forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.memories import cube_memory

from memsched.policy.ranking import STRATEGIES, ActivatedFirst, RecentFirst, StandardPolicy
from memsched.policy.strategy import Candidate, Chosen, CubeState
from memsched.policy.theme import Theme

STATE = CubeState(memories=[], talk=[], log=[], present=[], now=0)


def candidate(name: str, value: float, **fields: Any) -> Candidate:
    return Candidate(cube_memory(name, **fields), value, {"anything": value})


def choose(candidates: list[Candidate], size: int) -> list[str]:
    ranked = sorted(candidates, key=lambda each: -each.value)
    return [each.memory.memory_id for each in StandardPolicy().choose(STATE, ranked, size)]


def test_the_most_valuable_are_near_best_first() -> None:
    assert choose([candidate(f"m{number}", number / 10) for number in range(9)], 3) == ["m8", "m7", "m6"]


def test_a_hundred_deadlines_do_not_push_out_an_allergy() -> None:
    deadlines = [candidate(f"deadline {number}", 0.5, vital="date") for number in range(100)]
    vital = [candidate("nuts", 0.001, vital="allergy"), candidate("insulin", 0.002, vital="illness")]

    chosen = choose([*deadlines, *vital], 20)

    assert chosen[-2:] == ["insulin", "nuts"]
    assert len(chosen) == 20


def test_places_that_other_kinds_leave_go_to_the_next_of_one_kind_and_its_others_compete() -> None:
    plain = [candidate(f"m{number}", 0.5 + number / 100) for number in range(9)]
    allergies = [candidate(f"allergy {number}", number / 1000, vital="allergy") for number in range(30)]
    other = [candidate("insulin", 0.0001, vital="illness"), candidate("vegan", 0.0002, vital="diet")]

    two = choose([*plain, *allergies[-2:]], 9)
    many = choose([*plain, *allergies, *other], 9)

    assert two[-2:] == ["allergy 29", "allergy 28"]
    assert many[-4:] == ["allergy 29", "allergy 28", "vegan", "insulin"]
    assert len(two) == len(many) == 9


def test_what_is_vital_never_takes_more_than_half_of_a_small_set() -> None:
    kinds = ("allergy", "illness", "diet", "emergency")
    vital = [candidate(kind, 0.001, vital=kind) for kind in kinds]

    assert choose([candidate("one", 0.5), candidate("two", 0.4), *vital], 2)[0] == "one"


def test_scores_are_made_of_their_parts() -> None:
    (chosen,) = StandardPolicy().choose(STATE, [candidate("m", 0.25)], 20)

    assert chosen == Chosen(chosen.memory, 0.25, {"anything": 0.25})
    assert StandardPolicy().choose(STATE, [], 20) == []


def test_recent_first_holds_the_newest() -> None:
    told = [candidate(f"m{minute}", 1 / (1 + minute), minute=minute) for minute in range(9)]

    chosen = RecentFirst().choose(STATE, told, 3)

    assert [each.memory.memory_id for each in chosen] == ["m8", "m7", "m6"]
    assert [each.score for each in chosen] == sorted((sum(each.parts.values()) for each in chosen), reverse=True)


def test_activated_first_holds_the_hottest_theme_before_what_is_more_valuable() -> None:
    told = [candidate(f"m{number}", number / 10) for number in range(6)]
    themes = [Theme("m0", "", [], 2.0, "activated", ["m0", "m2"]), Theme("m5", "", [], 1.0, "plaintext", ["m5"])]

    chosen = ActivatedFirst().choose(replace(STATE, themes=themes), told[::-1], 3)

    assert [each.memory.memory_id for each in chosen] == ["m2", "m0", "m5"]
    assert [each.source for each in chosen] == ["theme", "theme", "value"]
    assert all(abs(each.score - sum(each.parts.values())) < 1e-9 for each in chosen)


@pytest.mark.parametrize("name", STRATEGIES)
def test_under_no_strategy_deadlines_push_out_an_allergy(name: str) -> None:
    deadlines = [candidate(f"deadline {number}", 0.5, minute=9, vital="date") for number in range(25)]
    theme = Theme("t", "", [], 1.0, "activated", [each.memory.memory_id for each in deadlines])
    allergy = candidate("nuts", 0.001, vital="allergy")

    chosen = STRATEGIES[name]().choose(replace(STATE, themes=[theme]), [*deadlines, allergy], 20)

    assert {each.memory.memory_id: each.source for each in chosen}["nuts"] == "reserved"
    assert len(chosen) == 20


def test_what_the_assistant_read_out_leaves_the_places_to_what_people_said() -> None:
    article = [candidate(f"article {number}", 0.9, speaker="assistant") for number in range(30)]
    said = [candidate(f"said {number}", 0.1) for number in range(6)]

    chosen = choose([*article, *said], 20)

    assert len([name for name in chosen if name.startswith("article")]) == 3
    assert len(chosen) == 9
