"""What is told of a correction by its words alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.ingest.revision import _corrects, may_correct, same_subject


@given(text=st.text(max_size=80))
def test_no_text_corrects_a_copy_of_itself(text: str) -> None:
    assert _corrects(text, text) == 0.0
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
    assert may_correct(new)
    assert _corrects(new, old) >= 0.4


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
    assert _corrects(new, old) < 0.4


PEOPLE = st.sampled_from(["Anna", "Hanna", "Ben", "Bengt", "My sister"])
THINGS = st.sampled_from(["nuts", "peanuts", "cats", "milk", "penicillin"])
FORMS = st.sampled_from(
    ["{} is allergic to {}.", "{} hates {}.", "{} has {} at home.", "{} works with {}.", "{} eats {}."]
)


@given(*[st.builds(str.format, FORMS, PEOPLE, THINGS)] * 2)
def test_a_short_fact_never_corrects_another(one: str, other: str) -> None:
    assert not may_correct(one)
    assert _corrects(one, other) == 0.0


def test_feedback_needs_words_in_common_and_says_something_else() -> None:
    assert same_subject("The desk is in the garage.", "Bob moved the desk into the garden house.") > 0
    assert same_subject("Rex eats apples.", "Rex eats carrots.") > same_subject("Rex eats apples.", "Rex is a dog.")
    assert same_subject("I like tea.", "I do not like tea.") == 1.0
    assert same_subject("The cat is ill.", "We went to Rome.") == 0.0
