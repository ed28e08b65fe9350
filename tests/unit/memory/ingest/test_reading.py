"""What a reader takes for the same, on cases written before the rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import memory

from memsched.memory.ingest.deduplication import why_same
from memsched.memory.ingest.reading import reading

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[3] / "data/decisions/sameness.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['form']}-{case['id']}")
def test_only_what_says_the_same_is_read_the_same(case: dict[str, str]) -> None:
    same = case["label"] == "same"

    assert (reading(case["a"]) == reading(case["b"])) is same
    assert bool(why_same(memory(case["a"]), memory(case["b"]))) is same


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("It's twenty-one past two hundred and five.", "it is 21 past 205"),
        ("Zweiundvierzig", "42"),
        ("Tengo treinta y uno.", "tengo 31"),
        ("我有三十只羊。", "我有30只羊"),
        ("千万别说。", "千万别说"),
        ("She's got it.", "she has got it"),
        ("Anna's car", "anna's car"),
        ("Use `a_b`, not A-1!", "use `a_b`, not A-1!"),
        ("if x:\n    y()  ", "if x:\n    y()"),
        ("", ""),
        ("...", ""),
        ("!!!", "!!!"),
    ],
)
def test_how_it_is_read(text: str, read: str) -> None:
    assert reading(text) == read


@given(st.text(max_size=200))
def test_any_text_can_be_read_and_read_again(text: str) -> None:
    assert reading(text) == reading(text + " ")


def test_a_long_text_is_read_in_no_time() -> None:
    reading("a " * 200_000 + "-" * 200_000 + "*" * 100_000)
