"""Words, stems, and the lists of words that search, corrections and the check of a model's answers share."""

from __future__ import annotations

import pytest

from memsched.lexicon import (
    COMMON_WORDS,
    MAX_WORD_CHARACTERS,
    NEGATIONS,
    NUMBER_WORDS,
    STOP_WORDS,
    estimate_tokens,
    is_negated,
    is_question,
    stem,
    stems,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don\u2019t panic, it's 9:30!", ["don't", "panic", "it's", "9", "30"]),
        ("  Straße  ÉTÉ_foo ", ["straße", "été", "foo"]),
        ("", []),
        ("?! ...", []),
        ("猫が好き", ["猫が", "が好", "好き"]),
        ("x" * 100, ["x" * MAX_WORD_CHARACTERS]),
    ],
)
def test_a_text_is_cut_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_forms_of_a_word_have_one_stem() -> None:
    assert stem("allergies") == stem("allergy") == stem("allergy's")
    assert stem("moved") == stem("moving") == stem("moves")
    assert stem("nuts") != stem("notes")


def test_words_that_mean_nothing_alone_are_left_out_unless_there_are_no_others() -> None:
    assert stems("Where is the cat of my sister?") == ["cat", "sister"]
    assert stems("Who are you?") == stems("who are you")
    assert stems("Who are you?") != []


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("I do not eat fish", True),
        ("I don\u2019t eat fish", True),
        ("No fish", True),
        ("He never came", True),
        ("I eat fish", False),
        ("A knot", False),
        ("You mustn\u2019t go", True),
        ("It is nowhere", True),
        ("He couldnt come", True),
    ],
)
def test_negations(text: str, *, negated: bool) -> None:
    assert is_negated(text) is negated


def test_what_ranks_nothing_says_nothing_that_could_be_checked() -> None:
    assert STOP_WORDS | NEGATIONS | NUMBER_WORDS.keys() <= COMMON_WORDS


@pytest.mark.parametrize(("text", "asked"), [("Is it late?", True), ("Is it late? \n", True), ("It is late.", False)])
def test_questions(text: str, *, asked: bool) -> None:
    assert is_question(text) is asked


def test_tokens_are_estimated_at_four_characters_and_at_one_where_it_is_not_ascii() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "你好", "abcdü")] == [0, 1, 1, 2, 2, 2]
