"""Whether two memories say the same, so that one of them is enough."""

from __future__ import annotations

import re

from memsched.memory.ingest.corrections import negated
from memsched.memory.model import Memory
from memsched.memory.search.bm25 import STOP_WORDS, stem, words

_SHARE = 0.8
"""Of the words of both, those that both have."""
_NUMBER = re.compile(r"\d[\d.,:/-]*")
_NAME = re.compile(r"\b[A-Z][\w'-]+")


def say_the_same(one: Memory, other: Memory) -> bool:
    """By the same speaker, of the same kind, with nearly the same words, and no difference in what changes the meaning.

    That is: numbers, names, a negation, whether it is a question. "Max weighs 12 kg" and "Max weighs 13 kg" have nearly
    all words in common, and do not say the same.
    """
    if one.speaker != other.speaker or one.kind != other.kind or one.memory_type != other.memory_type:
        return False
    if one.text.rstrip().endswith("?") != other.text.rstrip().endswith("?") or negated(one.text) != negated(other.text):
        return False
    if _numbers(one.text) != _numbers(other.text) or _names(one.text) != _names(other.text):
        return False
    a, b = _words(one.text), _words(other.text)
    return bool(a | b) and len(a & b) / len(a | b) >= _SHARE


def _words(text: str) -> frozenset[str]:
    found = words(text)
    return frozenset(stem(word) for word in found if word not in STOP_WORDS) or frozenset(found)


def _numbers(text: str) -> list[str]:
    return sorted(number.rstrip(".,:/-") for number in _NUMBER.findall(text))


def _names(text: str) -> frozenset[str]:
    """Capitalised words, but for the first of a sentence, which always is."""
    inner = re.sub(r"(?:^|[.!?]\s+)\W*\w+", " ", text)
    return frozenset(stem(name.lower()) for name in _NAME.findall(inner))
