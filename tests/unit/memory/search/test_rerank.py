"""The end of a ranking: repetitions go, newer statements pass older ones, variety if it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from memsched.memory.search.rerank import (
    ScoredHit,
    behind_what_they_stand_beside,
    newer_first,
    revisers_first,
    spread,
    without_repetitions,
)


def scored(text: str, score: float, at: int = 0, **payload: Any) -> ScoredHit:
    return ScoredHit(text, {"text": text, "at": at, **payload}, {"dense": score}, score)


def texts(ranked: list[ScoredHit]) -> list[str]:
    return [each.memory_id for each in ranked]


def add_up(ranked: list[ScoredHit]) -> bool:
    return all(each.score == pytest.approx(sum(each.parts.values())) for each in ranked)


def test_of_repetitions_the_newest_stays_at_the_place_of_the_best() -> None:
    ranked = [
        scored("best", 3, at=1, content_hash="x"),
        scored("other", 2),
        scored("newest", 1, at=9, content_hash="x"),
        scored("oldest", 0.5, at=0, content_hash="x"),
    ]

    kept = without_repetitions(ranked, 5)

    assert texts(kept) == ["newest", "other"]
    assert kept[0].score == 3
    assert add_up(kept)


def test_what_has_no_hash_repeats_nothing() -> None:
    assert texts(without_repetitions([scored("a", 2), scored("b", 1)], 5)) == ["a", "b"]


def test_of_two_statements_about_the_same_the_newer_comes_first() -> None:
    older, newer = scored("The front door is red", 3, at=1), scored("The front door is blue", 1, at=2)

    ranked = newer_first([older, scored("It rains", 2), newer], 5, {"front", "door"})

    assert texts(ranked) == ["The front door is blue", "The front door is red", "It rains"]
    assert [each.score for each in ranked] == [3, 3, 2]
    assert add_up(ranked)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"text": "The front door is red", "speaker": "Ann"}, {"text": "The front door is blue", "speaker": "Bob"}),
        ({"text": "The front door is red", "at": 5}, {"text": "The front door is blue", "at": 4}),
        ({"text": "The front door is red", "at": 5, "turn": 2}, {"text": "The front door is blue", "at": 5, "turn": 1}),
        ({"text": "The front door is red"}, {"text": "We painted the garden shed"}),
        ({"text": "red"}, {"text": "red", "at": 9}),
        ({"text": "The front door is red. " + "Long story. " * 20}, {"text": "The front door is blue"}),
    ],
    ids=["other speaker", "older", "earlier turn", "other subject", "one word", "long"],
)
def test_nothing_passes_what_it_does_not_replace(older: dict[str, Any], newer: dict[str, Any]) -> None:
    pair = [ScoredHit("older", {"at": 1, **older}, {}, 3), ScoredHit("newer", {"at": 2, **newer}, {}, 1)]

    assert texts(newer_first(pair, 5, set())) == ["older", "newer"]


def test_what_was_asked_for_by_name_is_not_passed_by_something_else() -> None:
    older, newer = scored("We spent the holidays in Rome", 3, at=1), scored("We spent the holidays in Oslo", 1, at=2)

    assert texts(newer_first([older, newer], 5, {"holiday", "rome"})) == texts([older, newer])


def test_no_question_passes_what_it_asks_about() -> None:
    statement, question = scored("My dog is called Rex.", 3, at=1), scored("Is my dog called Rex?", 2, at=2)

    assert texts(newer_first([statement, question], 5, frozenset(("dog",)))) == [
        statement.memory_id,
        question.memory_id,
    ]


def test_of_a_row_of_statements_the_newest_is_first_whatever_their_scores() -> None:
    colours = ["red", "green", "blue", "white"]
    doors = [scored(f"The front door is {colour}", 9 - at, at=at) for at, colour in enumerate(colours)]

    ranked = newer_first(doors, 5, {"door"})

    assert texts(ranked)[0] == "The front door is white"
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)


def test_diversity_brings_up_what_repeats_nothing() -> None:
    tulips = [scored(f"red tulips grow in bed {number}", 3 - number / 10) for number in range(3)]
    mower = scored("the mower is broken", 1)

    assert texts(spread([*tulips, mower], 2, 0.7)) == ["red tulips grow in bed 0", "the mower is broken"]
    assert texts(spread([*tulips, mower], 2, 0.01)) == texts(tulips[:2])
    assert len(spread([*tulips, mower], 9, 0.7)) == 4
    assert spread([], 3, 0.5) == []


def test_diversity_of_one_looks_at_nothing_but_words() -> None:
    ranked = [scored("a b c", 3), scored("a b d", 2), scored("x y z", -1)]

    assert texts(spread(ranked, 3, 1.0)) == ["a b c", "x y z", "a b d"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("o a b n", "n o a b"),
        ("a o b n", "a n o b"),
        ("a b o n c", "a n o b c"),
        ("a b c o d n", "a b c n o d"),
        ("n a o", "n a o"),
        ("o a m n", "n o a m"),
        ("m a o", "m a o"),
        ("o a", "o a"),
    ],
)
def test_what_may_revise_a_statement_comes_directly_before_it_and_pushes_it_from_no_first_place(
    before: str, after: str
) -> None:
    times, links = {"m": 5, "n": 9}, {"n": "it says it anew", "m": "it says it anew"}
    ranked = [
        scored(name, 10 - place, times.get(name, 0), **({"may_be_revised_by": links} if name == "o" else {}))
        for place, name in enumerate(before.split())
    ]

    placed = revisers_first(ranked)

    assert texts(placed) == after.split()
    assert [each.score for each in placed] == sorted((each.score for each in placed), reverse=True)
    assert add_up(placed)


@pytest.mark.parametrize("long", ["older", "newer"])
def test_what_may_revise_one_of_several_things_comes_directly_behind_their_text(long: str) -> None:
    chat = "It was great to talk to you again. " * 4
    said = {"older": "I ran.", "newer": "I ran!"}
    older, newer = (text + chat * (which == long) for which, text in said.items())
    ranked = [
        scored(older, 9, may_be_revised_by={newer: "the same of run"}),
        scored("I slept.", 8),
        scored(newer, 0, 1),
    ]

    assert texts(revisers_first(ranked)) == [older, newer, "I slept."]


@pytest.mark.parametrize(("length", "first"), [(140, "newer"), (141, "older")])
def test_what_may_revise_a_text_of_one_thing_comes_directly_before_it(length: int, first: str) -> None:
    older, newer = "older " + "o" * (length - 6), "newer"
    ranked = [scored(older, 9, may_be_revised_by={newer: "the same"}), scored(newer, 0, 1)]

    assert texts(revisers_first(ranked))[0].startswith(first)


def turn(text: str, score: float, place: int, **parts: float) -> ScoredHit:
    payload = {"text": text, "session_id": "s", "turn": place}
    return ScoredHit(text, payload, {"around": score - sum(parts.values()), **parts}, score)


HOLDS = "My sister moved to Oslo."


@pytest.mark.parametrize(
    ("beside", "holds", "behind"),
    [
        (turn("We cried a lot that day.", 5, 4), turn(HOLDS, 4, 3), True),
        (turn("We cried a lot that day.", 5, 4), turn("My sister moved.", 4, 3), False),
        (turn("We cried a lot that day.", 5, 4), turn("Has your sister moved to Oslo?", 4, 3), False),
        (turn("We cried a lot that day.", 5, 9), turn(HOLDS, 4, 3), False),
        (turn("It was in Oslo.", 5, 4), turn(HOLDS, 4, 3), False),
        (turn("We cried a lot that day.", 5, 4, time=2), turn(HOLDS, 4, 3), False),
        (turn("We cried a lot that day.", 5, 4, dense=2), turn(HOLDS, 4, 3, dense=1), False),
        (turn("We cried a lot that day.", 5, 4), turn(HOLDS, 6, 3), False),
    ],
    ids=["behind", "not-all-words", "a-question", "far-away", "has-a-word", "in-time", "by-meaning", "is-behind"],
)
def test_what_has_no_word_of_the_question_comes_behind_what_has_them_all(
    beside: ScoredHit, holds: ScoredHit, *, behind: bool
) -> None:
    other = turn("It rains.", 4.5, 30)
    beside, holds = (ScoredHit(each.memory_id, each.payload, dict(each.parts), each.score) for each in (beside, holds))
    ranked = sorted([beside, other, holds], key=lambda each: -each.score)

    found = behind_what_they_stand_beside(ranked, 5, frozenset(("sister", "move", "oslo")))

    assert found == ([other, holds, beside] if behind else ranked)
    assert add_up(found)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
