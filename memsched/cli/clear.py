"""`memsched clear`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from memsched.cli.shared_options import Prefix, RedisUrl, Yes, confirm
from memsched.cli.tool_settings import tool_settings
from memsched.escaping import plain
from memsched.plurals import counted
from memsched.queue.status import read_status
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings


def clear(
    label: Annotated[str | None, typer.Option("--label", "-l", help="Only this label; default: all.")] = None,
    yes: Yes = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Drop unfinished messages for good. Dead letters stay.

    Workers that run one of them are told at their next renewal.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    what = "of all labels" if label is None else f"of label {plain(label)}"
    if not yes and (count := asyncio.run(_with_scheduler(settings, lambda scheduler: _count(scheduler, label)))):
        confirm(f"Drop {counted(count, 'unfinished message')} {what} for good?")
    dropped = asyncio.run(_with_scheduler(settings, lambda scheduler: scheduler.clear(label)))
    typer.echo(f"dropped {counted(dropped, 'message')} {what}")


async def _count(scheduler: AsyncMemScheduler, label: str | None) -> int:
    if label is None:
        return (await scheduler.read_status()).total.backlog
    server = await scheduler.server()
    # Asked for by name: a foreign producer may have filled it, and not made it known.
    look = await server.persistently(lambda: read_status(server, scheduler.keys, scheduler.settings, labels=[label]))
    return look.labels[label].backlog if label in look.labels else 0


async def _with_scheduler(settings: Settings, work: Callable[[AsyncMemScheduler], Awaitable[int]]) -> int:
    scheduler = AsyncMemScheduler(settings)
    try:
        return await work(scheduler)
    finally:
        await scheduler.stop()
