"""The working set of a context: of one cube's memories, and of others' that are bound to its role or task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memsched.memory.access.permissions import CubeRef
from memsched.memory.context_tags import bound_to
from memsched.policy.binding import Context, ContextBinding
from memsched.policy.ranking import in_places
from memsched.policy.strategy import Candidate
from memsched.policy.transitions import TransitionRules
from memsched.tiers.cube_cache import CubeCaches
from memsched.tiers.hot_state import HotStates, WorkingMemory
from memsched.tiers.moves import most_pins
from memsched.tiers.working_set import look_at

_CUBES = 8
"""Read for one set, at most: the one that was asked for, and the first of the others by name."""


@dataclass(frozen=True, slots=True)
class OfCube:
    """A part of the set. name: the user's name of the cube."""

    name: str
    ref: CubeRef
    memories: list[WorkingMemory]


class BoundSets:
    """Makes working sets for contexts when they are asked for; nothing of them is stored."""

    def __init__(
        self, states: HotStates, cubes: CubeCaches, rules: TransitionRules, binding: ContextBinding, size: int
    ) -> None:
        self._states = states
        self._cubes = cubes
        self._rules = rules
        self._binding = binding
        self._size = size

    async def of(self, context: Context, cubes: Sequence[tuple[str, CubeRef]]) -> list[OfCube]:
        """The set, by cube; together at most as large as a working set.

        Args:
            cubes: (the user's name, the cube) of those that they may read; the first is the one that was asked for.
        """
        ranked = {name: await self._ranked(ref, context) for name, ref in cubes[:_CUBES]}
        bound = {name: sum(each.rank == 0 for each in found) for name, found in ranked.items()}
        places, parts, left = self._binding.places(bound, self._size), [], self._size
        for number, (name, ref) in enumerate(cubes[:_CUBES]):
            found = [each for each in ranked[name] if number == 0 or each.rank == 0]
            size = min(left, places.get(name, 0))
            first_pinned = sorted((each for each in found if each.pin is not None), key=lambda each: each.pin or 0)
            pinned = {each.memory_id for each in first_pinned[: min(size, most_pins(size))]}
            others = [each.candidate for each in found if each.memory_id not in pinned]
            chosen = pinned | {each.memory.memory_id for each, _ in in_places(others, size - len(pinned))}
            near = [each for each in found if each.memory_id in chosen]
            left -= len(near)
            parts.append(OfCube(name, ref, [_near(each, name) for each in near]))
        return parts

    async def _ranked(self, ref: CubeRef, context: Context) -> list[_Ranked]:
        """Candidates that belong to the context, in order."""
        cube, state = await self._cubes.current(ref), await self._states.load(ref)
        look = look_at(cube, state, self._size, self._rules, also=lambda each: bool(bound_to(each.tags)))
        pins = {memory_id: at for at, memory_id in enumerate(cube.pinned(state.placement.pins))}
        ranks = [(self._binding.rank(bound_to(each.memory.tags), context), each) for each in look.candidates]
        found = [_Ranked(rank, each, pins.get(each.memory.memory_id)) for rank, each in ranks if rank is not None]
        return sorted(found, key=lambda each: each.rank)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A candidate that belongs to a context.

    Args:
        rank: see ``ContextBinding.rank``.
        pin: its place among the pinned ones; None: it is not pinned.
    """

    rank: int
    candidate: Candidate
    pin: int | None

    @property
    def memory_id(self) -> str:
        return self.candidate.memory.memory_id


def _near(ranked: _Ranked, name: str) -> WorkingMemory:
    each = ranked.candidate
    sources = ["bound" if bound_to(each.memory.tags) else "value", *(["pinned"] if ranked.pin is not None else [])]
    return WorkingMemory.of(each.memory, each.value, each.parts, sources=sources, cube=name)
