"""What a cube's memories are about: which are worth a theme, which belong together, what is hot, what is clear."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import stories

from memsched.memory.content.topic_words import stop_words, topic_words
from memsched.policy.themes import WINDOW, CubeThemes, Told, clusters_of

DAY = 86_400_000

HOUSE, TILES = stories.HOUSE["en"], stories.RENOVATION["en"]


def told(lines: list[tuple[int, str]]) -> list[Told]:
    return [Told(f"{number:03}", text, day * DAY) for number, (day, text) in enumerate(lines)]


def themes_of(lines: list[tuple[int, str]], uses: list[tuple[int, str]] | None = None) -> CubeThemes:
    return CubeThemes(told(lines), uses or [], lines[-1][0] * DAY)


def text_of(found: CubeThemes, memory_id: str) -> str:
    return next(each.text for each in found.told if each.memory_id == memory_id)


def best(found: CubeThemes, count: int) -> list[str]:
    ranked = sorted(found.told, key=lambda each: -found.score(each.memory_id))
    return [each.text for each in ranked[:count]]


def test_the_second_theme_takes_over_and_the_first_one_cools() -> None:
    house, later = themes_of(HOUSE), themes_of([*HOUSE, *TILES])

    assert "house" in house.themes[0].terms
    first, *others = later.themes
    assert {"bathroom", "kitchen", "tiler"} & set(first.terms)
    cooled = next(theme for theme in others if "house" in theme.terms)
    assert cooled.heat < house.themes[0].heat / 2
    assert cooled.then == {first.theme_id: 1}
    assert first.theme_id == min(first.memory_ids)
    assert [(each.theme_id, each.heat) for each in later.unnamed] == [
        (each.theme_id, each.heat) for each in later.themes
    ]
    matters = [text for _, text in TILES if len(text) > 20]
    assert sorted(best(later, 4)) == sorted(matters)


def test_chatter_is_of_no_theme() -> None:
    found = themes_of([*HOUSE, *TILES])

    grouped = {text_of(found, memory_id) for theme in found.themes for memory_id in theme.memory_ids}

    assert not grouped & {"Rain again.", "Soup for lunch.", "Saw a good film.", "Bought bread."}


def test_a_use_warms_the_theme_of_the_memory() -> None:
    lines = [*HOUSE, *TILES]
    found, used = themes_of(lines), themes_of(lines, [(33 * DAY, "001"), (33 * DAY, "004")])

    assert used.share("001") > found.share("001")
    assert "house" in used.label_of("001")
    assert used.label_of("003") == ""


def test_heat_halves_in_a_week_of_message_time() -> None:
    lines = told(HOUSE)
    now, later = CubeThemes(lines, [], 8 * DAY), CubeThemes(lines, [], 15 * DAY)

    assert later.themes[0].heat == pytest.approx(now.themes[0].heat / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("question", "clear"),
    [
        ("When is the kitchen furniture delivered?", True),
        ("Too many things are piling up, help me organise them.", False),
        ("What does the seller of the house ask?", False),  # it says what it means, but that is over
        ("事情太多了，帮我理一理。", False),
        ("", False),
    ],
)
def test_a_question_is_clear_when_it_names_something_of_a_warm_theme(question: str, clear: bool) -> None:
    assert themes_of([*HOUSE, *TILES]).is_clear(question) is clear


def test_nothing_told_and_one_thing_told() -> None:
    nothing, one = CubeThemes([], [(5, "gone")], 7), CubeThemes(told(HOUSE[:1]), [], DAY)

    assert nothing.themes == []
    assert math.isfinite(nothing.score("gone"))
    assert not nothing.is_clear("house?")
    assert [theme.state for theme in one.themes] == ["plaintext"]


def test_what_was_told_long_before_the_window_has_the_lowest_score() -> None:
    many = [*HOUSE, *((40 + number, f"The school project {number} needs paper and paint.") for number in range(WINDOW))]
    found = themes_of(many)

    assert len(found.told) == WINDOW
    assert found.share("000") == 0.0
    assert found.score("000") < min(found.score(each.memory_id) for each in found.told[-20:])


def test_the_closest_are_joined_by_their_mean_link() -> None:
    links = np.array([[0.0, 0.9, 0.1, 0.0], [0.9, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.5], [0.0, 0.0, 0.5, 0.0]])

    assert clusters_of(links) == [[0, 1], [2, 3]]
    assert clusters_of(np.zeros((0, 0))) == []


def test_function_words_of_four_languages_tie_nothing_and_compounds_share_their_ends() -> None:
    for nothing in ("and with our", "und mit unseren", "y con nuestras", "我们已经的"):
        assert topic_words(nothing) == frozenset()
    assert "-nster" in topic_words("Dachfenster") & topic_words("Küchenfenster")
    assert topic_words("地砖") == {"地砖"}
    assert len(stop_words()) > 1000


@pytest.mark.parametrize(
    ("question", "clear"),
    [
        ("Tiler or not, it is too much this week.", False),
        ("The tiler was there. What now?", False),
        ("When does the tiler come?", True),
        ("The tiler", True),
    ],
)
def test_one_word_that_a_memory_has_makes_a_request_clear_only_if_it_is_what_is_asked_for(
    question: str, *, clear: bool
) -> None:
    assert themes_of([*HOUSE, *TILES]).is_clear(question) is clear
