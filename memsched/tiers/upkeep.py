"""Upkeep: whether moves between tiers are to be decided for a cube. It is asked after each message, so it is cheap."""

from __future__ import annotations

from memsched.lexicon import stem, stems
from memsched.memory.content.topic_words import content_terms
from memsched.memory.model import to_ms
from memsched.policy.talk import TalkEvent, exchanges
from memsched.policy.transitions import DAY_MS
from memsched.policy.value import CREDITED
from memsched.tiers.cube_cache import RESTORABLE, CubeCache
from memsched.tiers.hot_state import HotState
from memsched.tiers.moves import Upkeep

_STEPS = 100
"""Steps in which a cube's excess over its capacity is told."""
_MEANT = 0.5
"""Share of a question's words, by weight, that a memory holds which it means; of a memory's words, that an answer
holds which used it."""


def now_of(cube: CubeCache, state: HotState) -> int:
    """The time of the cube's latest message, ms since the epoch."""
    told = to_ms(cube.memories[-1].at) if len(cube) else 0
    return max([told, *(event.at for event in state.talk), *(event.at for event in state.log[-1:])])


def upkeep_due(cube: CubeCache, state: HotState, capacity: int) -> Upkeep | None:
    """What is to be looked at: once a day of message time; when there are too many; when the archive is needed."""
    if not len(cube):
        return None
    day = now_of(cube, state) // DAY_MS
    is_new_day = day > max(state.placement.at, to_ms(cube.memories[0].at)) // DAY_MS
    excess = cube.near_count() - capacity
    over = 1 + excess // max(1, capacity // _STEPS) if excess > 0 else 0
    needed = _needed(cube, state)
    changes = state.placement.changes
    return Upkeep(day=day, over=over, needed=needed, changes=changes) if is_new_day or over or needed else None


def _needed(cube: CubeCache, state: HotState) -> dict[str, int]:
    """The archived memories that an answer used, or that a question means."""
    if cube.near_count() == len(cube):
        return {}

    def is_away(memory_id: str) -> bool:
        memory = cube.memory(memory_id)
        return memory is not None and memory.archived in RESTORABLE

    found = {memory_id: use.last for memory_id, use in state.uses.items() if is_away(memory_id)}
    credited = {event.event_id: event.credited for event in state.log}
    for asked, answer in exchanges(state.talk):
        # A question about what is in the archive counts as vague, since its theme is cold, and credits nothing.
        best = [memory_id for memory_id, _ in (asked.hits or ())[:CREDITED]]
        for memory_id in dict.fromkeys([*credited.get(asked.event_id, ()), *best]):
            if is_away(memory_id) and _is_meant(cube, memory_id, asked, answer):
                found[memory_id] = max(asked.at, found.get(memory_id, 0))
    return found


def _is_meant(cube: CubeCache, memory_id: str, asked: TalkEvent, answer: TalkEvent | None) -> bool:
    """Whether a question's words are mostly the memory's, or the memory's mostly the answer's."""
    own = set(cube.stems_of(memory_id))
    words = {stem(word) for word in content_terms(asked.text)}
    weights = cube.counts_at(cube.known_at(asked.at), words).idfs(words)
    if sum(weight for word, weight in weights.items() if word in own) >= _MEANT * sum(weights.values()) > 0:
        return True
    return answer is not None and len(own & set(stems(answer.text))) >= _MEANT * len(own)
