"""When a theme is activated and given up, and which memories are archived."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support import stories
from support.memories import FIRST, cube_memory

from memsched.memory.model import from_ms, to_ms
from memsched.policy.themes import CubeThemes, Told
from memsched.policy.transitions import DAY_MS, StandardTransitions, Standing, ThemeHistory, ThemeLook

RULES = StandardTransitions()
NOW = to_ms(FIRST) + 1000 * DAY_MS


def history(*shares: float, heat: float = 4.0, told: int = 3, latest: int | None = None) -> ThemeHistory:
    """One look a day; something was told of the theme on each, unless ``latest`` says when last."""
    looks = [
        ThemeLook(day * DAY_MS, told, heat, share, day * DAY_MS if latest is None else min(day, latest) * DAY_MS)
        for day, share in enumerate(shares, 1)
    ]
    return ThemeHistory(["a", "b", "c"], looks)


def moves(given: ThemeHistory) -> list[tuple[int, bool]]:
    return [(move.at // DAY_MS, move.activated) for move in RULES.theme_moves(given)]


def test_a_theme_enters_at_one_bound_and_leaves_at_a_lower_one() -> None:
    assert moves(history(0.55, 0.55)) == []
    assert moves(history(0.55, 0.65, 0.5, 0.45, 0.5)) == [(2, True)]
    assert moves(history(0.65, 0.5, 0.5, 0.35)) == [(1, True), (4, False)]


def test_it_stays_for_two_days_at_least() -> None:
    assert moves(history(1.0, 0.1, 0.1, 0.1)) == [(1, True), (3, False)]


def test_after_it_was_given_up_only_something_new_brings_it_back() -> None:
    shares = (1.0, 0.3, 0.3, 1.0, 1.0)
    assert moves(history(*shares, latest=3)) == [(1, True), (3, False)]
    assert moves(history(*shares)) == [(1, True), (3, False), (4, True)]


def test_one_memory_is_no_theme_to_activate_and_what_cools_is_given_up() -> None:
    assert moves(history(1.0, told=1)) == []
    assert moves(history(1.0, heat=0.9)) == []
    cooling = history(1.0, 1.0, 1.0, 1.0)
    looks = [look._replace(heat=heat) for look, heat in zip(cooling.looks, (1.0, 0.5, 0.3, 0.2), strict=True)]
    assert moves(replace(cooling, looks=looks)) == [(1, True), (4, False)]


def test_what_is_below_a_bound_is_shown_below_it() -> None:
    cooled = history(1.0, 1.0, 1.0)
    looks = [look._replace(heat=heat) for look, heat in zip(cooled.looks, (1.0, 0.5, 0.2499), strict=True)]
    assert RULES.theme_moves(replace(cooled, looks=looks))[-1].reason == "it cooled: heat 0.24 (below 0.25)"
    assert "39 % of its heat (below 40 %)" in RULES.theme_moves(history(1.0, 1.0, 0.399))[-1].reason


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_second_theme_is_activated_and_the_first_one_given_up(language: str) -> None:
    lines = [*stories.HOUSE[language], *stories.RENOVATION[language]]
    told = [Told(f"{number:03}", text, day * DAY_MS) for number, (day, text) in enumerate(lines)]
    then = [Told("chat", text, 40 * DAY_MS) for text in sorted(stories.CHATTER)[:1]]

    def states(known: list[Told]) -> list[tuple[str, bool]]:
        found = CubeThemes(known, [], known[-1].at).standing(RULES)
        return [(theme.theme_id, theme.state == "activated") for theme in found if len(theme.memory_ids) > 1]

    assert states(told[:7]) == [("000", True)]
    assert states(told) == states([*told, *then]) == [("007", True), ("000", False)]
    first = CubeThemes(told, [], told[-1].at).histories[0]
    assert [move.activated for move in RULES.theme_moves(first)] == [True, False]


def standing(name: str, days_ago: float, value: float = 0.1, **more: object) -> Standing:
    fields = {key: more.pop(key) for key in ("vital",) if key in more}
    needed = int(NOW - days_ago * DAY_MS)
    return Standing(cube_memory(name, at=needed, **fields), value, needed, **more)  # type: ignore[arg-type]


def archived(rules: StandardTransitions, *given: Standing) -> dict[str, str]:
    return {memory_id: each.because for memory_id, each in rules.archived(given, NOW).items()}


def test_what_nothing_needed_for_a_year_is_archived_unless_it_must_stay() -> None:
    given = [
        standing("cold", 366),
        standing("used", 364),
        standing("hot", 366, theme_activated=True),
        standing("nuts", 366, vital="allergy"),
        standing("soon", 366, vital="deadline"),
        standing("new", 0),
    ]
    assert archived(RULES, *given) == {"cold": "cold", "soon": "cold"}
    assert archived(replace(RULES, archive_after_days=0.0), *given) == {}


def test_nothing_goes_cold_by_a_question_alone() -> None:
    """Somebody asks about a conversation of years ago: all of it is as it was when it ended."""
    assert archived(RULES, standing("old", 1500), standing("last", 1200)) == {}
    assert archived(RULES, standing("old", 1500), standing("last", 1100)) == {"old": "cold"}


def test_what_was_brought_in_later_than_it_was_said_goes_cold_a_year_after_that() -> None:
    def brought(days_ago: float, said_days_ago: float) -> Standing:
        there = standing("old", said_days_ago)
        return replace(there, memory=replace(there.memory, ingested_at=from_ms(int(NOW - days_ago * DAY_MS))))

    assert archived(RULES, brought(364, 2000), standing("last", 0)) == {}
    assert archived(RULES, brought(366, 2000), standing("last", 0)) == {"old": "cold"}
    assert archived(RULES, brought(366, 300), standing("last", 0)) == {}
    assert "until 2028-10-01" in RULES.outlook(brought(365, 2000), NOW)


def test_what_is_needed_again_is_no_longer_to_be_archived() -> None:
    assert archived(RULES, standing("back", 1, archived="cold")) == {}


def test_over_capacity_the_least_valuable_are_archived_and_never_by_age_alone() -> None:
    given = [standing("old", 300, 0.5), standing("poor", 200, 0.1), standing("new", 1, 0.05), standing("mid", 90, 0.3)]
    assert archived(replace(RULES, capacity=3), *given) == {"poor": "capacity"}
    assert archived(replace(RULES, capacity=2), *given) == {"poor": "capacity", "mid": "capacity"}
    gone = replace(given[1], archived="capacity")
    assert archived(replace(RULES, capacity=3), given[0], gone, *given[2:]) == {"poor": "capacity"}


def test_the_order_of_the_memories_makes_no_difference() -> None:
    chance = random.Random(1)
    given = [standing(f"m{number}", chance.uniform(0, 500), chance.choice([0.1, 0.2])) for number in range(60)]
    rules = replace(RULES, capacity=20)
    expected = archived(rules, *given)
    for _ in range(5):
        chance.shuffle(given)
        assert archived(rules, *given) == expected


def test_the_outlook_says_until_when_with_the_figures() -> None:
    assert "until 2028-10-01" in RULES.outlook(standing("one", 365), NOW)
    assert "365 days" in RULES.outlook(standing("one", 1), NOW)
    assert "allergy" in RULES.outlook(standing("nuts", 1, vital="allergy"), NOW)
    of_a_theme = RULES.outlook(standing("one", 1, theme_share=0.31), NOW)
    assert "31 % of the hottest theme's heat, and is activated from 60 %" in of_a_theme
    assert "comes back" in RULES.outlook(standing("gone", 400, archived="cold"), NOW)
