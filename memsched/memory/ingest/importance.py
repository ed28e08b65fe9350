"""The importance of a statement, told by its words: the content's own value, and what it is about."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.lexicon import is_question, is_without_spaces, words

_ABOUT_ONESELF = re.compile(
    r"""\b(?:
      i\s*(?:'|\u2019)?\s*(?:am|m|was\s+born|live|moved|work|study|studied|grew|come\s+from|speak|own|have|
        (?:(?:don|can|won|didn|couldn)['\u2019]?t|do\s+not|cannot|never|always|usually|really|also|just)\s+\w+|
        love|like|enjoy|prefer|hate|dislike|need|want|believe|collect|play|teach|drive|eat|drink|use|adopted|married)
      |my\s+(?:name|wife|husband|partner|son|daughter|kid|child|mother|father|mom|mum|dad|sister|brother|dog|cat|pet|
        job|work|boss|home|house|address|birthday|age|favou?rite|hobby|car|doctor|allerg\w+|diet|phone|email|e-mail)
      |call\s+me
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_PREFERENCE = re.compile(
    r"\b(?:love|loves|like|likes|enjoy|enjoys|prefer|prefers|hate|hates|dislike|dislikes|favou?rite|"
    r"can['\u2019]?t stand|rather|fond of|fan of|"
    r"don['\u2019]?t (?:like|want|eat|drink)|never (?:eat|drink|want)|always want)\b",
    re.IGNORECASE,
)
_VITAL_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("vital_words.json").read_text(encoding="utf-8")
)
_NEGATIONS = re.compile("|".join(_VITAL_WORDS["negations"].values()), re.IGNORECASE)
_NEGATED_BEFORE = 3
"""Words before one of these in which a "no" is about it: "no known allergies", "no tengo ninguna alergia"."""
_NEGATED_ZH = re.compile(_VITAL_WORDS["negations_zh"])
_STANDS_ALL_THE_SAME = re.compile(_VITAL_WORDS["exempt"], re.IGNORECASE)
"""Where "not" denies something else: not to forget an allergy is to have one."""
_CLAUSE_ENDS = re.compile(r"[,.;:!?\n\uff0c\u3002\uff1b\uff1a\uff01\uff1f\u3001]")
_IDENTITY = re.compile(
    r"\b(?:name is|named|called|lives? in|moved to|born|works? (?:as|at|for)|married|wife|husband|daughter|son|sister|"
    r"brother|mother|father|dog|cat)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d")
_PROPER_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][\w'-]+")


def about_oneself(text: str) -> bool:
    """Whether a speaker says something lasting of themselves: a fact or a preference, no question."""
    return bool(_ABOUT_ONESELF.search(text)) and not is_question(text)


def is_preference(text: str) -> bool:
    return bool(_PREFERENCE.search(text)) and not is_question(text)


def vital_kind(text: str) -> str:
    """Of which kind a statement is that must not be forgotten whatever the talk is about; "" if it is none.

    By the words of ``vital_words.json``, in any of its languages, unless they are denied.
    """
    plain = text.lower()
    if not any(core in plain for core in _vital_cores()) or is_question(text):
        return ""
    return next((kind for kind, words_of_it in _vital_patterns().items() if _says(words_of_it, text)), "")


@lru_cache(maxsize=1)
def _vital_patterns() -> dict[str, re.Pattern[str]]:
    return {
        kind: re.compile("|".join(_pattern(word) for listed in lists.values() for word in listed), re.IGNORECASE)
        for kind, lists in _VITAL_WORDS["kinds"].items()
    }


@lru_cache(maxsize=1)
def _vital_cores() -> frozenset[str]:
    """A piece of each of these words, without which it is not there: most texts have none, and need no pattern."""
    listed = (
        word for lists in _VITAL_WORDS["kinds"].values() for words_of_it in lists.values() for word in words_of_it
    )
    return frozenset(max(re.split(r"\(.*?\)|\*", word), key=len).lower() for word in listed)


def _pattern(word: str) -> str:
    inside = word.replace("*", r"\w*")
    return inside if is_without_spaces(word) else rf"\b(?:{inside})\b"


def _says(pattern: re.Pattern[str], text: str) -> bool:
    return any(not _is_denied(text, found.start()) for found in pattern.finditer(text))


def _is_denied(text: str, at: int) -> bool:
    """Whether what begins there is said not to be. Two denials are none: "never without my insulin"."""
    clause = _CLAUSE_ENDS.split(text[:at])[-1]
    if _STANDS_ALL_THE_SAME.search(clause):
        return False
    denials = [_NEGATIONS.fullmatch(word) is not None for word in clause.split()]
    is_denied = any(denials[-_NEGATED_BEFORE:]) and sum(denials) % 2 == 1
    return is_denied or _NEGATED_ZH.search(clause) is not None


def importance(text: str, *, about_speaker: bool) -> float:
    """The content's own value, 0 to 1, from what it mentions: health and dates most, small talk least."""
    if vital_kind(text):
        return 0.9
    value = 0.2
    value += 0.2 * about_speaker
    value += 0.15 * bool(_IDENTITY.search(text))
    value += 0.15 * is_preference(text)
    value += 0.1 * bool(_NUMBER.search(text))
    value += 0.1 * bool(_PROPER_NAME.search(text))
    if is_question(text):
        value -= 0.15
    if len(words(text)) < 4:
        value -= 0.1
    return round(min(0.85, max(0.05, value)), 3)
