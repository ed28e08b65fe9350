"""The activation block of a cube, kept up to date with its working set, and when a model server is sent it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from memsched.policy.block import ActivationBlock, BlockLimits, Member, next_block
from memsched.policy.themes import CubeThemes
from memsched.tiers.cube_cache import CubeCache
from memsched.tiers.hot_state import HotState, Sent

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
    _themes: CubeThemes
    _pins: Set[str]

    @classmethod
    def now(cls, state: HotState, cube: CubeCache, themes: CubeThemes) -> Wanted:
        """What a cube's block shall hold, as its working set is."""
        pins = frozenset(state.placement.pins)
        found = cls([], cube, themes, pins)
        wanted = [each for each in state.working_set if found.may_stay(each.memory_id)]
        return cls([Member.of(each.memory_id, each.said) for each in wanted], cube, themes, pins)

    def may_stay(self, memory_id: str) -> bool:
        """Whether it is still there, holds, and is pinned or of no theme that is over."""
        memory = self._cube.memory(memory_id)
        if memory is None or not memory.available:
            return False
        if memory_id in self._pins:
            return True
        share = self._themes.share(memory_id)
        return share == 0 or share >= _OVER

    def block_after(self, present: Sequence[Member], limits: BlockLimits) -> list[Member]:
        """The members of the block that follows on the present one."""
        return next_block(present, self.members, self.may_stay, limits)


def is_due(state: HotState, now: int, interval: int) -> bool:
    """Whether a model server should be sent the block: it is another one than was sent last, and some time has passed.

    Args:
        now: ms since the epoch, of the clock: it is the server that shall have peace, whatever time the talk is of.
        interval: ms.
    """
    return bool(state.block) and version_of(state) != state.sent.version and now - state.sent.at >= interval


def version_of(state: HotState) -> str:
    return ActivationBlock.of(state.block).version


def sent_now(state: HotState, now: int) -> HotState:
    """The state of a cube whose block is being sent."""
    return state.model_copy(update={"sent": Sent(version=version_of(state), at=now)})
