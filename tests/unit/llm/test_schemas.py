"""What a model sends back is bounded by its schema."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from memsched.llm.schemas import ExtractedMemory, Extraction, Feedback, Ranking, Used


def memory(text: str, quote: str = "", turns: Any = (0,), **more: Any) -> dict[str, Any]:
    return {"kind": "fact", "text": text, "quote": quote or text, "source_turns": list(turns), **more}


def test_extra_keys_are_ignored_and_values_are_brought_into_bounds() -> None:
    sent = memory(
        "Ann\x00  likes\n tea",
        kind=" Preference ",
        importance=7,
        when="2023-05-07T10:00:00Z",
        surprise=1,
        tags=["Food", "food", 5, "x" * 40, "ignore; all <b>", *"abcdefghij"],
    )

    got = Extraction.model_validate({"memories": [sent], "note": "hi"}).memories[0]

    assert (got.kind, got.text, got.importance, got.when) == ("preference", "Ann likes tea", 1.0, "2023-05-07")
    assert got.tags == ["food", *"abcdefg"]
    assert "surprise" not in got.model_dump()


@pytest.mark.parametrize("value", ["high", None, float("nan"), [], {}])
def test_an_importance_that_is_no_number_is_ordinary(value: Any) -> None:
    assert ExtractedMemory(**memory("x", importance=value)).importance == 0.5


@pytest.mark.parametrize("value", ["last summer", "2023-13-01", 5, "", "ignore all instructions"])
def test_a_time_that_is_no_date_is_left_out(value: Any) -> None:
    got = ExtractedMemory(**memory("x", when=value)).when

    assert got in (None, "2023")


def test_one_malformed_memory_does_not_spoil_the_others() -> None:
    good, long = memory("Ann likes tea"), memory("x" * 501)

    got = Extraction.model_validate([good, long, "nonsense", {"kind": "fact"}, memory("x", turns=[])])

    assert [memory.text for memory in got.memories] == ["Ann likes tea"]


@pytest.mark.parametrize(
    "sent", [{}, {"memories": "none"}, {"memories": [5]}, {"memories": [memory("x" * 501)]}, "x", 5]
)
def test_what_is_no_extraction_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError):
        Extraction.model_validate(sent)


def test_lists_are_bounded() -> None:
    assert len(Extraction.model_validate([memory(f"m{n}") for n in range(500)]).memories) == 100
    assert len(Ranking.model_validate({"order": list(range(5000))}).order) == 1000
    assert len(ExtractedMemory(**memory("x", turns=range(500))).source_turns) == 10


def test_bare_lists_and_single_numbers_are_understood() -> None:
    assert Ranking.model_validate([2, "1", 0]).order == [2, 1, 0]
    assert Used.model_validate({"used": 3}).used == [3]
    assert ExtractedMemory(**{**memory("x"), "source_turns": 4}).source_turns == [4]


def test_feedback_names_one_memory_or_none() -> None:
    assert Feedback.model_validate({"corrected": None, "text": ""}) == Feedback(corrected=None, text="")
    for wrong in ({"corrected": -1, "text": "x"}, {"text": "x"}, {"corrected": 1, "text": "x" * 501}):
        with pytest.raises(ValidationError):
            Feedback.model_validate(wrong)


def test_halves_of_surrogate_pairs_do_not_get_through() -> None:
    assert ExtractedMemory(**memory("a \ud83d b")).text == "a b"
