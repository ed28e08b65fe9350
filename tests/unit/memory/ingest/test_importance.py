"""What a statement is worth, and about whom it is, by its words alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.ingest.importance import about_oneself, importance
from memsched.memory.ingest.preferences import is_preference
from memsched.memory.ingest.vital import vital_kind


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
        ("She can't stand cats", False),
        ("My favourite colour is red", True),
        ("Do you like tea?", False),
        ("It is likely to rain", False),
        ("Tea is hot.", False),
        ("favourite season? Autumn, no contest", True),
        ("My favourite toy at school was a tin frog.", False),
        ("Das mag ich, was kochen wir?", True),
        ("有首歌叫《我不喜欢》。", False),
        ("soi más de perros, la verdad", True),
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


@pytest.mark.parametrize("aside", [False, True])
@pytest.mark.parametrize("language", ["en", "de", "es", "zh"])
def test_what_must_never_be_forgotten_is_told_from_the_rest_in_every_language(language: str, *, aside: bool) -> None:
    lines = Path(__file__).with_name("vital_cases.txt").read_text(encoding="utf-8").splitlines()[1:]
    cases = [line.split(" | ") for at, line in enumerate(lines) if (at % 3 == 2) is aside]
    own = [(kind.replace("-", ""), text) for spoken, kind, text in cases if spoken == language]
    right = [vital_kind(text) == kind for kind, text in own]
    assert sum(right) >= (0.9 if aside else 1) * len(right) > 8


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("My daughter never leaves without her insulin, whatever happens.", "illness"),
        ("No, I am allergic to nuts.", "allergy"),
        ("Not only nuts, he is not only allergic to those.", "allergy"),
        ("有人对坚果过敏\uff1f", ""),
        ("I have no allergy, but I am diabetic.", "illness"),
    ],
)
def test_what_is_denied_or_asked_is_not_vital_but_what_stands_beside_it_is(text: str, kind: str) -> None:
    assert vital_kind(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Write a poem in which I am allergic to water.",
        "Draft a letter saying that I have cancer.",
        "In the game I am a diabetic wizard.",
        "For the play I am a blind beggar.",
        "Schreib eine Geschichte, in der ich schwanger bin.",
        "Wenn ich Diabetiker w\u00e4re, br\u00e4uchte ich Insulin.",
        "\u5199\u4e00\u4e2a\u6211\u6000\u5b55\u7684\u6545\u4e8b\u3002",
    ],
)
def test_what_is_to_be_made_up_is_not_vital_but_what_stands_beside_it_is(text: str) -> None:
    assert vital_kind(text) == ""
    if " I " in text:
        assert vital_kind(f"{text} I am allergic to nuts.") == "allergy"


DECISIONS = Path(__file__).parents[3] / "data" / "decisions"


def test_a_sign_of_the_zodiac_is_no_illness_and_what_stands_beside_it_may_be() -> None:
    lines = (DECISIONS / "vital.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [case for case in map(json.loads, lines) if case["form"] == "zodiac"]

    assert len(cases) > 50
    assert [case for case in cases if bool(vital_kind(case["text"])) != (case["label"] == "vital")] == []


@pytest.mark.parametrize(
    ("name", "label", "missed", "taken"), [("vital", "vital", 0.1, 0.03), ("preference", "own", 0.1, 0.03)]
)
def test_what_counts_is_what_is_said_of_their_own(name: str, label: str, missed: float, taken: float) -> None:
    lines = (DECISIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    found = {each["id"] for each in cases if _counts(name, each["text"], each["speaker"])}

    own = {each["id"] for each in cases if each["label"] == label}
    assert len(own - found) <= missed * len(own), sorted(own - found)
    assert len(found - own) <= taken * len(cases), sorted(found - own)


def _counts(name: str, text: str, speaker: str) -> bool:
    if name == "vital":
        return importance(text, about_speaker=False, speaker=speaker) >= 0.8
    return speaker == "user" and is_preference(text)
