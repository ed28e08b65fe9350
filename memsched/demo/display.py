"""The demo's display: a live view on a terminal, plain lines anywhere else, and a picture for a page."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from memsched.console.output import as_text, console

_DRAW_SECONDS = 0.1
_PICTURE_COLUMNS, _PICTURE_LINES = 100, 24

Drawing = Callable[[Console], RenderableType]
"""Draws for a console: as wide and as high as that one is."""


class Display:
    """Prints what happens, and draws how far it is."""

    def __init__(self) -> None:
        self._console = console()
        self._started = time.monotonic()
        self._pictured: list[RenderableType] = []
        self._stack = ExitStack()
        self._live: Live | None = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = self._stack.enter_context(Live(console=self._console, auto_refresh=False, transient=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._live = None

    @property
    def live(self) -> bool:
        """Whether there is a view that is drawn over; otherwise what happens should be said in lines."""
        return self._live is not None

    def say(self, text: str, style: str = "", *, pictured: bool = True) -> None:
        """A line that stays, with the seconds since the start."""
        self.show(as_text(f"{time.monotonic() - self._started:5.1f} s  {text}", style), pictured=pictured)

    def show(self, what: RenderableType, *, pictured: bool = True) -> None:
        """Something that stays."""
        if pictured:
            self._pictured.append(what)
        self._console.print(what)

    def view(self, drawing: Drawing, *, at_once: bool = False) -> None:
        """The live view, drawn over the last one; no more than ten times a second."""
        now = time.monotonic()
        if self._live is not None and (at_once or now - self._drawn >= _DRAW_SECONDS):
            self._drawn = now
            self._live.update(drawing(self._console), refresh=True)

    def keep_view(self, drawing: Drawing, *, shown: bool = False) -> None:
        """Put this view into the picture.

        Args:
            shown: it stays on the terminal as well, if there is one.
        """
        # Drawn now: what it shows may have changed by the time of the picture.
        self._pictured.append(Group("", drawing(_picture_console()), *([] if shown else [""])))
        if shown and self._live is not None:
            self._console.print(drawing(self._console))

    def draw_picture(self, file: Path, command: str) -> None:
        """Everything that is pictured, as an SVG of a terminal."""
        recorder = _picture_console()
        recorder.print(Text.assemble(("$ ", "bold green"), command))
        for what in self._pictured:
            recorder.print(what)
        svg = recorder.export_svg(title="memsched demo", unique_id="memsched-demo")
        # No font from the network: a picture in a README must not tell anybody who reads it.
        file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def _picture_console() -> Console:
    return Console(
        record=True,
        width=_PICTURE_COLUMNS,
        height=_PICTURE_LINES,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
