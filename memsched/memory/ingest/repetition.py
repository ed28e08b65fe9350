"""Repetition: whether a turn says again what a stored memory says, or is a statement of its own.

Chat programs send the whole history with each turn. A text that was superseded since is in it once more, and nobody has
said it again; who says it anew, alone and later, means it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from memsched.lexicon import STOP_WORDS, words
from memsched.memory.ingest.revision import revises
from memsched.memory.model import Memory, to_ms

_ENOUGH_AROUND = 2
"""Turns that stand around it as they did before; or one, with so many words that mean something."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A stored memory that says already what is said.

    Args:
        of_old: whether nobody says it now: a message, or a history, came once more.
    """

    memory: Memory
    of_old: bool = False

    @classmethod
    def now(cls, memory: Memory | None) -> Repeat | None:
        return None if memory is None else cls(memory)

    def told_at(self, at: datetime, known: Memory) -> Memory:
        """The memory as it is when it was said again then."""
        return known if self.of_old or at <= known.told else known.model_copy(update={"last_said": at})


def repeated(
    said: Sequence[Memory], known: Mapping[str, Sequence[Memory]], correctors: Mapping[str, Memory]
) -> dict[str, Repeat]:
    """By id of what is said in one message, what says it already.

    Args:
        said: in order.
        known: stored memories by content hash, the oldest first; none of them is of ``said``.
        correctors: by id, what supersedes those of them that are superseded.
    """
    found: dict[str, Repeat] = {}
    history = _History(said, known, correctors)
    for place, each in enumerate(said):
        same = known.get(each.content_hash, ())
        active = next((other for other in same if other.superseded_by is None), None)
        if event := next((other for other in same if _is_same_event(each, other)), None):
            found[each.memory_id] = Repeat(event, of_old=True)
        elif active is not None:
            found[each.memory_id] = Repeat(active, of_old=history.has(place, active))
        elif told := [other for other in reversed(same) if history.has(place, other)]:
            found[each.memory_id] = Repeat(told[0], of_old=True)
    return found


def is_said_anew(said: Sequence[Memory], repeat: Repeat, again: Memory) -> bool:
    """Whether it is a statement of its own, because of what its message says in between, or before it."""
    if repeat.of_old:
        return False
    first = repeat.memory
    places = {each.memory_id: place for place, each in enumerate(said)}
    between = said[places.get(first.memory_id, -1) + 1 : places[again.memory_id]]
    return any(
        each.is_voice_of(first) and (revises(each, first).weight or revises(again, each).weight)
        for each in {same.content_hash: same for same in between}.values()  # who repeats themselves says it once
    )


def _is_same_event(each: Memory, other: Memory) -> bool:
    """A message that comes once more, or a statement that was taken from the same turn."""
    return bool(each.sources.keys() & other.sources.keys() or {*each.derived_from} & {*other.derived_from})


class _History:
    """A message, read as a history that comes once more: in time that grows as it does, also where all say the same."""

    def __init__(
        self, said: Sequence[Memory], known: Mapping[str, Sequence[Memory]], correctors: Mapping[str, Memory]
    ) -> None:
        self._said = said
        self._known = known
        self._correctors = correctors
        self._has_times = len({turn.at for turn in said}) > 1
        self._last_place = {
            same.memory_id: place for place, turn in enumerate(said) for same in known.get(turn.content_hash, ())
        }
        self._following: dict[tuple[str, str, int], bool] = {}

    def has(self, place: int, other: Memory) -> bool:
        """Whether a text that was superseded is told as a part of what was said then."""
        each, corrector = self._said[place], self._correctors.get(other.superseded_by or "")
        if to_ms(each.at) == to_ms(other.at) or (corrector is not None and each.at <= corrector.at):
            return True
        if self._has_times:  # each has a time of its own, and this one's is later
            return False
        if self._last_place.get(other.superseded_by or "", -1) > place:
            return True
        later = islice(self._said, place + 1, None)
        if not any(turn.is_voice_of(each) for turn in later):  # the last that they say is what they say now
            return False
        before = self._said[max(0, place - _ENOUGH_AROUND) : place][::-1]
        after = self._said[place + 1 : place + 1 + _ENOUGH_AROUND]
        around = [*self._run(before, other, -1), *self._run(after, other, 1)]
        told = {word for turn in around for word in words(turn.text)} - STOP_WORDS
        return len(around) >= _ENOUGH_AROUND or len(told) >= _ENOUGH_AROUND

    def _run(self, turns: Sequence[Memory], start: Memory, step: int) -> list[Memory]:
        """The turns that follow on each other as the stored ones do, from a stored one on."""
        run: list[Memory] = []
        here = [start]
        for turn in turns:
            here = [
                same
                for same in self._known.get(turn.content_hash, ())
                if any(self._follows(same, before, step) for before in here)
            ]
            if not here:
                break
            run.append(turn)
        return run

    def _follows(self, memory: Memory, before: Memory, step: int) -> bool:
        pair = (memory.memory_id, before.memory_id, step)
        if pair not in self._following:
            self._following[pair] = _follows(memory, before, step)
        return self._following[pair]


def _follows(memory: Memory, before: Memory, step: int) -> bool:
    if memory.session_id and memory.session_id == before.session_id and memory.turn == before.turn + step:
        return True
    return any(_neighbour(source, step) in memory.sources for source in before.sources)


def _neighbour(source: str, step: int) -> str:
    item_id, _, position = source.rpartition("#")
    return f"{item_id}#{int(position) + step}" if position.isdecimal() else ""
