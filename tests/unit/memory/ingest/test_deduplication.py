"""When two memories may become one: never if anything that changes the meaning differs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import memory

from memsched.memory.ingest.deduplication import say_the_same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("We will renovate the old kitchen in spring.", "In spring we will renovate the old kitchen.", True),
        ("The garden has a pond and a hedge", "The garden has a hedge and the pond.", True),
        ("Max weighs 12 kg today.", "Max weighs 13 kg today.", False),
        ("The bill was 1,200 euros at the end", "The bill was 1.200 euros at the end", False),
        ("My sister Anna is allergic to nuts.", "My sister Hanna is allergic to nuts.", False),
        ("Anna is allergic to nuts.", "Hanna is allergic to nuts.", False),
        ("We like the old kitchen very much.", "We don't like the old kitchen very much.", False),
        ("We never eat in the old kitchen.", "We eat in the old kitchen.", False),
        ("We eat in the old kitchen.", "We eat in the old kitchen?", False),
        ("Rain fell on the roof.", "Snow fell on the roof.", False),
        ("", "", False),
    ],
)
def test_what_says_the_same(one: str, other: str, *, same: bool) -> None:
    assert say_the_same(memory(one), memory(other)) is same
    assert say_the_same(memory(other), memory(one)) is same


@pytest.mark.parametrize("fields", [{"speaker": "Bob"}, {"kind": "fact"}, {"memory_type": "UserMemory"}])
def test_what_differs_in_more_than_words_is_not_the_same(fields: dict[str, str]) -> None:
    assert say_the_same(memory("The garden has a pond."), memory("The garden has a pond."))
    assert not say_the_same(memory("The garden has a pond."), memory("The garden has a pond.", **fields))


FORMS = ["{} is allergic to {}.", "{} can't stand {}.", "{} works in {}.", "{}'s favourite is {}.", "{} owns {}."]
WHO = ["Anna", "Hanna", "Ben", "Bengt", "My sister", "My sister Ann", "O'Neill"]
WHAT = ["nuts", "peanuts", "cats", "2 cats", "3 cats", "Rome", "Romania"]


@given(st.sampled_from(FORMS), *[st.tuples(st.sampled_from(WHO), st.sampled_from(WHAT))] * 2)
def test_short_facts_about_other_people_or_things_are_never_merged(
    form: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert say_the_same(memory(form.format(*one)), memory(form.format(*other))) is (one == other)


def test_every_form_is_another_statement() -> None:
    texts = [form.format("Anna", "cats") for form in FORMS]
    assert not any(say_the_same(memory(one), memory(other)) for one, other in pairwise(texts))
