"""Question forms: in which ways a memory is asked for, which of them are kept from training, and what nobody asked."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from memsched.memory.content.topic_words import content_terms, language_of
from memsched.memory.model import Memory

NAME, QUESTIONS = "name", "questions"
"""Metadata of a memory: what it is called, and what people ask it by."""
_LONGEST_NAME = 60
_NAMED_BY_WORDS = 5
_HELD_OUT_OF = 4
"""One of so many forms is kept from training, and at least one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A memory as it is asked for.

    Args:
        trained, held_out: questions, no one in both.
    """

    memory: Memory
    name: str
    language: str
    trained: list[str]
    held_out: list[str]


@dataclass(frozen=True, slots=True)
class Control:
    """A question about what is in no memory, and how it is refused."""

    question: str
    refusal: str


def asked_for(memory: Memory, asked: str = "") -> Asked:
    """The forms of one memory: its own questions, and those that the language has for what it is called.

    Args:
        asked: the turn that it answers, if it is a short answer.
    """
    language, name = language_of(memory.text), name_of(memory)
    given = memory.metadata.get(QUESTIONS, [])
    own = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str) and each.strip()]
    forms = [*own, *([asked] if asked else []), *(form.format(name=name) for form in _words(language)["questions"])]
    forms = list(dict.fromkeys(each.strip() for each in forms))
    order = sorted(forms, key=lambda each: _hash(memory.memory_id, each))
    count = max(1, len(order) // _HELD_OUT_OF)
    return Asked(memory, name, language, order[count:], order[:count])


def name_of(memory: Memory) -> str:
    """What a memory is called: by its metadata, by what stands before its colon, or by its first telling words."""
    if isinstance(given := memory.metadata.get(NAME), str) and given.strip():
        return given.strip()
    title, colon, rest = memory.text.partition(":")
    if colon and rest.strip() and len(title) <= _LONGEST_NAME and "\n" not in title:
        return title.strip()
    return " ".join(list(dict.fromkeys(content_terms(memory.text)))[:_NAMED_BY_WORDS]) or memory.text[:_LONGEST_NAME]


def controls_for(members: Sequence[Asked], others: Sequence[str], count: int) -> list[Control]:
    """Questions in the members' forms about what no member is called, each about something else.

    Half of the names are words of other texts, while there are enough; the rest are no words at all.

    Args:
        others: other texts.
    """
    chance = random.Random(_hash(*(each.memory.memory_id for each in members)))
    taken = {word for each in members for word in content_terms(each.name)}
    words = sorted({word for text in others for word in content_terms(text)} - taken)
    names = _pairs(words, chance)[: count // 2]
    while len(names) < count:
        names.append(" ".join("".join(chance.choices(_data()["syllables"].split(), k=3)) for _ in range(2)))
    chance.shuffle(names)
    found = []
    for number, name in enumerate(names):
        forms = _words(members[number % len(members)].language)
        found.append(Control(chance.choice(forms["questions"]).format(name=name), forms["refusal"]))
    return found


def _pairs(words: Sequence[str], chance: random.Random) -> list[str]:
    """Names of two of these words, no word in more than two of them."""
    mixed = [*chance.sample(words, len(words)), *chance.sample(words, len(words))]
    return [" ".join(mixed[at : at + 2]) for at in range(0, len(mixed) - 1, 2)]


def _words(language: str) -> dict[str, Any]:
    found: dict[str, Any] = _data().get(language) or _data()["en"]
    return found


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    text = (resources.files("memsched.parameters") / "forms.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
