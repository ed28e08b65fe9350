"""The activation block of a cube, kept up to date with its working set."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from memsched.policy.block import BlockLimits, Member, next_block
from memsched.policy.theme import Theme
from memsched.tiers.cube_cache import CubeCache
from memsched.tiers.hot_state import HotState

_OVER = 0.25
"""A theme with less than this share of the hottest theme's heat is over: no member of the block is of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an activation block shall hold at one moment.

    Args:
        members: best first.
    """

    members: list[Member]
    _cube: CubeCache
    _over: Set[str]

    @classmethod
    def now(cls, state: HotState, cube: CubeCache, themes: Sequence[Theme]) -> Wanted:
        """What a cube's block shall hold, as its working set is.

        Args:
            themes: the cube's, hottest first.
        """
        over = {each for theme in themes if theme.heat < _OVER * themes[0].heat for each in theme.memory_ids}
        nothing = cls([], cube, over.difference(cube.pinned(state.placement.pins)))
        wanted = [each for each in state.working_set if nothing.may_stay(each.memory_id)]
        return replace(nothing, members=[Member.of(each.memory_id, each.said, each.local_at) for each in wanted])

    def may_stay(self, memory_id: str) -> bool:
        """Whether a memory is still there, holds, and is pinned or of no theme that is over."""
        memory = self._cube.memory(memory_id)
        return memory is not None and memory.available and memory_id not in self._over

    def takes_back(self, before: Sequence[Member], after: Sequence[Member]) -> bool:
        """Whether something left the block that was deleted or corrected: then nobody shall hit what a server keeps."""
        left = {member.line for member in after}
        gone = (self._cube.memory(member.memory_id) for member in before if member.line not in left)
        return any(memory is None or memory.superseded_by for memory in gone)

    def block_after(self, present: Sequence[Member], limits: BlockLimits) -> list[Member]:
        """The members of the block that follows on the present one."""
        return next_block(present, self.members, self.may_stay, limits)
