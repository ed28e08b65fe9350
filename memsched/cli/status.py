"""`memsched status`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.shared_options import AsJson, Prefix, RedisUrl
from memsched.cli.status_display import DEFAULT_INTERVAL_SECONDS, show_status
from memsched.cli.tool_settings import tool_settings
from memsched.durations import seconds_of


def status(
    seconds: Annotated[
        float | None, typer.Argument(metavar="SECONDS", min=0.1, help="With --watch: between two looks.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep looking, and show what has changed.")] = False,
    interval: Annotated[
        float | None,
        typer.Option("--interval", "-i", min=0.1, help="Seconds between two looks; implies --watch."),
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show what waits, runs, and is orphaned, delayed and dead, per label and in total; and the live workers.

    The numbers are exact for one instant per label, and cost the server next to nothing.
    """
    if seconds is not None and not watch:
        raise typer.BadParameter("the seconds are for --watch.", param_hint="SECONDS")
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    every = seconds_of("SECONDS", interval or seconds or DEFAULT_INTERVAL_SECONDS) if watch or interval else None
    asyncio.run(show_status(settings, interval=every, as_json=as_json))
