"""Revisions: when a later statement puts an earlier one aside, when it may revise it, and when it has nothing to do
with it. By the words of the two alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from memsched.lexicon import STOP_WORDS, is_negated, is_negation, is_question, stem, words

Verdict = Literal["supersedes", "may_revise", "unrelated"]
_CORRECTS_FROM = 0.4


class Said(Protocol):
    """What somebody said: a memory is one."""

    @property
    def text(self) -> str: ...

    @property
    def speaker(self) -> str: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Revision:
    """What a later statement does to an earlier one.

    Args:
        verdict: ``supersedes``: the earlier one is no longer true. ``may_revise``: it may be so; nothing is hidden.
        because: why, as a clause.
    """

    verdict: Verdict
    because: str = ""


UNRELATED = Revision("unrelated")

_ADMITS = re.compile(
    r"""\b(?:correction|i\s+meant|(?:i|that)\s+was\s+wrong|my\s+mistake|scratch\s+that|to\s+correct\s+(?:myself|that)|
      changed\s+(?:my|his|her|their|our)\s+mind|no\s+longer|instead\s+of|switched\s+(?:from|to))\b
    |^it\s+turns\s+out\b
    |(?:\bnot|n['\u2019]?t|\bno)\b.{1,60}\b(?:any\s*more|any\s+longer)[.!]?$
    |\b(?:not|isn['\u2019]?t|wasn['\u2019]?t)\s+[\w' -]{1,40}?(?:,\s*|\s+)but\b
    |,\s*not\s+[\w' -]{1,40}[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Leaves no doubt that something said before was wrong, or is so no more."""
_HINTS = re.compile(
    r"""^\W*(?:actually|update|in\s+fact)\b
    |^\W*(?:sorry|oops|wait|wrong|rather)\s*(?:[,:;.!\u2014-]|$)
    |\b(?:i\s+mean|used\s+to\s+\w+|from\s+now\s+on|has\s+changed|(?:is|are|am|lives?|works?)\s+now|
      now\s+(?:lives?|works?|prefers?|likes?|is|are)|(?:has|have)\s+(?:since\s+)?moved)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""May correct something, or be a way to begin a sentence."""
_WEAK_HINTS = re.compile(
    r"""^\W*(?:no|nope)\s*[,:;.!\u2014-]
    |\bmoved\s+(?:back\s+)?to\b(?!.*\b(?:ago|when|(?:19|20)\d\d)\b)
    |(?<!right\s)(?<!just\s)\bnow[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Correct only what has the same form: "she works in Rome" by "she works in Oslo now"."""
_DENIED = re.compile(
    r"""\b(?:not|isn['\u2019]?t|wasn['\u2019]?t)\s+([\w' -]{1,40}?)(?:,\s*|\s+)but\b
    |,\s*not\s+([\w' -]{1,40})[.!]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What "not Paris but Rome" and "Rome, not Paris" take back."""
_CUE_WORDS = """
actually correction sorry oops wait wrong fact rather update mistake scratch longer anymore instead meant mean changed
mind used turns now switched since correct no nope not never more any but turn out change told said earlier before well
oh
"""
_CUES = frozenset(map(stem, _CUE_WORDS.split()))
_NOT_EXCLUSIVE = frozenset(map(stem, "like likes love loves enjoy enjoys want wants got get go went".split()))
"""Who likes one thing may like another: such a word in common says nothing where it is only hinted at a correction."""
_MOVES = re.compile(
    r"\b(?:(?:has|have|had)\s+)?(?:just\s+)?(?:moved|relocated|reside[sd]?)\s+(?:back\s+)?(?=(?:to|in|from)\b)",
    re.IGNORECASE,
)
_FIRST_PERSON = frozenset(("i", "me", "my", "mine", "myself"))
_I = "\x00i"
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026])\s+|\n+")
_LONGEST = 12
"""Content words of a statement, or of a sentence that corrects one. What is longer is about several things: it would
be wrong to take all of it back, and by chance it has words in common with anything."""
_FEWEST_COMMON = 2
_SAID_ANEW = 2


def may_correct(text: str) -> bool:
    """Whether a text may revise anything at all that was said before it, or after it."""
    return any(map(_sounds_so, _sentences(text)))


def revises(newer: Said, older: Said) -> Revision:
    """What a later statement does to an earlier one."""
    if newer.speaker != older.speaker and newer.speaker and older.speaker:
        return UNRELATED
    if is_question(older.text) or _corrects(newer.text, older.text) < _CORRECTS_FROM:
        return UNRELATED
    return Revision("supersedes", "it says the same of something else")


def _corrects(new: str, old: str) -> float:
    """How much of an older statement's subject a newer one repeats that corrects it, 0 to 1; 0 if it does not.

    A correction names what it is about again (the city where Anna lives) and says it anew: of two short statements,
    what one of them begins with, and one word more, must be in both.
    """
    return max((_corrects_by(each, old, weak) for each, weak in _correcting(new)), default=0.0)


def same_subject(new: str, old: str) -> float:
    """The like for a statement of which it is certain that it corrects something: words in common, 0 to 1."""
    newer, older = _subject(new), _subject(old)
    if newer == older and is_negated(new) == is_negated(old):
        return 0.0
    return len(set(newer) & set(older)) / max(1, min(len(newer), len(older)))


def _corrects_by(new: str, old: str, weak: bool) -> float:
    newer, older = _subject(new), _subject(old)
    if not newer or not older or max(len(newer), len(older)) > _LONGEST:
        return 0.0
    if set(newer) == set(older) and is_negated(new) == is_negated(old):
        return 0.0
    if denied := _denied(new):
        if not denied & set(older):
            return 0.0
        if len(newer) <= len(denied) + _SAID_ANEW:  # "not tea but coffee": what it is about goes without saying
            return len(denied & set(older)) / len(denied)
    elif not _ADMITS.search(new):
        if weak and not _same_form(newer, older):
            return 0.0
        newer = [each for each in newer if each not in _NOT_EXCLUSIVE]
        older = [each for each in older if each not in _NOT_EXCLUSIVE]
    common = set(newer) & set(older)
    if len(common) < _FEWEST_COMMON and not _same_form(newer, older):
        return 0.0
    if not (_first(newer) in common or _first(older) in common):
        return 0.0
    return len(common) / min(len(set(newer)), len(set(older)))


def _same_form(newer: Sequence[str], older: Sequence[str]) -> bool:
    """The meeting is on Friday, and: wait, the meeting is on Monday."""
    if len(newer) != len(older):
        return False
    return sum(one != other for one, other in zip(newer, older, strict=True)) == 1


def _first(subject: Sequence[str]) -> str:
    """What it is about: beside oneself, if that is all that there is to say who."""
    return next((each for each in subject if each != _I), "")


def _correcting(text: str) -> list[tuple[str, bool]]:
    """The sentences that correct, and whether they only may.

    After a sentence that only says that something was wrong it is the next one.
    """
    found: list[tuple[str, bool]] = []
    announced = False
    for sentence in _sentences(text):
        if announced or _sounds_so(sentence):
            found.append((sentence, not (announced or _ADMITS.search(sentence) or _HINTS.search(sentence))))
            announced = not set(_subject(sentence)) - {_I}
    return found


def _sounds_so(sentence: str) -> bool:
    return any(each.search(sentence) for each in (_ADMITS, _HINTS, _WEAK_HINTS))


def _sentences(text: str) -> list[str]:
    """Those that are no questions."""
    return [each for each in _SENTENCE_END.split(text.strip()) if each and not is_question(each)]


def _subject(text: str) -> list[str]:
    """The stems of what a statement is about, in order: without the words that only say that it corrects."""
    found: dict[str, None] = {}
    for word in words(_MOVES.sub("lives ", text)):
        if word in _FIRST_PERSON or word.startswith("i'"):
            found[_I] = None
        elif word not in STOP_WORDS and not is_negation(word) and (stemmed := stem(word)) not in _CUES:
            found[stemmed] = None
    return list(found)


def _denied(text: str) -> set[str]:
    return {each for match in _DENIED.finditer(text) for part in match.groups() if part for each in _subject(part)}
