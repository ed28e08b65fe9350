"""The strategies that memsched ships: how the working set is ranked. ``MEMSCHED_STRATEGY`` chooses one of them.

In each, places are reserved for what must never be forgotten: a talk about something else does not push out an allergy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from memsched.extensions import extension
from memsched.policy.strategy import Candidate, Chosen, CubeState, WorkingSetPolicy

RESERVED = {"allergy": 1, "illness": 1, "diet": 1, "emergency": 1}
"""Places by kind of what is vital. Deadlines and anniversaries have none: they compete by their value, and however many
there are, the allergy stays.
"""


def in_places(ranked: Sequence[Candidate], size: int) -> list[tuple[Candidate, bool]]:
    """The first ``size`` of the candidates, in their order, but for the reserved places; and whether it has such a one.

    A kind's place is for the first of it. Together they are no more than half of the set.
    """
    wanted = Counter(RESERVED)
    vital: list[str] = []
    others: list[str] = []
    for each in ranked:
        kind = each.memory.vital
        if kind and wanted[kind] > 0 and len(vital) < size // 2:
            wanted[kind] -= 1
            vital.append(each.memory.memory_id)
        else:
            others.append(each.memory.memory_id)
    near = {**dict.fromkeys(others[: size - len(vital)], False), **dict.fromkeys(vital, True)}
    return [(each, near[each.memory.memory_id]) for each in ranked if each.memory.memory_id in near]


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
