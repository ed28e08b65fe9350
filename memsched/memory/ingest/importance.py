"""The importance of a statement, told by its words: the content's own value, and what it is about."""

from __future__ import annotations

import re

from memsched.lexicon import is_question, words
from memsched.memory.ingest.preferences import is_preference
from memsched.memory.ingest.vital import vital_kind

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
_IDENTITY = re.compile(
    r"\b(?:name is|named|called|lives? in|moved to|born|works? (?:as|at|for)|married|wife|husband|daughter|son|sister|"
    r"brother|mother|father|dog|cat)\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"\b(?:deadlines?|birthdays?|anniversar(?:y|ies)|password hints?|passed away|died)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d")
_BELOW_VITAL = 0.75
"""The most that anything else is worth."""
_PROPER_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][\w'-]+")


def about_oneself(text: str) -> bool:
    """Whether a speaker says something lasting of themselves: a fact or a preference, no question."""
    return bool(_ABOUT_ONESELF.search(text)) and not is_question(text)


def importance(text: str, *, about_speaker: bool, speaker: str = "") -> float:
    """The content's own value, 0 to 1: of what is vital most, of dates and deaths much, of small talk least.

    Args:
        speaker: who said it (``vital_kind``).
    """
    if vital_kind(text, speaker):
        return 0.9
    value = 0.2
    value += 0.2 * about_speaker
    value += 0.15 * bool(_IDENTITY.search(text))
    value += 0.15 * is_preference(text)
    value += 0.3 * bool(_DATE.search(text))
    value += 0.1 * bool(_NUMBER.search(text))
    value += 0.1 * bool(_PROPER_NAME.search(text))
    if is_question(text):
        value -= 0.15
    if len(words(text)) < 4:
        value -= 0.1
    return round(min(_BELOW_VITAL, max(0.05, value)), 3)
