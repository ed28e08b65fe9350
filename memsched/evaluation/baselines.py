"""Baselines: the policies that others use, to compare with. Each ranks the memories of a cube, the best first.

They are given what memsched's own policy is given: all memories, and what was retrieved for each question so far.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memsched.memory.model import to_ms
from memsched.policy.strategy import CubeMemory

_RETRIEVED = 10
"""Memories that a question's search gives to whoever counts retrievals."""
_HOUR_MS = 3_600_000
_LRFU_LAMBDA = 0.1
_ACT_R_DECAY = 0.5
_HEAT_MS = 1e10
"""MemoryOS (Kang et al. 2025): time constant of recency, 1e7 s."""
_AGENTS_DECAY = 0.995
"""Generative Agents (Park et al. 2023): per hour."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What search found for a question.

    Args:
        at: ms since the epoch.
        hits: (memory id, score from 0 to 1), best first.
    """

    at: int
    hits: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a baseline may know.

    Args:
        memories: as they were said, oldest first.
        content: content value of each.
        history: of all questions so far.
        now: ms since the epoch.
    """

    memories: Sequence[CubeMemory]
    content: NDArray[np.float64]
    history: Sequence[Retrieval]
    now: int

    def times(self) -> list[int]:
        return [to_ms(memory.at) for memory in self.memories]

    def retrieved(self) -> dict[str, list[int]]:
        """By memory id, at which questions (0, 1, ...) it was retrieved."""
        found: dict[str, list[int]] = {}
        for number, each in enumerate(self.history):
            for memory_id, _ in each.hits[:_RETRIEVED]:
                found.setdefault(memory_id, []).append(number)
        return found

    def ranked(self, score: Callable[[int, str], object]) -> list[str]:
        """Ids by score(ordinal, id), the highest first; of equals the newer."""
        ids = [memory.memory_id for memory in self.memories]
        order = sorted(range(len(ids)), key=lambda ordinal: (score(ordinal, ids[ordinal]), ordinal), reverse=True)
        return [ids[ordinal] for ordinal in order]


def recency(seen: Seen) -> list[str]:
    """The newest."""
    return seen.ranked(lambda ordinal, _: ordinal)


def lru(seen: Seen) -> list[str]:
    """Least recently used goes: the latest retrieved stay."""
    last = {memory_id: numbers[-1] for memory_id, numbers in seen.retrieved().items()}
    return seen.ranked(lambda _, memory_id: last.get(memory_id, -1))


def lfu(seen: Seen) -> list[str]:
    """Least frequently used goes."""
    found = seen.retrieved()
    return seen.ranked(lambda _, memory_id: (len(found.get(memory_id, ())), found.get(memory_id, [-1])[-1]))


def lrfu(seen: Seen) -> list[str]:
    """Recency and frequency combined (Lee et al. 2001): each retrieval counts 2^(-lambda x questions since)."""
    found, now = seen.retrieved(), len(seen.history)
    return seen.ranked(
        lambda _, memory_id: sum(2 ** (-_LRFU_LAMBDA * (now - number)) for number in found.get(memory_id, ()))
    )


def act_r(seen: Seen) -> list[str]:
    """Base-level activation (Anderson & Schooler 1991) over being said and being retrieved."""
    found, times = seen.retrieved(), seen.times()

    def activation(ordinal: int, memory_id: str) -> float:
        met = [times[ordinal], *(seen.history[number].at for number in found.get(memory_id, ()))]
        return sum(float((1 + max(0, seen.now - at) / _HOUR_MS) ** -_ACT_R_DECAY) for at in met)

    return seen.ranked(activation)


def memory_os(seen: Seen) -> list[str]:
    """Heat of a segment (here: session): visits + length + recency, as in MemoryOS; the newest of the hottest first."""
    times, length, visits, last = seen.times(), Counter[str](), Counter[str](), dict[str, int]()
    session_of = {memory.memory_id: memory.session_id for memory in seen.memories}
    for memory, at in zip(seen.memories, times, strict=True):
        length[memory.session_id] += 1
        last[memory.session_id] = at
    for each in seen.history:
        for session in {session_of.get(memory_id, "") for memory_id, _ in each.hits[:_RETRIEVED]}:
            visits[session] += 1
            last[session] = max(last.get(session, 0), each.at)
    heat = {
        session: visits[session] + length[session] + math.exp(-(seen.now - last[session]) / _HEAT_MS)
        for session in length
    }
    return seen.ranked(lambda _, memory_id: heat[session_of[memory_id]])


def generative_agents(seen: Seen) -> list[str]:
    """Recency of the last access + importance + relevance to the last question, each scaled to 0..1."""
    found, times = seen.retrieved(), seen.times()
    relevance = dict(seen.history[-1].hits) if seen.history else {}
    recent = []
    for memory, at in zip(seen.memories, times, strict=True):
        touched = max([at, *(seen.history[number].at for number in found.get(memory.memory_id, ())[-1:])])
        recent.append(_AGENTS_DECAY ** (max(0, seen.now - touched) / _HOUR_MS))
    parts = np.array(
        [
            recent,
            [memory.importance for memory in seen.memories],
            [relevance.get(memory.memory_id, 0.0) for memory in seen.memories],
        ]
    )
    spread = np.ptp(parts, axis=1, keepdims=True)
    score = ((parts - parts.min(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)).sum(axis=0)
    return seen.ranked(lambda ordinal, _: float(score[ordinal]))


def content_and_age(seen: Seen) -> list[str]:
    """The odds that it will ever be asked for, divided by its age in memories."""
    age = np.log(len(seen.memories) - np.arange(len(seen.memories)) + 3.0)
    score = seen.content - age
    return seen.ranked(lambda ordinal, _: float(score[ordinal]))


def original(seen: Seen) -> list[str]:
    """MemOS's rule, without its model: what is near and what the last question found, ranked by that question."""
    near: list[str] = []
    for each in seen.history:
        scores = dict(each.hits[:_RETRIEVED])
        merged = list(dict.fromkeys([*scores, *near]))
        near = sorted(merged, key=lambda memory_id: -scores.get(memory_id, 0.0))[: 2 * _RETRIEVED]
    known = set(near)
    return near + [memory_id for memory_id in recency(seen) if memory_id not in known]


BASELINES: Mapping[str, Callable[[Seen], list[str]]] = {
    "recency": recency,
    "lru": lru,
    "lfu": lfu,
    "lrfu": lrfu,
    "act_r": act_r,
    "memory_os": memory_os,
    "generative_agents": generative_agents,
    "content_and_age": content_and_age,
    "original": original,
}
