"""The words of English that search, corrections and the check of a model's answers share."""

from __future__ import annotations

import pytest

from memsched.lexicon import COMMON_WORDS, NEGATIONS, NUMBER_WORDS, STOP_WORDS, is_question, negates, stem
from memsched.memory.search.bm25 import words


@pytest.mark.parametrize(
    ("text", "is_negated"),
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
def test_negations(text: str, *, is_negated: bool) -> None:
    assert negates(words(text)) is is_negated


def test_what_ranks_nothing_says_nothing_that_could_be_checked() -> None:
    assert STOP_WORDS | NEGATIONS | NUMBER_WORDS.keys() <= COMMON_WORDS


@pytest.mark.parametrize(("text", "asked"), [("Is it late?", True), ("Is it late? \n", True), ("It is late.", False)])
def test_questions(text: str, *, asked: bool) -> None:
    assert is_question(text) is asked


@pytest.mark.parametrize(("word", "stemmed"), [("anna's", "anna"), ("allergic", "allerg"), ("train", "train")])
def test_stems(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed
