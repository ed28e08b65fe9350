"""The status and the memory events as tables, for the command line, the scripts, the demo and the library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memsched.cli.terminal import as_text, console, duration

if TYPE_CHECKING:
    from memsched.messages import ScheduleLogForWebItem
    from memsched.queue.registry import WorkerInfo
    from memsched.queue.status import Counts, Status

_COUNTS = ("backlog", "remaining", "running", "orphaned", "delayed", "dead")
_ALARMING = {"orphaned": "yellow", "dead": "red"}
_TALLY = ("done", "retried", "recovered", "lost")


def print_status(status: Status) -> None:
    """Print the state of all labels and workers."""
    console().print(status_view(status))


def status_view(status: Status, previous: Status | None = None, seconds: float | None = None) -> RenderableType:
    """Both tables of the status, one under the other."""
    parts: list[RenderableType] = [status_table(status, previous, seconds), workers_table(status, previous)]
    silent = [worker for worker in status.workers if not worker.alive]
    if silent:
        names = ", ".join(
            f"{worker.worker_id} ({duration(worker.silent_ms / 1000)})" for worker in silent if worker.silent_ms < 1e10
        )
        parts.append(as_text(f"{len(silent)} dead, not cleared away yet{': ' * bool(names)}{names}", "yellow"))
    return Group(*parts)


def status_table(status: Status, previous: Status | None = None, seconds: float | None = None) -> Table:
    """What waits, runs, and is orphaned, delayed and dead: a row per label, and one for all.

    previous, seconds: the look before this one and how long ago it was, to show what has changed since.
    """
    table = _table("label", *_COUNTS, "oldest")
    if previous is not None and seconds:
        table.add_column("change", justify="right", no_wrap=True)
        table.add_column("per s", justify="right", no_wrap=True)
    before = previous.labels if previous is not None else {}
    for label, counts in status.labels.items():
        table.add_row(as_text(label), *_row(counts, before.get(label), seconds))
    table.add_section()
    total_before = previous.total if previous is not None else None
    table.add_row(Text("total"), *_row(status.total, total_before, seconds), style="bold")
    return table


def _row(counts: Counts, before: Counts | None, seconds: float | None) -> list[Text]:
    cells = []
    for name in _COUNTS:
        number = getattr(counts, name)
        style = _ALARMING.get(name, "") if number else "dim"
        cells.append(Text(f"{number}", style=style))
    oldest = "" if counts.oldest_seconds is None else duration(counts.oldest_seconds)
    cells.append(Text(oldest))
    if seconds:
        change = counts.backlog - before.backlog if before is not None else counts.backlog
        cells.append(Text(f"{change:+d}" if change else "", style="cyan"))
        cells.append(Text(f"{change / seconds:+.1f}" if change else "", style="cyan"))
    return cells
