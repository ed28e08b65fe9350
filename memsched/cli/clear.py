"""`memsched clear`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.confirm import confirm
from memsched.cli.connecting import tool_settings
from memsched.cli.options import Prefix, RedisUrl
from memsched.settings import Settings


def clear(
    label: Annotated[str | None, typer.Option("--label", "-l", help="Only this label; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Drop unfinished messages for good. Dead letters stay.

    Workers that run one of them are told at their next renewal.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    asyncio.run(_clear(settings, label, yes))


async def _clear(settings: Settings, label: str | None, yes: bool) -> None:
    from memsched.cli.terminal import plain
    from memsched.queue.status import Counts
    from memsched.scheduler import AsyncMemScheduler

    scheduler = AsyncMemScheduler(settings)
    try:
        look = await scheduler.read_status()
        count = (look.total if label is None else look.labels.get(label, Counts())).backlog
        what = "of all labels" if label is None else f"of label {plain(label)}"
        if count:
            confirm(f"Drop {count} unfinished messages {what} for good?", yes)
        dropped = await scheduler.clear(label)
        typer.echo(f"dropped {dropped} messages {what}")
    finally:
        await scheduler.stop()
