"""`memsched pin`, `unpin`, `archive` and `restore`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.at_cube import at_cube, whole_id
from memsched.cli.shared_options import Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.escaping import plain

Memories = Annotated[
    list[str], typer.Argument(metavar="MEMORY_ID...", help="The memories: their ids, or the first characters of them.")
]


def pin(memories: Memories, user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Keep memories in the working set and out of the archive, until `memsched unpin`."""
    _each("pin", memories, user, cube, redis_url, prefix, "is pinned", "was pinned already")


def unpin(memories: Memories, user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Let memories come and go as others do."""
    _each("unpin", memories, user, cube, redis_url, prefix, "is not pinned any more", "was not pinned")


def archive(memories: Memories, user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Put memories away, until `memsched restore`: nothing is deleted."""
    _each("archive", memories, user, cube, redis_url, prefix, "is archived", "was archived already")


def restore(memories: Memories, user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Bring memories back from the archive, and from under what corrects them: that correction is undone for good."""
    _each("restore", memories, user, cube, redis_url, prefix, "is back", "was neither archived nor corrected")


def _each(
    verb: str,
    memories: list[str],
    user: str,
    cube: str,
    redis_url: str | None,
    prefix: str | None,
    changed: str,
    unchanged: str,
) -> None:
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> None:
        async with at_cube(settings, user, cube) as scheduler:
            for given in memories:
                memory_id = await whole_id(scheduler, user, cube, given)
                done = await getattr(scheduler, verb)(user, cube, memory_id)
                typer.echo(f"{plain(memory_id)} {changed if done else unchanged}")

    asyncio.run(run())
