"""What commands about one cube have in common: that it is there, and which memory a few characters of an id mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from memsched.errors import UnknownCube
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import Permission
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings


@asynccontextmanager
async def at_cube(settings: Settings, user: str, cube: str) -> AsyncIterator[AsyncMemScheduler]:
    """A scheduler, for a command about a cube that is there. Raises UnknownCube, with the names that there are.

    Programs begin a cube by writing to its name. Somebody at a terminal who names one that nobody wrote to mistyped it.
    """
    scheduler = AsyncMemScheduler(settings)
    try:
        cubes = Cubes(await scheduler.server(), scheduler.keys, settings)
        names = [each.name for each in await cubes.cubes_of(user)]
        if cube not in names:
            await cubes.resolve(user, cube, Permission.READ)  # one whose share was revoked has its own words
            users = [] if names else [each.user_id for each in await cubes.list_users()]
            raise UnknownCube(user, cube, names, users)
        yield scheduler
    finally:
        await scheduler.stop()


async def whole_id(scheduler: AsyncMemScheduler, user: str, cube: str, given: str) -> str:
    """The id of the one memory of a cube whose id begins so; ``given`` itself if there is none."""
    services = await scheduler.memory()
    ref = await services.cubes.resolve(user, cube, Permission.READ)
    found = [each for each in await services.working_sets.members(ref) if each.startswith(given)]
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} ids begin with {given!r}; give more characters of it")
    return found[0] if found else given
