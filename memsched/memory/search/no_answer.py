"""What answers nothing: a question, or an answer that nobody knows. It has all the words of the same question.

Word lists, ``no_answer.json``. Questions are known by their marks in any script, without marks in English, German,
Spanish, Chinese, and Japanese; what does not know, in ten languages. A text is kept out only if each of its clauses is
one of these, or a courtesy: whatever else is in it may be an answer.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from typing import Any, Literal
from unicodedata import normalize

from memsched.lazy_pattern import LazyPattern
from memsched.lexicon import is_without_spaces

NoAnswer = Literal["", "asks", "unknown"]

_DATA: dict[str, Any] = json.loads(
    files("memsched.memory.search").joinpath("no_answer.json").read_text(encoding="utf-8")
)


def _any_of(name: str) -> LazyPattern:
    return LazyPattern("|".join(f"(?:{each})" for each in chain.from_iterable(_DATA[name].values())))


_ASKS, _KNOWS_NOT, _BARE, _COURTESY = map(_any_of, ("asks", "knows_not", "bare", "courtesy"))
_STATES_BY_ASKING = _any_of("states_by_asking")
_TAG = re.compile(_DATA["tags"])
_OPENING = re.compile(f"(?:{_DATA['opening']})+")
_WHO_WHAT = re.compile(_DATA["who_what"])
_OF_ONESELF = re.compile(_DATA["of_oneself"])
_ABOUT_ASKING = LazyPattern(
    "|".join(
        rf"\b(?:{words})\b" if language != "zh" else words.replace(" ", "|")
        for language, words in _DATA["about_asking"].items()
    )
)
_SENTENCE = re.compile("[^.!?\u2026\u3002\uff01\uff1f\u061f\u0964\n]+[.!?\u2026\u3002\uff01\uff1f\u061f\u0964]*")
_CLAUSE_ENDS = re.compile(f"[,;:\uff0c\uff1b\uff1a\u2013\u2014]|{_DATA['but']}")
_MARKS = ("?", "\uff1f", "\u061f")
_EDGES = " \t\r\n.!?\u2026\u3002\uff01\uff1f\u061f\u0964\"'*()"
_ASSISTANT = "assistant"
_NOTHING_YET: NoAnswer = ""
_READ = 2_000
"""Characters; whatever is longer says something."""
_SHORT, _SHORT_WITHOUT_SPACES = 3, 4
"""Words, and characters of a script without spaces, from which a clause of a question may state something."""


def asks_about_asking(query: str) -> bool:
    """Whether a query is about what somebody asked: then questions are answers."""
    return _ABOUT_ASKING.search(normalize("NFC", query[:_READ]).lower()) is not None


@lru_cache(maxsize=16_384)
def no_answer(text: str, speaker: str = "") -> NoAnswer:
    """Whether a text only asks, or only says that its speaker does not know; "" if it may answer something.

    Args:
        speaker: what an assistant does not know is no fact; what somebody else does not know may be one ("I don't
            know my father"), unless that is all that is said.
    """
    if len(text) > _READ:
        return ""
    plain = normalize("NFC", text).replace("\u2019", "'").lower()
    is_assistant, kind = speaker == _ASSISTANT, _NOTHING_YET
    for found in _SENTENCE.finditer(plain):
        sentence = found[0].strip()
        if not sentence.strip(_EDGES):
            continue
        if sentence.endswith(_MARKS):
            if _states(sentence):
                return ""
            kind = kind or "asks"
            continue
        for clause in _clauses(sentence):
            if _ASKS.match(clause):
                kind = kind or "asks"
            elif _BARE.fullmatch(clause) or (is_assistant and _KNOWS_NOT.match(clause)):
                kind = "unknown"
            elif not (_COURTESY.match(clause) or (is_assistant and kind and _WHO_WHAT.match(clause))):
                return ""
    return kind


def _clauses(sentence: str) -> list[str]:
    found = []
    for each in _CLAUSE_ENDS.split(sentence):
        clause = each.strip(_EDGES)
        opening = _OPENING.match(clause)
        clause = clause if opening is None else clause[opening.end() :]
        if clause:
            found.append(clause)
    return found


def _states(question: str) -> bool:
    """Whether a question says something: "did you know that I moved?", "my dog is ill, what can I do?"."""
    *before, last = _clauses(question) or [""]
    if _STATES_BY_ASKING.match(before[0] if before else last):
        return True
    is_tag = _TAG.fullmatch(last) is not None
    return any(
        (is_tag or _OF_ONESELF.match(clause)) and not _ASKS.match(clause) and _is_long(clause) for clause in before
    )


def _is_long(clause: str) -> bool:
    return len(clause.split()) >= _SHORT or (is_without_spaces(clause) and len(clause) >= _SHORT_WITHOUT_SPACES)
