"""How far the messages are: a bar and the status on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from memsched.console.tables import status_view
from memsched.demo.display import Stage
from memsched.queue.status import Status

_LINES_PER_RUN = 10
_BAR_COLUMNS = 40


class Progress:
    """total: the number of messages."""

    def __init__(self, stage: Stage, total: int) -> None:
        self._stage = stage
        self._total = total
        self._tenths = 0

    def show(self, status: Status, done: int) -> None:
        """Drawn over the last time on a terminal."""
        if self._stage.live:
            drawing = Group("", self._bar(done), "", status_view(status))
            self._stage.view(lambda _: drawing, at_once=done == self._total)
            return
        tenths = done * _LINES_PER_RUN // self._total
        if tenths > self._tenths:
            self._tenths = tenths
            self._stage.say(f"{done} of {self._total} done")

    def _bar(self, done: int) -> Text:
        full = done * _BAR_COLUMNS // self._total
        bar = Text("━" * full, style="green")
        bar.append("━" * (_BAR_COLUMNS - full), style="dim")
        bar.append(f"  {done} of {self._total} done", style="bold")
        return bar
