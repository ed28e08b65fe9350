"""What can be told of a statement without a model: is it about its speaker, is it worth much, does it correct?"""

from __future__ import annotations

import re

from memsched.memory.lexical import NEGATIONS, STOP_WORDS, stem, words

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
_CORRECTS = re.compile(
    r"""(?:
      ^\W*(?:actually|correction|sorry|oops|no|nope|wait|wrong|in\s+fact|rather|update|my\s+mistake|scratch\s+that|
        i\s+was\s+wrong|to\s+correct\s+(?:myself|that))\b\s*[,:;.!\u2014-]
      |^\W*(?:actually|correction|update)\b
      |\b(?:not|isn['\u2019]?t|wasn['\u2019]?t)\s+[\w' -]{1,40}?\s*(?:,\s*|\s+)(?:but|anymore|any\s+more|any\s+longer)\b
      |,\s*not\s+[\w' -]{1,40}[.!]?$
      |\b(?:no\s+longer|not\s+any\s*more|any\s*more|any\s+longer|instead\s+of|i\s+meant|i\s+mean|changed\s+(?:my|his|her|
        their|our)\s+mind|used\s+to\s+\w+|it\s+turns\s+out|that\s+was\s+wrong|from\s+now\s+on|has\s+changed|
        (?:is|are|am|lives?|works?)\s+now|now\s+(?:lives?|works?|prefers?|likes?|is|are)|switched\s+(?:from|to)|
        (?:has|have)\s+(?:since\s+)?moved)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CUES = frozenset(
    stem(word)
    for word in [
        "actually",
        "correction",
        "sorry",
        "oops",
        "wait",
        "wrong",
        "fact",
        "rather",
        "update",
        "mistake",
        "scratch",
        "longer",
        "anymore",
        "instead",
        "meant",
        "mean",
        "changed",
        "mind",
        "used",
        "turns",
        "now",
        "switched",
        "since",
        "moved",
        "correct",
        "no",
        "not",
        "never",
        "more",
        "longer",
        "any",
        "but",
        "turn",
        "out",
        "change",
        "told",
        "said",
        "earlier",
        "before",
    ]
)
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
    return bool(_CORRECTS.search(text)) and not _QUESTION.search(text)


def subject_words(text: str) -> frozenset[str]:
    """The stems of what a statement is about: without the words that only say that it corrects."""
    found = (stem(word) for word in words(text) if word not in STOP_WORDS and word not in NEGATIONS)
    return frozenset(each for each in found if each not in _CUES)


def corrects(new: str, old: str) -> float:
    """How much of an older statement's subject the newer one repeats, 0 to 1; 0 if it says nothing else.

    A correction names what it is about again (the city where Anna lives) and says it anew; a share of one half and
    more is a match.
    """
    newer, older = subject_words(new), subject_words(old)
    if not newer or not older:
        return 0.0
    common = newer & older
    if not common or (newer == older and negated(new) == negated(old)):
        return 0.0
    return len(common) / min(len(newer), len(older))


def negated(text: str) -> bool:
    found = words(text)
    return any(word in NEGATIONS or word.endswith("n't") for word in found)
