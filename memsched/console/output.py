"""Rich's texts, tables and consoles, made so that nothing that strangers wrote is markup, or moves the cursor."""

from __future__ import annotations

import io
import os
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memsched.escaping import plain

_WIDE = 200


def as_text(text: object, style: str = "", *, lines: bool = False) -> Text:
    """A cell or a line.

    Args:
        lines: keep the line ends of ``text``.
    """
    return Text(plain(str(text), lines=lines), style=style)


def console(*, stderr: bool = False) -> Console:
    """A console that makes nothing of what it prints. In a pipe it is wide, so that nothing is cut off."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed, in a program that is not ours
        return Console(file=io.StringIO())
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def new_table() -> Table:
    """The look of all our tables: a line under the names, and no more room than needed."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold")
