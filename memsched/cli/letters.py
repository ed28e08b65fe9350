"""Dead letters on the terminal: as a table, one in full, and the progress of a long redrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from memsched.cli.tables import new_table
from memsched.cli.terminal import as_text, console, duration
from memsched.queue.dead import DeadLetter

_SHOWN_CHARACTERS = 200


def print_letters(letters: Sequence[DeadLetter], *, more: bool = False) -> None:
    """A row per letter. The item id stands in full: it is what `memsched dead show` and `redrive` take."""
    out = console()
    if not letters:
        out.print("no dead letters")
        return
    table = new_table()
    table.add_column("item id", no_wrap=True)
    for name in ("label", "user", "reason"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("error", overflow="ellipsis", no_wrap=True, ratio=1)
    now_ms = time.time() * 1000
    for letter in letters:
        cells = (letter.item_id, letter.lane.label, letter.user_id, letter.reason)
        age = duration((now_ms - letter.last_ms) / 1000)
        table.add_row(*map(as_text, cells), Text(age), as_text(letter.error[:_SHOWN_CHARACTERS]))
    out.print(table)
    if more:
        out.print(Text("there are more: --limit shows them", style="dim"))


def print_letter(letter: DeadLetter) -> None:
    """Everything that is known, one field per line; texts with their line ends."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    attempts = ", ".join(f"{count} {kind}" for kind, count in letter.attempts.items() if count)
    rows = {
        "dead letter": letter.dead_id,
        "item id": letter.item_id,
        "label": letter.lane.label,
        "lane": letter.lane.name,
        "reason": letter.reason,
        "error": letter.error,
        "attempts": attempts or "none counted",
        "submitted": _moment(letter.first_ms),
        "given up": _moment(letter.last_ms),
        "worker": letter.worker,
    }
    for name, value in rows.items():
        table.add_row(name, as_text(value, lines=True))
    table.add_row("", "")
    for name, value in letter.fields.items():
        table.add_row(as_text(name), as_text(value, lines=True))
    console().print(table, "")


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr while there is a terminal; gives the function to call after each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _moment(ms: int) -> str:
    if not ms:
        return "not known"
    ago = duration(max(0.0, time.time() - ms / 1000))
    return f"{datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec='milliseconds')} ({ago} ago)"
