"""The status and the memory events as tables, for the command line, the scripts, the demo and the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memsched.console.output import as_text, console, new_table
from memsched.console.terminal import duration
from memsched.messages import ScheduleLogForWebItem
from memsched.queue.status import Counts, Status
from memsched.queue.workers import WorkerInfo

_COUNTS = ("backlog", "remaining", "running", "orphaned", "delayed", "parked", "dead")
_ALARMING = {"orphaned": "bold yellow", "dead": "bold red"}
_TALLY = ("done", "retried", "recovered", "lost")
_LONGEST_SHOWN_SILENCE_MS = 3_600_000
"""A worker that its supervisor saw die has the oldest time there is; how long it was silent says nothing."""


def print_status(status: Status) -> None:
    """Print the state of all labels and workers."""
    console().print(status_view(status))


def print_events(events: Sequence[ScheduleLogForWebItem]) -> None:
    """Print memory events, one row each."""
    table = new_table()
    for name in ("time", "label", "user", "cube", "from", "to"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    table.add_column("what", overflow="fold")
    for event in events:
        cells = (
            event.timestamp.strftime("%m-%d %H:%M:%S"),
            event.label,
            event.user_id,
            event.mem_cube_id,
            event.from_memory_type,
            event.to_memory_type,
            event.log_content,
        )
        table.add_row(*map(as_text, cells))
    console().print(table if events else "no memory events")


def status_view(status: Status, previous: Status | None = None, seconds: float | None = None) -> RenderableType:
    """The tables of the labels and of the workers, one under the other."""
    parts: list[RenderableType] = [status_table(status, previous, seconds), "", workers_table(status, previous)]
    dead = [worker for worker in status.workers if not worker.alive]
    if dead:
        names = ", ".join(_silent_for(worker) for worker in dead)
        parts.append(as_text(f"dead, not cleared away yet: {names}", "yellow"))
    unknown = [f"Nothing can be said of the label {label!r}: {why}" for label, why in status.unknown.items()]
    parts += [as_text(told, "yellow") for told in (*status.no_handler.values(), *unknown)]
    return Group(*parts)


def status_table(status: Status, previous: Status | None = None, seconds: float | None = None) -> Table:
    """What waits and runs, and is orphaned, delayed and dead: a row per label, and one for all.

    Args:
        previous: the look before this one. What has changed since stands beside each number.
        seconds: how long ago that was; with it, ``per s`` is the change of the backlog.
    """
    table = new_table()
    table.add_column("label", overflow="fold")
    for name in (*_COUNTS, "oldest"):
        table.add_column(name, justify="right", min_width=len(name))
    if previous is not None and seconds:
        table.add_column("per s", justify="right", min_width=6)
    else:
        previous = None
    for label, counts in status.labels.items():
        before = previous.labels.get(label) if previous is not None else None
        shown = as_text(label)
        if label in status.paused:
            shown.append("  paused", "bold yellow")
        table.add_row(shown, *_cells(counts, before, seconds))
    table.add_section()
    before = previous.total if previous is not None else None
    table.add_row(Text("total"), *_cells(status.total, before, seconds), style="bold")
    return table


def workers_table(status: Status, previous: Status | None = None) -> RenderableType:
    """The live workers, and what each has done since its start."""
    live = sorted((worker for worker in status.workers if worker.alive), key=lambda worker: worker.worker_id)
    if not live:
        return Text("no live worker", style="yellow")
    before = {worker.worker_id: worker.about for worker in previous.workers} if previous is not None else {}
    table = new_table()
    table.add_column(f"{len(live)} live worker{'s' * (len(live) != 1)}", overflow="fold")
    table.add_column("labels", overflow="fold", max_width=30)
    for name in (*_TALLY, "up", "silent"):
        table.add_column(name, justify="right", min_width=len(name))
    for worker in live:
        tally = [
            _changed(_number(worker.about, name), _number(before.get(worker.worker_id, worker.about), name))
            for name in _TALLY
        ]
        times = (_up(worker), duration(worker.silent_ms / 1000))
        labels = as_text(worker.about.get("labels", "").replace(",", " "))
        table.add_row(as_text(worker.worker_id), labels, *tally, *map(Text, times))
    return table


def _cells(counts: Counts, before: Counts | None, seconds: float | None) -> list[Text]:
    cells = []
    for name in _COUNTS:
        number = getattr(counts, name)
        style = _ALARMING.get(name, "") if number else "dim"
        cells.append(_changed(number, getattr(before, name) if before is not None else number, style))
    cells.append(Text("" if counts.oldest_seconds is None else duration(counts.oldest_seconds)))
    if before is not None and seconds:
        change = counts.backlog - before.backlog
        cells.append(Text(f"{change / seconds:+.1f}" if change else "", style="cyan"))
    return cells


def _changed(number: int, before: int, style: str = "") -> Text:
    """``120``, or ``120 -30`` when it was 150 before. In a narrow column the change goes to a second line."""
    cell = Text(str(number), style=style)
    if number != before:
        cell.append(f" {number - before:+d}", style="not bold cyan")
    return cell


def _number(about: Mapping[str, str], name: str) -> int:
    text = about.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _up(worker: WorkerInfo) -> str:
    try:
        started = datetime.strptime(worker.about.get("started", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return duration((datetime.now(UTC) - started).total_seconds())


def _silent_for(worker: WorkerInfo) -> str:
    if worker.silent_ms > _LONGEST_SHOWN_SILENCE_MS:
        return worker.worker_id
    return f"{worker.worker_id} (silent for {duration(worker.silent_ms / 1000)})"
