"""The live view: the talk, what is in the working set meanwhile, and how the workers are."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from memsched.console.output import as_text, new_table
from memsched.demo.conversation import ALICE, ASSISTANT, BOB, NAMES, Turn
from memsched.messages import ADD_LABEL, QUERY_LABEL
from memsched.queue.status import Counts
from memsched.tiers.hot_state import WorkingMemory

_LINES_BELOW = 10
"""The frames of the panels, the tables below, and the line that a terminal keeps for the cursor."""
_FEWEST_LINES, _MOST_LINES = 4, 20
_MOST_COLUMNS = 150
_BAR_COLUMNS = 5
_FULL_SCORE = 0.6
"""The score that fills a bar: relevance alone gives no more."""
_NEW_SECONDS = 1.5
_GONE_SECONDS = 2.5
_SPEAKERS = {ALICE: "bold cyan", BOB: "bold magenta", ASSISTANT: "bold blue"}


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker process: its short name, and whether it lives."""

    name: str
    lives: bool


@dataclass(slots=True)
class View:
    """What there is to be seen; ``draw`` it for a console."""

    counts: Counts = field(default_factory=Counts)
    workers: Sequence[WorkerState] = ()
    memories: dict[str, int] = field(default_factory=dict)
    """Numbers of memories, by what they are called."""
    news: Text = field(default_factory=Text)
    _said: deque[Text] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    _set: list[WorkingMemory] = field(default_factory=list)
    _came: dict[str, float] = field(default_factory=dict)
    _corrected: dict[str, tuple[WorkingMemory, float]] = field(default_factory=dict)

    def add_turn(self, turn: Turn) -> None:
        self._said.append(described(turn))

    def set_news(self, news: str, style: str = "") -> None:
        """The line at the bottom."""
        self.news = as_text(news, style)

    def gone_from(self, working_set: Sequence[WorkingMemory]) -> list[WorkingMemory]:
        """Those that are shown, and are not in this working set."""
        there = {each.memory_id for each in working_set}
        return [each for each in self._set if each.memory_id not in there]

    def set_working_set(self, working_set: Sequence[WorkingMemory], corrected: Sequence[WorkingMemory] = ()) -> None:
        """Show this one from now on.

        Args:
            corrected: those that are gone from it because a newer memory says otherwise.
        """
        now, before = time.monotonic(), {each.memory_id for each in self._set}
        self._came = {
            each.memory_id: now if each.memory_id not in before else self._came.get(each.memory_id, 0.0)
            for each in working_set
        }
        self._corrected.update((each.memory_id, (each, now)) for each in corrected)
        self._set = list(working_set)

    def draw(self, console: Console) -> RenderableType:
        lines = max(_FEWEST_LINES, min(_MOST_LINES, console.size.height - _LINES_BELOW))
        width = min(_MOST_COLUMNS, console.size.width)
        left = width * 2 // 5
        panels = Table.grid()
        panels.add_row(
            _panel("the talk", self._talk(console, left - 4, lines), left, lines),
            _panel(f"working set of {NAMES[ALICE]}", self._working_set(width - left - 4, lines), width - left, lines),
        )
        return Group(panels, self._numbers(), self._worker_states(), self.news)

    def _talk(self, console: Console, width: int, lines: int) -> list[Text]:
        wrapped: list[Text] = []
        for each in self._said:
            wrapped += each.wrap(console, width)
        return wrapped[-lines:]

    def _working_set(self, width: int, lines: int) -> list[Text]:
        now = time.monotonic()
        gone = [each for each, at in self._corrected.values() if now - at < _GONE_SECONDS]
        drawn = [_memory(each, now - self._came.get(each.memory_id, 0.0) < _NEW_SECONDS) for each in self._set]
        drawn = drawn[: lines - len(gone)]
        for each in gone:
            line = Text()
            line.append("corrected  - ", style="red")
            line.append_text(as_text(_said(each), "red strike"))
            drawn.append(line)
        for line in drawn:
            line.truncate(width, overflow="ellipsis")
        return drawn

    def _numbers(self) -> Table:
        table = new_table()
        cells = []
        for name in ("backlog", "running", "orphaned", "delayed", "dead"):
            table.add_column(name, justify="right")
            number = getattr(self.counts, name)
            alarming = name in ("orphaned", "dead") and number
            cells.append(Text(str(number), style="bold yellow" if alarming else "" if number else "dim"))
        table.add_column("live workers", justify="right")
        cells.append(Text(str(sum(worker.lives for worker in self.workers))))
        for name, number in self.memories.items():
            table.add_column(name, justify="right", header_style="bold green")
            cells.append(Text(str(number), style="green"))
        table.add_row(*cells)
        return table

    def _worker_states(self) -> Text:
        line = Text(overflow="ellipsis", no_wrap=True)
        for worker in self.workers:
            line.append("● " if worker.lives else "✗ ", style="green" if worker.lives else "bold red")
            line.append(f"{worker.name}  ", style="" if worker.lives else "red")
        return line


def described(turn: Turn) -> Text:
    """``alice: ...``; a question and its answer are told apart from what is to be remembered."""
    who = ASSISTANT if turn.by else NAMES[turn.user]
    line = Text()
    line.append(f"{who}: ", style=_SPEAKERS[turn.speaker])
    if turn.by:
        style = "" if turn.label == ADD_LABEL else "bold"
    else:
        style = "bold yellow" if turn.label == QUERY_LABEL else ""
    line.append_text(as_text(turn.text, style))
    return line


def _panel(title: str, lines: Sequence[Text], width: int, height: int) -> Panel:
    return Panel(
        Group(*lines),
        title=title,
        title_align="left",
        box=box.ROUNDED,
        width=width,
        height=height + 2,
        border_style="dim",
    )


def _memory(memory: WorkingMemory, new: bool) -> Text:
    full = max(0, min(_BAR_COLUMNS, round(memory.score / _FULL_SCORE * _BAR_COLUMNS)))
    line = Text()
    line.append("━" * full, style="green")
    line.append("━" * (_BAR_COLUMNS - full), style="dim")
    line.append(f" {memory.score:.2f}", style="dim")
    line.append(" + " if new else "   ", style="bold green")
    line.append_text(as_text(_said(memory), "bold green" if new else ""))
    return line


def _said(memory: WorkingMemory) -> str:
    """With who said it, if that was not the one whose memories they are."""
    return memory.text if memory.speaker == NAMES[ALICE] else memory.said
