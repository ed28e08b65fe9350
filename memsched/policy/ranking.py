"""The ranking of the working set: relevance to the talk, use by answers, recency and own value, summed."""

from __future__ import annotations

from collections.abc import Sequence

from memsched.memory.model import to_ms
from memsched.policy.strategy import Candidate, Chosen, CubeState
from memsched.policy.talk import Use

_RELEVANCE, _USE, _RECENCY, _VALUE = 0.6, 0.15, 0.05, 0.2
_FADE = 0.4
"""Weight of each event of the talk, relative to the one after it. On LoCoMo, where the next question is often near the
last one, the working set before a question holds 21 % of its evidence with 0.8, 25 % with 0.5, 27 % with 0.35.
"""
_DECAY = 0.5
"""Exponent of forgetting (ACT-R's default; Anderson & Schooler 1991)."""
_DAY_MS = 86_400_000


class StandardPolicy:
    """The policy in use. No state, no learning: the same for every cube."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        weights = _weights(state)
        chosen = []
        for each in candidates:
            relevance = sum(weights.get(event, 0.0) * score for event, score in each.relevance.items())
            parts = {
                "relevance": _RELEVANCE * relevance,
                "use": _USE * use_value(state.uses.get(each.memory.memory_id, Use()), state.now),
                "recency": _RECENCY * _power(state.now - to_ms(each.memory.at)),
                "value": _VALUE * each.memory.importance,
            }
            chosen.append(Chosen(each.memory, sum(parts.values()), parts))
        chosen.sort(key=lambda each: (-each.score, each.memory.memory_id))
        return chosen[:size]


def _weights(state: CubeState) -> dict[str, float]:
    """The weight of each event, the latest heaviest; all together 1."""
    raw = {event.event_id: _FADE**age for age, event in enumerate(reversed(state.talk))}
    total = sum(raw.values())
    return {event_id: weight / total for event_id, weight in raw.items()}


def use_value(use: Use, now: int) -> float:
    """Sum of age**-decay over the past uses, mapped to 0..1: never zero once used, however long ago."""
    activation = sum(_power(now - at) for at, _ in use.times)
    return activation / (1 + activation)


def _power(age_ms: int) -> float:
    """1 for now, falling with the square root of the days: it reorders, and hides nothing."""
    return float((1 + max(0, age_ms) / _DAY_MS) ** -_DECAY)
