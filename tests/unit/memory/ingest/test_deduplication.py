"""When two memories may become one: never if anything that changes the meaning differs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import memory

from memsched.memory.ingest.deduplication import content_hash, why_same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("I am allergic to nuts.", "i am allergic to  NUTS!!", True),
        ("Oh yes, I am really allergic to nuts", "I am allergic to nuts", False),
        ("The train leaves at 9.", "The trains leave at 9", False),
        ("The train leaves at 9.", "The train leaves at 8.", False),
        ("I like tea.", "I do not like tea.", False),
        ("I like tea.", "I don't like tea.", False),
        ("He is late.", "He is late?", False),
        ("Max bit Rex.", "Rex bit Max.", False),
        ("Anna is allergic to nuts.", "Hanna is allergic to nuts.", False),
        ("Yes", "No", False),
        ("👍", "👎", False),
        ("", " ", True),
    ],
)
def test_what_is_taken_for_the_same_words(one: str, other: str, *, same: bool) -> None:
    assert (content_hash("Alice", one) == content_hash("Alice", other)) is same


def test_the_same_words_of_two_people_are_not_the_same() -> None:
    assert content_hash("Alice", "I like tea.") != content_hash("Bob", "I like tea.")
    assert content_hash("ALICE", "I like tea.") == content_hash("Alice", "I like tea.")
    assert content_hash("Alice", "\ud83d broken") != ""


def test_the_hash_of_a_short_answer_depends_on_the_question() -> None:
    blue = content_hash("Alice", "Blue.", "Which colour is the car?")

    assert blue == content_hash("Alice", "blue", "which colour is the car?")
    assert blue not in (content_hash("Alice", "Blue.", "Which colour is the wall?"), content_hash("Alice", "Blue."))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("We will renovate the old kitchen in spring.", "In spring we will renovate the old kitchen.", False),
        ("Every day I don't smoke.", "I don't smoke every day.", False),
        ("Oh, the garden has a pond.", "The garden has a pond!", True),
        ("The garden has a pond and a hedge", "The garden has a hedge and the pond.", False),
        ("We go from Bonn to Ulm.", "We go from Ulm to Bonn.", False),
        ("She is my wife.", "She was my wife.", False),
        ("Please send it to my old office address.", "Please send it to my new office address.", False),
        ("Max weighs 12 kg today.", "Max weighs 13 kg today.", False),
        ("The bill was 1,200 euros at the end", "The bill was 1.200 euros at the end", False),
        (
            "She has been to see us at the lake house two times since last winter",
            "She has been to see us at the lake house three times since last winter",
            False,
        ),
        ("My sister Anna is allergic to nuts.", "My sister Hanna is allergic to nuts.", False),
        ("Anna is allergic to nuts.", "Hanna is allergic to nuts.", False),
        ("We like the old kitchen very much.", "We don't like the old kitchen very much.", False),
        ("We never eat in the old kitchen.", "We eat in the old kitchen.", False),
        ("We eat in the old kitchen.", "We eat in the old kitchen?", False),
        ("Rain fell on the roof.", "Snow fell on the roof.", False),
        ("", "", True),
    ],
)
def test_what_says_the_same(one: str, other: str, *, same: bool) -> None:
    assert bool(why_same(memory(one), memory(other))) is same
    assert bool(why_same(memory(other), memory(one))) is same


@pytest.mark.parametrize(
    "fields", [{"speaker": "Bob"}, {"kind": "fact"}, {"memory_type": "UserMemory"}, {"caption": "a duck"}]
)
def test_what_differs_in_more_than_words_is_not_the_same(fields: dict[str, str]) -> None:
    assert why_same(memory("The garden has a pond."), memory("The garden has a pond."))
    assert not why_same(memory("The garden has a pond."), memory("The garden has a pond.", **fields))


FORMS = ["{} is allergic to {}.", "{} can't stand {}.", "{} works in {}.", "{}'s favourite is {}.", "{} owns {}."]
WHO = ["Anna", "Hanna", "Ben", "Bengt", "My sister", "My sister Ann", "O'Neill"]
WHAT = ["nuts", "peanuts", "cats", "2 cats", "3 cats", "Rome", "Romania"]


@given(st.sampled_from(FORMS), *[st.tuples(st.sampled_from(WHO), st.sampled_from(WHAT))] * 2)
def test_short_facts_about_other_people_or_things_are_never_merged(
    form: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert bool(why_same(memory(form.format(*one)), memory(form.format(*other)))) is (one == other)


def test_every_form_is_another_statement() -> None:
    texts = [form.format("Anna", "cats") for form in FORMS]
    assert not any(why_same(memory(one), memory(other)) for one, other in pairwise(texts))
