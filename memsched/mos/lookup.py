"""What a user means: which of their cubes, and where the memory of an id is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from memsched.errors import MemschedError, UnknownMemory
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.model import Memory, expect_memory_id

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

DEFAULT_CUBE = "default"
"""The cube of a user who has none, where none is named."""


FIRST = "first, before mem_cube_id and user_id"
"""Where the id of a memory stands in calls of a MOS."""


class CubeNotSaid(MemschedError):
    """The user has several cubes, and it was not said which one is meant."""

    def __init__(self, user_id: str, names: Sequence[str]) -> None:
        self.names = names[:10]
        super().__init__(f"user_id={user_id!r}: give mem_cube_id, one of {', '.join(map(repr, self.names))}.")


class FoundMemory(NamedTuple):
    """A memory and the cube that has it. name: the user's name of that cube."""

    name: str
    ref: CubeRef
    memory: Memory


async def cube_meant(cubes: Cubes, user_id: str) -> str:
    """The user's name of the cube that they mean when they name none. Raises CubeNotSaid where nobody can know."""
    own = [view.name for view in await cubes.cubes_of(user_id) if view.ref.user_id == user_id]
    if not own or DEFAULT_CUBE in own:
        return DEFAULT_CUBE
    if len(own) > 1:
        raise CubeNotSaid(user_id, own)
    return own[0]


async def find_memory(
    services: MemoryServices, user_id: str, memory_id: str, mem_cube_id: str | None, need: Permission
) -> FoundMemory:
    """Find a memory in a cube, or in any that the user may read. Raises UnknownMemory, CubeForbidden.

    Args:
        need: what the user wants to do with it; who may not even read is told of no memory.
    """
    expect_memory_id(memory_id, (user_id, mem_cube_id), FIRST)
    names = [mem_cube_id] if mem_cube_id is not None else []
    if mem_cube_id is None:
        names = [view.name for view in await services.cubes.cubes_of(user_id)]
    for name in names:
        ref = await services.reading(user_id, name)
        with suppress(UnknownMemory):
            memory = await services.named(user_id, ref, memory_id)
            return FoundMemory(name, await services.cubes.resolve(user_id, name, need), memory)
    raise UnknownMemory(memory_id)
