"""Content value: how likely what a memory says is to be asked for one day, from its words and its place in the talk.

A logistic model (ridge) with word lists of four languages; ``content_value.json`` has both,
``scripts/fit_content_value.py`` fits the weights, on English. In other languages what is left is free of language:
length, digits, rare words, marks, place, and whether it was said after a question.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from memsched.lexicon import is_without_spaces, stems, words
from memsched.memory.content.topic_words import language_of

_DATA: dict[str, Any] = json.loads(
    files("memsched.memory.content").joinpath("content_value.json").read_text(encoding="utf-8")
)
CONSTANT: float = _DATA["constant"]
WEIGHTS: dict[str, float] = _DATA["weights"]
_LISTS = {
    language: {name: tuple(dict.fromkeys(listed.split())) for name, listed in lists.items()}
    for language, lists in _DATA["words"].items()
}
_NAME = re.compile(r"(?<![.!?\u2026] )(?<!^)(?<=\s)[A-Z][\w'-]+")
_WORD = re.compile(r"[\w']+")
_QUESTION, _COMMA, _EXCLAIM = (re.compile(f"[{marks}]") for marks in ("?\uff1f", ",\uff0c\u3001", "!\uff01"))
_DIGIT = re.compile("[\\d\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07]")
"""Of Chinese numerals all but one and a pair, which are in any text."""
_RAREST = 5


@dataclass(frozen=True, slots=True)
class Content:
    """What a text alone says of its value.

    Args:
        stems: the distinct stems of the text and of who said it.
        base: the value so far; the rarity of its words and its place in the talk are still missing.
        asks: whether a question mark is in it.
    """

    stems: tuple[str, ...]
    base: float
    asks: bool


def content_of(speaker: str, text: str) -> Content:
    """Read one text."""
    features = text_features(text)
    base = CONSTANT + sum(WEIGHTS[name] * value for name, value in features.items())
    distinct = tuple(dict.fromkeys(stems(f"{speaker}: {text}" if speaker else text)))
    return Content(distinct, base, bool(_QUESTION.search(text)))


def content_value(content: Content, seen: Sequence[int], earlier: int, place: int, *, after_question: bool) -> float:
    """The value of a memory, as log odds.

    Args:
        seen: for each of its stems, how many earlier memories of the cube have it.
        earlier: how many memories of the cube are earlier.
        place: how many are so in its session.
        after_question: whether the one before it in its session asks something.
    """
    features = {
        "rare": rarity(seen, earlier),
        "place": min(3.0, math.log1p(place)),
        "after_question": float(after_question),
    }
    return content.base + sum(WEIGHTS[name] * value for name, value in features.items())


def text_features(text: str) -> dict[str, float]:
    """Those features of a text that need nothing else. Counts are capped, so that a list of questions is no abyss."""
    plain = text.lower().replace("\u2019", "'")
    lists = _LISTS[language_of(text)]
    used = plain if is_without_spaces(plain) else _WORD.findall(plain)
    said = {name: sum(map(used.count, lists[name])) for name in ("first", "when", "change", "you")}
    opening = _WORD.search(plain)
    return {
        "length": math.log1p(len(text.split()) if " " in text else len(words(text))),
        "digit": float(_DIGIT.search(text) is not None),
        "names": float(min(4, len(_NAME.findall(text)))),
        "first": float(said["first"] > 0),
        "when": float(said["when"] > 0),
        "change": float(said["change"] > 0),
        "filler": float(opening is not None and opening[0].startswith(lists["filler"])),
        "questions": float(min(2, len(_QUESTION.findall(text)))),
        "you": float(min(3, said["you"])),
        "commas": float(min(3, len(_COMMA.findall(text)))),
        "exclaims": float(min(3, len(_EXCLAIM.findall(text)))),
    }


def text_value(text: str, place: int) -> float:
    """What a text alone, and its place in the session, say of its value: log odds above the least that there are.

    Unlike ``content_value`` it depends on nothing else, so it never changes.
    """
    return round(max(0.0, _without_rest(text_features(text), place) - _LEAST), 3)


def _without_rest(features: Mapping[str, float], place: float) -> float:
    known = sum(WEIGHTS[name] * value for name, value in features.items())
    return known + WEIGHTS["place"] * min(3.0, math.log1p(max(0.0, place)))


_LEAST = _without_rest({"questions": 2, "filler": 1, "you": 3, "commas": 3}, math.inf)
"""Of a text that has all that speaks against it, and nothing that speaks for it."""


def rarity(seen: Sequence[int], earlier: int) -> float:
    """How rare the five rarest words are among what was said before, 0 to about 1."""
    rarest = sorted(seen)[:_RAREST]
    return sum(math.log((earlier + 2) / (count + 1)) for count in rarest) / _RAREST / math.log(earlier + 3)
