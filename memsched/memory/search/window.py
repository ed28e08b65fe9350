"""Window vectors: a memory is found by its own words, and, fading, by those that were said right around it.

Each word counts once, by its strongest: the sum of what stands around would count one word several times. They are
always computed from the texts that are stored, so that order, repetition and crashes end in the same vectors.

What is seen on a picture is among the words of its own turn, and of no other.

Beside them a vector holds the memory's own words once more, for whoever must not find it by another one's, and who
said it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from memsched.lexicon import is_without_spaces, stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.bm25 import index_of, own_weights
from memsched.memory.search.constants import FADE, FADE_WITHOUT_SPACES, REACH
from memsched.memory.search.no_answer import no_answer
from memsched.memory.store.points import Sparse

_ROLES = frozenset(("user", "assistant", "system", "tool", "human", "ai", "bot"))
QUESTION_MARKS = ("?", "\uff1f", "\u061f")


_Place = tuple[float, float, str]
_FIRST: _Place = (-math.inf, 0.0, "")
_LAST: _Place = (math.inf, 0.0, "")


class Said(Protocol):
    """What is needed of a memory (``Memory``, ``CubeMemory``)."""

    @property
    def memory_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def searched_text(self) -> str: ...
    @property
    def speaker(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def session_id(self) -> str: ...
    @property
    def turn(self) -> int: ...
    @property
    def part(self) -> int: ...


_Placed = tuple[_Place, Said]


@dataclass(frozen=True, slots=True)
class FoundBy:
    """A word that a memory is found by.

    Attributes:
        memory_id: of the memory that has the word: itself, or one around it.
        weight: BM25's part of the document.
        ahead: so many steps that one is before; below 0: after; 0: itself.
        text: what was said there, if it is not itself.
    """

    memory_id: str
    weight: float
    ahead: int = 0
    text: str = ""


class Surroundings:
    """Some memories of a cube in the order of their sessions.

    How far two are apart is the number of turns from one to the other, or of utterances where these are more: a long
    turn is cut into several.
    """

    def __init__(self, said: Iterable[Said]) -> None:
        self._turns: dict[str, list[_Placed]] = defaultdict(list)
        self._others: dict[str, list[_Placed]] = defaultdict(list)
        for each in said:
            if each.session_id:
                sessions = self._turns if each.kind == "turn" else self._others
                sessions[each.session_id].append((_place(each), each))
        for sessions in (self._turns, self._others):
            for session in sessions.values():
                session.sort(key=_key)

    def near(self, memory: Said) -> Iterator[tuple[int, Said]]:
        """The utterances in the window of a memory, itself left out, with their distance: above 0 if it came before."""
        session, at = self._at(memory)
        after = at + (at < len(session) and session[at][1].memory_id == memory.memory_id)
        for sign, numbers in ((1, range(at - 1, at - 1 - REACH, -1)), (-1, range(after, after + REACH))):
            for rank, number in enumerate(numbers, 1):
                if not 0 <= number < len(session):
                    break
                other = session[number][1]
                distance = max(rank, abs(memory.turn - other.turn))
                if distance > REACH:
                    break
                yield sign * distance, other

    def having(self, memory: Said) -> Iterator[Said]:
        """Whatever has an utterance in its window."""
        if memory.kind != "turn":
            return
        yield from (other for _, other in self.near(memory))
        session, at = self._at(memory)
        after = at + (at < len(session) and session[at][1].memory_id == memory.memory_id)
        first = session[at - REACH][0] if at >= REACH else _FIRST
        last = session[after + REACH - 1][0] if after + REACH <= len(session) else _LAST
        others = self._others.get(memory.session_id, [])
        for number in range(bisect_left(others, first, key=_key), bisect_left(others, last, key=_key)):
            other = others[number][1]
            if abs(other.turn - memory.turn) <= REACH:
                yield other

    def _at(self, memory: Said) -> tuple[list[_Placed], int]:
        """The utterances of its session, and where it stands among them."""
        session = self._turns.get(memory.session_id, []) if memory.session_id else []
        return session, bisect_left(session, _place(memory), key=_key)

    def words(self, memory: Said) -> dict[str, FoundBy]:
        """By stem, the strongest occurrence in the window of a memory."""
        words = {stem: FoundBy(memory.memory_id, weight) for stem, weight in _own(memory.searched_text).items()}
        for ahead, other in self.near(memory):
            if not (share := _share(ahead, memory, other)):
                continue
            for stem, weight in _own(other.text).items():
                if stem not in words or share * weight > words[stem].weight:
                    words[stem] = FoundBy(other.memory_id, share * weight, ahead, other.text)
        return words


def places_around(memories: Iterable[Said], reach: int) -> dict[str, set[int]]:
    """By session, the turns up to so far away: what shapes the windows of these memories at REACH, and at twice REACH
    what shapes the windows that these shape.
    """
    places: dict[str, set[int]] = defaultdict(set)
    for each in memories:
        if each.session_id:
            places[each.session_id].update(range(max(0, each.turn - reach), each.turn + reach + 1))
    return places


def window_vector(ref: CubeRef, memory: Said, surroundings: Surroundings) -> Sparse:
    """A memory's sparse vector.

    Args:
        surroundings: hold whatever is up to REACH away from it.
    """
    text = memory.searched_text
    strongest = dict(_indexed(text, 1.0))
    for ahead, other in surroundings.near(memory):
        if share := _share(ahead, memory, other):
            for index, weight in _indexed(other.text, share):
                if weight > strongest.get(index, 0.0):
                    strongest[index] = weight
    strongest.update(_own_indexed(text))
    for name in speaker_names(ref, names_of(memory.speaker, text)):
        strongest[index_of(name)] = 1.0
    return Sparse(list(strongest), list(strongest.values()))


def own_vector(memory: Said) -> Sparse:
    """The sparse vector that it had before there were windows: who said it was a word of its own."""
    return sparse_of(_own(f"{memory.speaker}: {memory.searched_text}" if memory.speaker else memory.searched_text))


def own_name(stem: str) -> str:
    """What a stem is called among a memory's own words. No stem has a line break."""
    return f"own\n{stem}"


def speaker_names(ref: CubeRef, name_stems: Iterable[str]) -> list[str]:
    """What a speaker is called. In each cube something else: no posting list grows with the number of cubes."""
    return [f"speaker\n{ref.tenant}\n{stem}" for stem in name_stems]


def names_of(speaker: str, text: str) -> Iterable[str]:
    """Whose memory it is: the speaker's; if nobody knows who said it, that of whoever it names."""
    return name_stems(speaker) or _own(text)


@lru_cache(maxsize=4096)
def name_stems(speaker: str) -> tuple[str, ...]:
    """What a question may call a speaker. A role is nobody's name: who asks for "my assistant" means somebody."""
    if speaker.lower() in _ROLES:
        return ()
    return tuple(dict.fromkeys(stems(speaker)))


def sparse_of(weights: Mapping[str, float]) -> Sparse:
    """A sparse vector by what its dimensions are called."""
    by_index: dict[int, float] = {}
    for name, weight in weights.items():
        index = index_of(name)
        by_index[index] = by_index.get(index, 0.0) + weight
    return Sparse(list(by_index), [round(value, 5) for value in by_index.values()])


def _place(memory: Said) -> _Place:
    """What was taken from a turn stands behind all of its parts."""
    return memory.turn, float(memory.part) if memory.kind == "turn" else math.inf, memory.memory_id


def _key(placed: _Placed) -> _Place:
    return placed[0]


def _share(ahead: int, memory: Said, other: Said) -> float:
    """What a memory has of another one's words, which was said so many steps before it; below 0: after it."""
    kind = no_answer(other.text, other.speaker)
    if kind == "unknown":
        return 0.0
    if kind == "asks" and ahead < 0 and memory.speaker in (other.speaker, "assistant"):
        return 0.0  # what is asked next is no matter of what the same speaker, or an assistant, said before
    if is_without_spaces(other.text):
        return FADE_WITHOUT_SPACES[abs(ahead)]
    if ahead == 1 and any(mark in other.text for mark in QUESTION_MARKS):
        return 1.0  # an answer has its question's words
    return FADE[abs(ahead)]


@lru_cache(maxsize=8192)
def _indexed(text: str, share: float) -> tuple[tuple[int, float], ...]:
    return tuple((index_of(stem), round(share * weight, 5)) for stem, weight in _own(text).items())


@lru_cache(maxsize=2048)
def _own_indexed(text: str) -> tuple[tuple[int, float], ...]:
    return tuple((index_of(own_name(stem)), round(weight, 5)) for stem, weight in _own(text).items())


@lru_cache(maxsize=8192)
def _own(text: str) -> Mapping[str, float]:
    return own_weights(stems(text))
