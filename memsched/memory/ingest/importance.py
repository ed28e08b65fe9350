"""The importance of a statement, told by its words: the content's own value, and what it is about."""

from __future__ import annotations

import re

from memsched.lexicon import is_question, words

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
_VITAL = {
    "allergy": r"allerg\w*|intoleran\w*|anaphyla\w*|celiac|coeliac",
    "illness": r"asthma\w*|diabet\w*|epilep\w*|insulin|medication|medicine|pregnan\w*|disab\w*|diagnos\w*",
    "diet": r"vegan|vegetarian",
    "emergency": r"emergency|blood type",
    "date": r"deadline|birthday|anniversary",
    "other": r"password hint|passed away|died",
}
_VITAL_WORDS = {kind: re.compile(rf"\b(?:{listed})\b", re.IGNORECASE) for kind, listed in _VITAL.items()}
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
    """Of which kind a statement is that must not be forgotten whatever the talk is about; "" if it is none."""
    if is_question(text):
        return ""
    return next((kind for kind, listed in _VITAL_WORDS.items() if listed.search(text)), "")


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
