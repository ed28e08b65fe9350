"""`memsched pin`, `unpin`, `archive` and `restore`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.shared_options import Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.escaping import plain
from memsched.scheduler import AsyncMemScheduler

Memories = Annotated[list[str], typer.Argument(metavar="MEMORY_ID...", help="The memories.")]


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
    """Bring memories back from the archive."""
    _each("restore", memories, user, cube, redis_url, prefix, "is back", "was not archived")


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
        scheduler = AsyncMemScheduler(settings)
        try:
            for memory_id in memories:
                done = await getattr(scheduler, verb)(user, cube, memory_id)
                typer.echo(f"{plain(memory_id)} {changed if done else unchanged}")
        finally:
            await scheduler.stop()

    asyncio.run(run())
