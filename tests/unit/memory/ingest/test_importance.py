"""What a statement is worth, and about whom it is, by its words alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.ingest.importance import about_oneself, importance, is_preference


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("I am allergic to nuts.", True),
        ("I'm a doctor", True),
        ("I\u2019m vegan", True),
        ("My sister is ill", True),
        ("call me Al", True),
        ("I don't eat fish", True),
        ("Am I late?", False),
        ("Do I like tea?", False),
        ("Anna likes tea.", False),
        ("The train was late.", False),
        ("Imagine that", False),
        ("", False),
    ],
)
def test_lasting_statements_of_speakers_about_themselves(text: str, *, own: bool) -> None:
    assert about_oneself(text) is own


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("I prefer tea.", True),
        ("She can't stand cats", True),
        ("My favourite colour is red", True),
        ("Do you like tea?", False),
        ("It is likely to rain", False),
        ("Tea is hot.", False),
    ],
)
def test_preferences(text: str, *, preference: bool) -> None:
    assert is_preference(text) is preference


def test_what_must_not_be_forgotten_is_worth_most_and_small_talk_least() -> None:
    vital = importance("Anna is allergic to nuts", about_speaker=False)
    identity = importance("My sister Ann lives in Rome.", about_speaker=True)
    talk = importance("The weather was nice today", about_speaker=False)
    trifle = importance("Ok?", about_speaker=False)

    assert vital >= 0.8 > identity > talk > trifle > 0
    assert importance("Is anybody allergic to nuts?", about_speaker=False) < 0.5


@given(text=st.text(max_size=80), own=st.booleans())
def test_every_text_has_a_value(text: str, *, own: bool) -> None:
    assert 0 < importance(text, about_speaker=own) <= 1
