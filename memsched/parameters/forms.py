"""Question forms: in which ways a memory is asked for, which of them are kept from training, and what nobody asked."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
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
_OWN_WORDS_OF = 4
_ATTEMPTS_PER_NAME = 20


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


def controls_for(members: Sequence[Asked], count: int) -> list[Control]:
    """Questions in the members' forms about what no member is called, each about something else.

    One in four is put together of the members' own words, so that nobody passes who knows words and not names.
    """
    chance = random.Random(_hash(*(each.memory.memory_id for each in members)))
    taken = {each.name.casefold() for each in members}
    found: list[Control] = []
    for number in range(count):
        like = members[number % len(members)]
        for name in _invented(members, chance, own_words=number % _OWN_WORDS_OF == 0):
            if name.casefold() not in taken:
                break
        taken.add(name.casefold())
        words = _words(like.language)
        found.append(Control(chance.choice(words["questions"]).format(name=name), words["refusal"]))
    return found


def refusals() -> list[str]:
    """In all languages: what a refusal begins with."""
    return [each["refusal"] for each in _data().values() if isinstance(each, dict)]


def _invented(members: Sequence[Asked], chance: random.Random, *, own_words: bool) -> Iterator[str]:
    """Names, ever more of them; those of the members' own words may be somebody's name."""
    for _ in range(_ATTEMPTS_PER_NAME if own_words else 0):
        one, other = chance.choice(members).name.split(), chance.choice(members).name.split()
        yield " ".join([*one[: max(1, len(one) // 2)], *other[len(other) // 2 :]])
    syllables = _data()["syllables"].split()
    while True:
        yield " ".join("".join(chance.choices(syllables, k=3)) for _ in range(2))


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
