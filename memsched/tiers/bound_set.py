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
        bound = {name: sum(rank == 0 for rank, _ in found) for name, found in ranked.items()}
        places, parts, left = self._binding.places(bound, self._size), [], self._size
        for number, (name, ref) in enumerate(cubes[:_CUBES]):
            found = [each for rank, each in ranked[name] if number == 0 or rank == 0]
            chosen = in_places(found, min(left, places.get(name, 0)))
            left -= len(chosen)
            parts.append(OfCube(name, ref, [_near(each, name) for each, _ in chosen]))
        return parts

    async def _ranked(self, ref: CubeRef, context: Context) -> list[tuple[int, Candidate]]:
        """Candidates that belong to the context, in order."""
        cube, state = await self._cubes.current(ref), await self._states.load(ref)
        look = look_at(cube, state, self._size, self._rules, also=lambda each: bool(bound_to(each.tags)))
        ranks = [(self._binding.rank(bound_to(each.memory.tags), context), each) for each in look.candidates]
        return sorted(((rank, each) for rank, each in ranks if rank is not None), key=lambda one: one[0])


def _near(each: Candidate, name: str) -> WorkingMemory:
    source = "bound" if bound_to(each.memory.tags) else "value"
    return WorkingMemory.of(each.memory, each.value, each.parts, sources=[source], cube=name)
