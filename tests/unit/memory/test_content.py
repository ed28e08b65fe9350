"""What a text is worth, from its words and its place."""

from __future__ import annotations

import math

import pytest

from memsched.memory.content.content_value import WEIGHTS, content_of, content_value, rarity, text_features


def value(text: str, speaker: str = "") -> float:
    content = content_of(speaker, text)
    return content_value(content, [0] * len(content.stems), 50, 2, after_question=False)


def test_facts_are_worth_more_than_chatter() -> None:
    fact = value("I started working at the clinic in Porto last Monday.")

    assert fact > value("Wow, that sounds great!") + 2
    assert fact > value("What do you think of it?") + 1


@pytest.mark.parametrize(
    ("text", "feature", "expected"),
    [
        ("Yesterday we met Carla and Ben in Rome.", "names", 3),
        ("Ben came. Carla left.", "names", 0),
        ("Thanks, that's glad news", "filler", 1),
        ("This is what I\u2019ve seen", "first", 1),
        ("Room 12", "digit", 1),
        ("Why? Why? Why?", "questions", 2),
        ("\u4f60\u559c\u6b22\u4ec0\u4e48\uff1f", "questions", 1),
        ("\u82f9\u679c\uff0c\u68a8\u3001\u6843", "commas", 2),
        ("you you're your you've", "you", 3),
        ("one two three", "length", math.log(4)),
        ("Next weekend", "when", 1),
        ("Ich habe gestern mit meiner Schwester telefoniert", "when", 1),
        ("Danke, das ist sch\u00f6n von dir", "filler", 1),
        ("Mi hermana y yo llegamos el lunes", "first", 1),
        ("\u6211\u6628\u5929\u62a5\u540d\u4e86", "when", 1),
        ("\u6211\u6628\u5929\u62a5\u540d\u4e86", "change", 1),
        ("\u79df\u91d1\u516b\u5343", "digit", 1),
        ("Die first, she said with a smile", "when", 0),
    ],
)
def test_a_feature_is_what_its_name_says(text: str, feature: str, expected: float) -> None:
    assert text_features(text)[feature] == pytest.approx(expected)


def test_there_is_a_weight_for_every_feature() -> None:
    assert WEIGHTS.keys() == {*text_features(""), "rare", "place", "after_question"}


def test_words_that_nobody_said_before_are_rare_and_fewer_than_five_are_less() -> None:
    assert rarity([0, 0, 0, 0, 0, 99], 100) > rarity([50, 50, 50, 50, 50], 100) > rarity([50], 100) > 0
    assert rarity([], 100) == 0


def test_what_follows_a_question_is_worth_more() -> None:
    content = content_of("Ann", "The blue one")

    after, otherwise = (content_value(content, [1, 1], 9, 1, after_question=asked) for asked in (True, False))

    assert after - otherwise == pytest.approx(WEIGHTS["after_question"])
    assert content.stems == ("ann", "blue", "one")
