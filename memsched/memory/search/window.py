"""Window vectors: a memory is found by its own words, and, fading, by those that were said right around it.

Each word counts once, by its strongest: the sum of what stands around would count one word several times. They are
always computed from the texts that are stored, so that order, repetition and crashes end in the same vectors.

What is seen on a picture is among the words of its own turn, and of no other.

Beside them a vector holds the memory's own words once more, for whoever must not find it by another one's, and who
said it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from memsched.lexicon import is_without_spaces, stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.bm25 import index_of, own_weights
from memsched.memory.search.constants import FADE, FADE_WITHOUT_SPACES, MOST_AROUND, REACH
from memsched.memory.store.points import Sparse

QUESTION_MARKS = ("?", "\uff1f", "\u061f")


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

    Two utterances are as far apart as there are steps from one to the other, where each turn is a step, and each part
    of a turn that was long and split.
    """

    def __init__(self, said: Iterable[Said]) -> None:
        self._sessions: dict[str, list[tuple[tuple[int, int, str], Said]]] = defaultdict(list)
        self._last_parts: dict[tuple[str, int], int] = {}
        for each in said:
            if each.session_id:
                self._sessions[each.session_id].append((_place(each), each))
                turn = each.session_id, each.turn
                self._last_parts[turn] = max(each.part, self._last_parts.get(turn, 0))
        for session in self._sessions.values():
            session.sort(key=lambda placed: placed[0])

    def near(self, memory: Said) -> Iterator[tuple[int, Said]]:
        """What is at most REACH away from a memory, itself left out, with its distance: above 0 if it came before."""
        session = self._sessions.get(memory.session_id, ()) if memory.session_id else ()
        place = _place(memory)
        at = bisect_left(session, place, key=lambda placed: placed[0])
        after = at + (at < len(session) and session[at][1].memory_id == memory.memory_id)
        until = min(len(session), after + MOST_AROUND)
        for step, numbers in ((1, range(at - 1, max(-1, at - 1 - MOST_AROUND), -1)), (-1, range(after, until))):
            for number in numbers:
                other = session[number][1]
                distance = self._distance(other, memory) if step > 0 else self._distance(memory, other)
                if distance > REACH:
                    break
                yield step * distance, other

    def words(self, memory: Said) -> dict[str, FoundBy]:
        """By stem, the strongest occurrence in the window of a memory."""
        words = {stem: FoundBy(memory.memory_id, weight) for stem, weight in _own(memory.searched_text).items()}
        for ahead, other in self.near(memory):
            if other.kind != "turn" or not (share := _share(ahead, other.text)):
                continue
            for stem, weight in _own(other.text).items():
                if stem not in words or share * weight > words[stem].weight:
                    words[stem] = FoundBy(other.memory_id, share * weight, ahead, other.text)
        return words

    def _distance(self, earlier: Said, later: Said) -> int:
        if earlier.turn == later.turn:
            return max(1, later.part - earlier.part)
        left = self._last_parts.get((earlier.session_id, earlier.turn), earlier.part) - earlier.part
        return later.turn - earlier.turn + later.part + max(0, left)


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
        source = other.text
        if other.kind == "turn" and (share := _share(ahead, source)):
            for index, weight in _indexed(source, share):
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
    """What a question may call a speaker."""
    return tuple(dict.fromkeys(stems(speaker)))


def sparse_of(weights: Mapping[str, float]) -> Sparse:
    """A sparse vector by what its dimensions are called."""
    by_index: dict[int, float] = {}
    for name, weight in weights.items():
        index = index_of(name)
        by_index[index] = by_index.get(index, 0.0) + weight
    return Sparse(list(by_index), [round(value, 5) for value in by_index.values()])


def _place(memory: Said) -> tuple[int, int, str]:
    return memory.turn, memory.part, memory.memory_id


def _share(ahead: int, source: str) -> float:
    """What another one has of a turn's words that is so many steps before it; below 0: after it."""
    if is_without_spaces(source):
        return FADE_WITHOUT_SPACES[abs(ahead)]
    if ahead == 1 and any(mark in source for mark in QUESTION_MARKS):
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
