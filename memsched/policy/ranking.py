"""The strategies that memsched ships: how the working set is ranked. ``MEMSCHED_STRATEGY`` chooses one of them.

In each, places are reserved for what must never be forgotten: a talk about something else does not push out an allergy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from memsched.extensions import extension
from memsched.policy.strategy import Candidate, Chosen, CubeState, WorkingSetPolicy

RESERVED = ("allergy", "illness", "diet", "emergency")
"""Kinds of what is vital that have places. Deadlines and anniversaries have none: they compete by their value, and
however many there are, the allergy stays.
"""
RESERVED_PLACES = 4
"""In all."""
ASSISTANTS_SHARE = 6
"""The assistant's own sentences have one place in so many: an article that it read out, or a list of its advice, pushes
out nothing that people said.
"""


def in_places(ranked: Sequence[Candidate], size: int) -> list[tuple[Candidate, bool]]:
    """The first ``size`` of the candidates, in their order, but for the reserved places; and whether it has such a one.

    The first of each kind have places, then the second of each, and so on while there are some left: who has two
    allergies and keeps no diet is served as well. Together they are no more than half of the set. Of what the assistant
    said only the first few are among the others, also where places stay empty.
    """
    turns: list[tuple[int, int]] = []
    of_kind = Counter[str]()
    for place, each in enumerate(ranked):
        if (kind := each.memory.vital) in RESERVED:
            turns.append((of_kind[kind], place))
            of_kind[kind] += 1
    reserved = {place for _, place in sorted(turns)[: min(RESERVED_PLACES, size // 2)]}
    assistants = [place for place, each in enumerate(ranked) if each.memory.speaker == "assistant"]
    left_out = reserved.union(assistants[max(1, size // ASSISTANTS_SHARE) :])
    others = [place for place in range(len(ranked)) if place not in left_out][: size - len(reserved)]
    return [(ranked[place], place in reserved) for place in sorted([*reserved, *others])]


class StandardPolicy:
    """``standard``: the most valuable first."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        return [
            Chosen(each.memory, each.value, each.parts, "reserved" if reserved else "value")
            for each, reserved in in_places(candidates, size)
        ]


class RecentFirst:
    """``recent_first``: the newest first, for research, where what was read last is worked on."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        newest = sorted(candidates, key=_time_of, reverse=True)
        places = in_places(newest, size)
        return [
            Chosen(each.memory, score, {"recency": score}, "reserved" if reserved else "recency")
            for place, (each, reserved) in enumerate(places)
            for score in [1 - place / len(places)]
        ]


class ActivatedFirst:
    """``activated_first``: what belongs to the hottest theme, most valuable first, then the rest; for conversation."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        hottest = set(state.themes[0].memory_ids) if state.themes else set()
        ranked = sorted(candidates, key=lambda each: each.memory.memory_id not in hottest)  # stable: by value in each
        chosen = []
        for each, reserved in in_places(ranked, size):
            in_theme = each.memory.memory_id in hottest
            parts = {**each.parts, "theme": float(in_theme)}
            source = "reserved" if reserved else "theme" if in_theme else "value"
            chosen.append(Chosen(each.memory, each.value + in_theme, parts, source))
        return chosen


STRATEGIES: Mapping[str, Callable[[], WorkingSetPolicy]] = {
    "standard": StandardPolicy,
    "recent_first": RecentFirst,
    "activated_first": ActivatedFirst,
}


def strategy_named(name: str) -> WorkingSetPolicy:
    """The strategy that MEMSCHED_STRATEGY names: memsched's own, or another package's. Raises SettingsError."""
    found = extension("MEMSCHED_STRATEGY", "memsched.strategies", name, ("choose",), STRATEGIES)
    return cast("WorkingSetPolicy", found)


def _time_of(candidate: Candidate) -> tuple[object, ...]:
    memory = candidate.memory
    return memory.at, memory.session_id, memory.turn, memory.part, memory.memory_id
