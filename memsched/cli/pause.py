"""`memsched pause` and `memsched resume`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.exit_codes import complain
from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.cli.tool_settings import tool_settings
from memsched.escaping import plain
from memsched.scheduler import AsyncMemScheduler

Labels = Annotated[list[str], typer.Argument(metavar="LABEL...", help="The labels.")]


def pause(labels: Labels, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Let workers take no more messages of these labels, until `memsched resume`.

    All workers, at once, and those that start later. What runs ends; what comes is kept, and counts as backlog.
    """
    _each(labels, redis_url, prefix, pausing=True)


def resume(labels: Labels, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Let workers go on with these labels."""
    _each(labels, redis_url, prefix, pausing=False)


def _each(labels: list[str], redis_url: str | None, prefix: str | None, *, pausing: bool) -> None:
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> None:
        scheduler = AsyncMemScheduler(settings)
        try:
            known = (await scheduler.read_status()).labels
            for label in labels:
                changed = await (scheduler.pause(label) if pausing else scheduler.resume(label))
                told = ("is paused", "was paused already") if pausing else ("goes on", "was not paused")
                typer.echo(f"{plain(label)} {told[not changed]}")
                if pausing and label not in known:
                    complain(f"no worker and no message knows the label {plain(label)}.")
        finally:
            await scheduler.stop()

    asyncio.run(run())
