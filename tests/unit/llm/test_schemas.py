"""What a model sends back is bounded by its schema, and believed only as far as its source goes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from memsched.llm.schemas import ExtractedMemory, Extraction, Feedback, Ranking, Used, verified


def memory(text: str, quote: str = "", turns: Any = (0,), **more: Any) -> dict[str, Any]:
    return {"kind": "fact", "text": text, "quote": quote or text, "source_turns": list(turns), **more}


def reason_against(text: str, turn: str, quote: str = "", speaker: str = "Ann") -> str | None:
    """Why a memory of one turn is not believed; None when it is."""
    rejected: Counter[str] = Counter()
    extraction = Extraction(memories=[ExtractedMemory(**memory(text, quote or turn))])
    kept = verified(extraction, [turn], speakers=[speaker], rejected=rejected)
    assert len(kept) + rejected.total() == 1
    return next(iter(rejected), None)


# Schemas


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


# Source turns and quotes


@pytest.mark.parametrize("turns", [[1], [-1], [0, 7], [10**30]])
def test_a_memory_of_a_turn_that_is_not_there_is_rejected(turns: list[int]) -> None:
    rejected: Counter[str] = Counter()

    kept = verified(Extraction.model_validate([memory("I like tea", turns=turns)]), ["I like tea"], rejected=rejected)

    assert (kept, rejected) == ([], {"turns": 1})


@pytest.mark.parametrize("quote", ["I like coffee", "tea I like", "?", "..."])
def test_a_quote_that_nobody_said_is_rejected(quote: str) -> None:
    assert reason_against("Ann likes tea", "I like tea. OK?", quote) == "quote"


@pytest.mark.parametrize("quote", ["i LIKE  tea", "I like\ntea", "don’t drink"])
def test_a_quote_may_differ_in_case_white_space_and_kind_of_sign(quote: str) -> None:
    assert reason_against("Ann likes tea and doesn't drink wine", "I like tea and don't drink wine", quote) is None


def test_the_quote_must_be_in_a_source_turn() -> None:
    sent = Extraction.model_validate([memory("Ann likes tea", "I like tea", turns=[1])])

    assert verified(sent, ["I like tea", "I like coffee"]) == []


def test_the_same_memory_is_kept_once() -> None:
    rejected: Counter[str] = Counter()
    twice = Extraction.model_validate([memory("I like tea"), memory("i like  TEA")])

    assert len(verified(twice, ["I like tea"], rejected=rejected)) == 1
    assert rejected == {"duplicate": 1}


# Support


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        ("I'm allergic to nuts", "Ann is allergic to nuts."),
        ("I'm allergic to nuts", "The user is allergic to nuts"),
        ("I'm allergic to nuts", "Allergic to nuts"),
        ("We bought a house in Uppsala for 3,500,000 kronor", "Ann bought a house in Uppsala for 3500000 kronor"),
        ("I have two kids, Tim and Lea", "Ann has 2 kids, Tim and Lea"),
        ("I have 2 kids", "Ann has two"),
        ("my sister's wedding is on May 7th at 3pm", "Ann's sister's wedding is on May 7 at 3 pm"),
        ("I'd rather have tea than coffee", "Prefers tea over coffee"),
        ("Ich wohne in Köln und arbeite bei Müller", "Ann wohne in Köln, arbeite bei Müller"),
        ("我喜欢喝茶", "Ann 喜欢喝茶"),
    ],
)
def test_what_the_turn_says_is_kept(turn: str, text: str) -> None:
    assert reason_against(text, turn) is None


@pytest.mark.parametrize(
    ("turn", "text", "reason"),
    [
        ("I'm allergic to nuts", "Ann owns a yacht and a castle", "words"),
        ("I'm allergic to nuts", "Ann loves nuts", "words"),
        ("I have 2 kids", "Ann has 3 kids", "number"),
        ("I have two kids", "Ann has three kids", "number"),
        ("I have two kids", "Ann has one kid", "number"),
        ("I paid 30 kronor", "Ann paid 3 kronor", "number"),
        ("I paid 2.5 kronor", "Ann paid 25 kronor", "number"),
        ("I love tea", "Bob loves tea", "name"),
        ("I love tea", "Ann told Bob that she loves tea", "name"),
        ("I will meet him there", "Ann will meet Will there", None),
        ("I meet him there", "Ann meets Will there", "name"),
        ("We moved to Uppsala", "Ann moved to Stockholm", "name"),
        ("I love tea", "Ann", "empty"),
    ],
)
def test_what_the_turn_does_not_say_is_rejected(turn: str, text: str, reason: str | None) -> None:
    assert reason_against(text, turn) == reason


def test_only_speakers_of_the_source_turns_may_be_named() -> None:
    sent = Extraction.model_validate([memory("Bob is allergic to nuts", "I am allergic to nuts", turns=[0])])

    assert verified(sent, ["I am allergic to nuts", "Oh dear"], speakers=["Ann", "Bob"]) == []


@pytest.mark.parametrize(
    ("turn", "quote", "text"),
    [
        ("I don't eat meat", "I don't eat meat", "Ann eats meat"),
        ("I don't eat meat", "eat meat", "Ann eats meat"),
        ("I have never been to Rome", "been to Rome", "Ann has been to Rome"),
        ("I do NOT like jazz", "like jazz", "Ann likes jazz"),
        ("I dont like jazz", "like jazz", "Ann likes jazz"),
        ("I don’t avoid sugar", "avoid sugar", "Ann avoids sugar"),
        ("I like jazz", "I like jazz", "Ann does not like jazz"),
        ("I don't like jazz.\n\nI said like jazz", "like jazz", "Ann likes jazz"),
        ("I don't, as I said\n\nbefore, like jazz", "before, like jazz", None),
    ],
)
def test_a_not_neither_vanishes_nor_appears(turn: str, quote: str, text: str | None) -> None:
    if text is None:  # the end of a line parts clauses, and finding the quote across it does no harm
        assert reason_against("Ann does not like jazz", turn, quote) is None
    else:
        assert reason_against(text, turn, quote) == "negation"


@pytest.mark.parametrize(
    ("turn", "quote", "text"),
    [
        ("I don't eat meat", "I don't eat meat", "Ann does not eat meat"),
        ("I don't like jazz", "I don't like jazz", "Ann dislikes jazz"),
        ("I don't like jazz but I love tea", "I love tea", "Ann loves tea"),
        ("I never smoke. I drink tea", "I drink tea", "Ann drinks tea"),
        ("No, I drink tea", "I drink tea", "Ann drinks tea"),
        ("I hate jazz music", "I hate jazz music", "Ann does not like jazz music, hates jazz"),
    ],
)
def test_a_not_of_another_clause_does_no_harm(turn: str, quote: str, text: str) -> None:
    assert reason_against(text, turn, quote) is None
