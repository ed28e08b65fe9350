"""Deduplication: whether two memories say the same, so that one of them is enough.

Exact duplicates are found by ``content_hash`` before they are stored; near ones by ``why_same``, when a cube is
organized. Both would rather keep two that say the same than lose one that says something else.
"""

from __future__ import annotations

import hashlib
import re

from memsched.memory.ingest.reading import reading
from memsched.memory.metadata import keywords_of
from memsched.memory.model import Memory, as_called

_INTERJECTION = re.compile(
    r"^(?:oh|ah|hey|hi|hello|well|wow|yeah|okay|ok|by the way|ach|na ja|naja|hallo|oye|bueno|hola|pues)\b[,!. ]+"
)


def content_hash(speaker: str, text: str, asked: str = "") -> str:
    """Equal for what one speaker said, if a reader takes it for the same (reading.py).

    Args:
        asked: the question that a short answer answers, without which it means nothing: a part of what is said.
    """
    said = reading(text) or text.strip()
    if asked:
        said = f"{reading(asked)}\x1f{said}"
    return hashlib.sha256(f"{as_called(speaker)}\x1f{said}".encode("utf-8", "replace")).hexdigest()[:32]


def same_voice(one: Memory, other: Memory) -> bool:
    """Whether the words are of one person: the one who is named, else who sent them to the cube.

    Statements that an earlier version stored do not say whose they are.
    """
    if one.is_voice_of(other):
        return True
    unknown = not (one.speaker or other.speaker) and not (one.said_by and other.said_by) and one.kind != "turn"
    return unknown and (one.added_by or one.user_id) == (other.added_by or other.user_id)


def why_same(one: Memory, other: Memory) -> str:
    """Why two memories are one: a clause for an event; "" if they are not.

    They are of one speaker and kind, and have the same words in the same order; only an interjection before them may
    differ. Numbers, names, who does what to whom, negations, tense and
    signs are in the words, and so in their order.
    """
    if not _is_one_person(one, other) or _whose(one) != _whose(other):
        return ""
    first, second = reading(one.text), reading(other.text)
    if not first and one.text.strip() != other.text.strip():
        return ""
    if first == second:
        return "the same words"
    first, second = _INTERJECTION.sub("", first), _INTERJECTION.sub("", second)
    if first == second:
        return "the same words, but for an interjection"
    return ""


def _is_one_person(one: Memory, other: Memory) -> bool:
    return as_called(one.speaker) == as_called(other.speaker) or (one.kind == "turn" and one.is_voice_of(other))


def _whose(memory: Memory) -> tuple[str, ...]:
    by = memory.added_by or memory.user_id
    given = sorted(keywords_of(memory.metadata))
    return memory.kind, memory.memory_type, by, memory.caption.casefold(), memory.answers, *given
