"""The working set of a role: what is bound to it, what is pinned, then what is bound to nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from support.memories import memory

from memsched.memory.access.permissions import CubeRef
from memsched.policy.binding import Context, StandardBinding
from memsched.policy.transitions import StandardTransitions
from memsched.tiers.bound_set import BoundSets
from memsched.tiers.cube_cache import CubeCache
from memsched.tiers.hot_state import HotState
from memsched.tiers.moves import Placement

HOME = CubeRef("alice", "home")


class FakeCube:
    def __init__(self, pins: list[str]) -> None:
        self.pins = pins

    async def load(self, _: CubeRef) -> HotState:
        return HotState(placement=Placement(pins=self.pins))

    async def current(self, _: CubeRef) -> CubeCache:
        cube = CubeCache()
        cube.put(memory(f"ward {minute}", minute, tags=["role:nurse"]) for minute in range(30))
        cube.put(memory(f"taxes {minute}", minute, tags=["role:clerk"]) for minute in range(3))
        cube.put(memory(f"old {minute}", minute - 9000) for minute in range(9))
        return cube


def near(pins: list[str], size: int = 6) -> list[str]:
    fake: Any = FakeCube(pins)
    sets = BoundSets(fake, fake, StandardTransitions(), StandardBinding(), size)
    (part,) = asyncio.run(sets.of(Context(role="nurse"), [("home", HOME)]))
    assert len(part.memories) == size
    assert [each.memory_id for each in part.memories if "pinned" in each.sources] == [
        each.memory_id for each in part.memories if each.memory_id in pins
    ]
    return [each.memory_id for each in part.memories]


def test_what_is_pinned_is_near_in_every_role_but_not_what_is_bound_to_another() -> None:
    assert {"old 3", "old 5"} <= set(near(["old 3", "taxes 1", "old 5"]))
    assert "taxes 1" not in near(["taxes 1"])
    assert all(each.startswith("ward") for each in near([]))


def test_of_more_pins_than_half_of_the_set_those_pinned_first_are_there() -> None:
    found = near([f"old {number}" for number in (7, 1, 4, 2)])

    assert {each for each in found if each.startswith("old")} == {"old 7", "old 1", "old 4"}
