"""What people see of the demo: a live table on a terminal, plain lines anywhere else, and a picture of both."""

from __future__ import annotations

import io
import re
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from memsched.queue.status import Status
from memsched.tables import status_view
from memsched.terminal import as_text, console

_LINES_PER_RUN = 10
_PICTURE_COLUMNS = 92
_DRAW_SECONDS = 0.1


class Stage:
    """Says what happens, and shows how far it is.

    total: the number of messages.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._console = console()
        self._started = time.monotonic()
        self._said: list[RenderableType] = []
        self._stack = ExitStack()
        self._live: Live | None = None
        self._drawn = 0.0
        self._tenths = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = self._stack.enter_context(Live(console=self._console, auto_refresh=False, transient=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._live = None

    def say(self, text: str, style: str = "") -> None:
        """A line that stays, with the seconds since the start."""
        self.show(as_text(f"{time.monotonic() - self._started:5.1f} s  {text}", style))

    def show(self, what: RenderableType) -> None:
        """Something that stays."""
        self._said.append(what)
        self._console.print(what)

    def progress(self, status: Status, done: int) -> None:
        """How far it is: drawn over the last time on a terminal, and a line every tenth elsewhere."""
        if self._live is not None:
            now = time.monotonic()
            if now - self._drawn >= _DRAW_SECONDS or done == self._total:
                self._drawn = now
                self._live.update(Group("", self._bar(done), "", status_view(status)), refresh=True)
            return
        tenths = done * _LINES_PER_RUN // self._total
        if tenths > self._tenths:
            self._tenths = tenths
            self.say(f"{done} of {self._total} done")

    def _bar(self, done: int) -> Text:
        width = 40
        full = done * width // self._total
        bar = Text("━" * full, style="green")
        bar.append("━" * (width - full), style="dim")
        bar.append(f"  {done} of {self._total} done", style="bold")
        return bar

    def draw_picture(self, file: Path, command: str) -> None:
        """Everything that was said, as an SVG of a terminal."""
        recorder = Console(
            record=True, width=_PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor",
            highlight=False, markup=False, emoji=False, legacy_windows=False,
        )  # fmt: skip
        recorder.print(Text.assemble(("$ ", "bold green"), command))
        for what in self._said:
            recorder.print(what)
        svg = recorder.export_svg(title="memsched demo", unique_id="memsched-demo")
        # No font from the network: a picture in a README must not tell anybody who reads it.
        file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")
