"""Deduplication: whether two memories say the same, so that one of them is enough.

Exact duplicates are found by ``content_hash`` before they are stored; near ones by ``say_the_same``, when a cube is
organized.
"""

from __future__ import annotations

import hashlib
import re

from memsched.lexicon import NUMBER_WORDS, STOP_WORDS, is_negated, is_question, stem, words
from memsched.memory.model import Memory

_FILLING = frozenset(("oh hey hi well really very so just wow yeah yes ok okay please also").split())
_SHARE = 0.8
"""Of the words of both, those that both have."""
_NUMBER = re.compile(r"\d[\d.,:/-]*")
_NAME = re.compile(r"\b[A-Z][\w'-]+")


def content_hash(speaker: str, text: str, asked: str = "") -> str:
    """Equal for texts of one speaker that differ in endings, spaces, case, marks and filling words only.

    Args:
        asked: the question that a short answer answers, without which it means nothing: a part of what is said.
    """
    if asked:
        text = f"{asked}\x1f{text}"
    plain = " ".join(stem(word) for word in words(text) if word not in _FILLING) or text.strip()
    mark = "?" if is_question(text) else ""
    return hashlib.sha256(f"{speaker.casefold()}\x1f{plain}{mark}".encode("utf-8", "replace")).hexdigest()[:32]


def say_the_same(one: Memory, other: Memory) -> bool:
    """By the same speaker, of the same kind, with nearly the same words, and no difference in what changes the meaning.

    That is: numbers, names, a negation, whether it is a question, what is on a picture. "Max weighs 12 kg" and "Max
    weighs 13 kg" have nearly all words in common, and do not say the same.
    """
    if one.speaker != other.speaker or one.kind != other.kind or one.memory_type != other.memory_type:
        return False
    if one.caption.casefold() != other.caption.casefold():
        return False
    if is_question(one.text) != is_question(other.text) or is_negated(one.text) != is_negated(other.text):
        return False
    if _numbers(one.text) != _numbers(other.text) or _names(one.text) != _names(other.text):
        return False
    a, b = _words(one.text), _words(other.text)
    return bool(a | b) and len(a & b) / len(a | b) >= _SHARE


def _words(text: str) -> frozenset[str]:
    found = words(text)
    return frozenset(stem(word) for word in found if word not in STOP_WORDS) or frozenset(found)


def _numbers(text: str) -> list[str]:
    written = [number.rstrip(".,:/-") for number in _NUMBER.findall(text)]
    return sorted(written + [NUMBER_WORDS[word] for word in words(text) if word in NUMBER_WORDS])


def _names(text: str) -> frozenset[str]:
    """Capitalised words, but for the first of a sentence, which always is."""
    inner = re.sub(r"(?:^|[.!?]\s+)\W*\w+", " ", text)
    return frozenset(stem(name.lower()) for name in _NAME.findall(inner))
