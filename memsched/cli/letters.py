"""Dead letters on the terminal: as a list, one in full, and the progress of a long redrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from memsched.console.terminal import as_text, console, duration
from memsched.queue.dead_letters import DeadLetter

_SHOWN_CHARACTERS = 200


def print_letters(letters: Sequence[DeadLetter], *, more: bool = False) -> None:
    """Two lines per letter, so that the item id stands in full on any terminal: `redrive` and others take it."""
    out = console()
    if not letters:
        out.print("no dead letters")
    now_ms = time.time() * 1000
    for letter in letters:
        head = as_text(letter.item_id, "bold")
        for value, style in ((letter.lane.label, ""), (letter.user_id, ""), (letter.reason, "red")):
            head.append("  ").append_text(as_text(value, style))
        age = duration((now_ms - letter.last_ms) / 1000)
        error = as_text(f"    {age} ago  {letter.error[:_SHOWN_CHARACTERS]}")
        out.print(head)
        out.print(error, no_wrap=True, overflow="ellipsis")
    if more:
        out.print(Text("there are more: --limit shows them", style="dim"))


def print_letter(letter: DeadLetter) -> None:
    """Everything that is known, one field per line; texts with their line ends."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    attempts = ", ".join(f"{kind} {count}" for kind, count in letter.attempts.items() if count)
    rows = {
        "dead letter": letter.dead_id,
        "item id": letter.item_id,
        "label": letter.lane.label,
        "lane": letter.lane.name,
        "reason": letter.reason,
        "error": letter.error,
        "failures": attempts or "none",
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
