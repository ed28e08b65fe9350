"""What `memsched eval` runs on: a scheduler with servers of its own in a temporary folder, and a progress bar."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memsched.console.output import console
from memsched.embedded.teardown import end_servers
from memsched.escaping import plain
from memsched.evaluation.replay import Progress as ReplayProgress
from memsched.logs import configure_logs
from memsched.process import run_loop
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings

Measured = TypeVar("Measured")


def measured(measure: Callable[[AsyncMemScheduler, ReplayProgress], Awaitable[Measured]], steps: int) -> Measured:
    """What ``measure`` returns, called with a started scheduler.

    Args:
        steps: how many it will tell the progress bar of.
    """
    results: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="memsched-eval-") as folder:
        settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="warning")
        configure_logs(settings)

        async def main() -> None:
            scheduler = AsyncMemScheduler(settings)
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            await scheduler.start()
            try:
                with Progress(*columns, console=console(), transient=True) as bar:
                    task = bar.add_task("starts", total=steps)
                    results.append(
                        await measure(
                            scheduler, lambda what, done: bar.update(task, description=plain(what), advance=done)
                        )
                    )
            finally:
                await scheduler.stop()

        try:
            run_loop(main)
        finally:
            end_servers(Path(folder))  # the folder goes; so must the servers in it
    return results[0]
