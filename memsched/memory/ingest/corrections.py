"""What can be told of a statement without a model: is it about its speaker, is it worth much, does it correct?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from memsched.memory.search.bm25 import NEGATIONS, STOP_WORDS, stem, words

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
_VITAL = re.compile(
    r"\b(?:allerg\w*|intoleran\w*|asthma\w*|diabet\w*|epilep\w*|medication|medicine|pregnan\w*|vegan|vegetarian|"
    r"emergency|blood type|disab\w*|anaphyla\w*|celiac|coeliac|insulin|deadline|birthday|anniversary|password hint|"
    r"passed away|died|diagnos\w*)\b",
    re.IGNORECASE,
)
_IDENTITY = re.compile(
    r"\b(?:name is|named|called|lives? in|moved to|born|works? (?:as|at|for)|married|wife|husband|daughter|son|sister|"
    r"brother|mother|father|dog|cat)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d")
_PROPER_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][\w'-]+")
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
_QUESTION = re.compile(r"\?\s*$")


def about_oneself(text: str) -> bool:
    """Whether a speaker says something lasting of himself: a fact or a preference, no question."""
    return bool(_ABOUT_ONESELF.search(text)) and not _QUESTION.search(text)


def is_preference(text: str) -> bool:
    return bool(_PREFERENCE.search(text)) and not _QUESTION.search(text)


def importance(text: str, *, about_speaker: bool) -> float:
    """The content's own value, 0 to 1, from what it mentions: health and dates most, small talk least."""
    if _VITAL.search(text) and not _QUESTION.search(text):
        return 0.9
    value = 0.2
    value += 0.2 * about_speaker
    value += 0.15 * bool(_IDENTITY.search(text))
    value += 0.15 * is_preference(text)
    value += 0.1 * bool(_NUMBER.search(text))
    value += 0.1 * bool(_PROPER_NAME.search(text))
    if _QUESTION.search(text):
        value -= 0.15
    if len(words(text)) < 4:
        value -= 0.1
    return round(min(0.85, max(0.05, value)), 3)


def says_correction(text: str) -> bool:
    """Whether it sounds as if it took something back that was said before."""
    return any(map(_sounds_so, _sentences(text)))


def corrects(new: str, old: str) -> float:
    """How much of an older statement's subject a newer one repeats that corrects it, 0 to 1; 0 if it does not.

    A correction names what it is about again (the city where Anna lives) and says it anew: of two short statements,
    what one of them begins with, and one word more, must be in both.
    """
    return max((_corrects(each, old, weak) for each, weak in _correcting(new)), default=0.0)


def same_subject(new: str, old: str) -> float:
    """The like for a statement of which it is certain that it corrects something: words in common, 0 to 1."""
    newer, older = _subject(new), _subject(old)
    if newer == older and negated(new) == negated(old):
        return 0.0
    return len(set(newer) & set(older)) / max(1, min(len(newer), len(older)))


def _corrects(new: str, old: str, weak: bool) -> float:
    newer, older = _subject(new), _subject(old)
    if not newer or not older or max(len(newer), len(older)) > _LONGEST:
        return 0.0
    if set(newer) == set(older) and negated(new) == negated(old):
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
    return [each for each in _SENTENCE_END.split(text.strip()) if each and not _QUESTION.search(each)]


def _subject(text: str) -> list[str]:
    """The stems of what a statement is about, in order: without the words that only say that it corrects."""
    found: dict[str, None] = {}
    for word in words(_MOVES.sub("lives ", text)):
        if word in _FIRST_PERSON or word.startswith("i'"):
            found[_I] = None
        elif word not in STOP_WORDS and word not in NEGATIONS and (stemmed := stem(word)) not in _CUES:
            found[stemmed] = None
    return list(found)


def _denied(text: str) -> set[str]:
    return {each for match in _DENIED.finditer(text) for part in match.groups() if part for each in _subject(part)}


def negated(text: str) -> bool:
    found = words(text)
    return any(word in NEGATIONS or word.endswith("n't") for word in found)
