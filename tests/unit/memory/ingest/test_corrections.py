"""What is told of a statement by its words alone: about whom, worth how much, correcting what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.ingest.corrections import (
    about_oneself,
    corrects,
    importance,
    is_preference,
    negated,
    same_subject,
    says_correction,
)


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
def test_lasting_statements_of_a_speaker_about_himself(text: str, *, own: bool) -> None:
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
def test_every_text_has_a_value_and_corrects_no_copy_of_itself(text: str, *, own: bool) -> None:
    assert 0 < importance(text, about_speaker=own) <= 1
    assert corrects(text, text) == 0.0
    assert same_subject(text, text) == 0.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("I live in Lisbon.", "Actually, I live in Porto."),
        ("I live in Lisbon.", "I no longer live in Lisbon, I live in Porto."),
        ("My sister works in Rome.", "Sorry, my sister works in Oslo."),
        ("My dog is called Rex.", "My dog is not called Rex but Max."),
        ("My favourite food is rice.", "I changed my mind, my favourite food is cheese."),
        ("The front door of our house is red.", "I was wrong. The front door of our house is blue."),
        ("Anna is allergic to nuts.", "Correction: Anna is not allergic to nuts, but to milk."),
        ("We eat meat on Sundays.", "We don't eat meat on Sundays any more."),
        ("I drink tea.", "Not tea but coffee."),
    ],
)
def test_a_correction_is_taken_for_one(old: str, new: str) -> None:
    assert says_correction(new)
    assert corrects(new, old) >= 0.4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("I live in Lisbon.", "I live in Porto."),
        ("I live in Lisbon.", "Actually, do I live in Porto?"),
        ("I live in Lisbon.", "Actually, Bob repairs motorcycles."),
        ("Anna is allergic to nuts.", "Actually, Hanna likes boats."),
        ("Anna is allergic to nuts.", "Hanna is allergic to nuts."),
        ("I like tea.", "Actually, I like coffee."),
        ("The meeting is on Monday.", "I was wrong."),
        ("The train was late.", "Wait, the cat is ill."),
        ("I live in Lisbon.", ""),
        ("", "Actually, I live in Porto."),
    ],
)
def test_what_corrects_nothing_is_taken_for_no_correction(old: str, new: str) -> None:
    assert corrects(new, old) < 0.4


PEOPLE = st.sampled_from(["Anna", "Hanna", "Ben", "Bengt", "My sister"])
THINGS = st.sampled_from(["nuts", "peanuts", "cats", "milk", "penicillin"])
FORMS = st.sampled_from(
    ["{} is allergic to {}.", "{} hates {}.", "{} has {} at home.", "{} works with {}.", "{} eats {}."]
)


@given(*[st.builds(str.format, FORMS, PEOPLE, THINGS)] * 2)
def test_a_short_fact_never_corrects_another(one: str, other: str) -> None:
    assert not says_correction(one)
    assert corrects(one, other) == 0.0


def test_feedback_needs_words_in_common_and_says_something_else() -> None:
    assert same_subject("The desk is in the garage.", "Bob moved the desk into the garden house.") > 0
    assert same_subject("Rex eats apples.", "Rex eats carrots.") > same_subject("Rex eats apples.", "Rex is a dog.")
    assert same_subject("I like tea.", "I do not like tea.") == 1.0
    assert same_subject("The cat is ill.", "We went to Rome.") == 0.0


@pytest.mark.parametrize(
    ("text", "is_negated"),
    [
        ("I do not eat fish", True),
        ("I don\u2019t eat fish", True),
        ("No fish", True),
        ("He never came", True),
        ("I eat fish", False),
        ("A knot", False),
    ],
)
def test_negations(text: str, *, is_negated: bool) -> None:
    assert negated(text) is is_negated
