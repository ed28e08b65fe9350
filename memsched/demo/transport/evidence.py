"""What the demo left behind, and what it proves: files, counts, log lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Lane
from memsched.broker.scripting import as_texts
from memsched.demo.handlers import PARENT
from memsched.demo.worker_processes import Kill
from memsched.messages import ScheduleMessageItem

_PAGE = 1000
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Recovery:
    """A message that went on in another worker, so many ms after the kill."""

    item_id: str
    previous_owner: str
    worker_id: str
    after_ms: float


@dataclass(slots=True)
class Evidence:
    """Everything that is known at the end."""

    messages: Sequence[ScheduleMessageItem]
    seconds: float
    workers: int
    name: Callable[[str], str]
    kill_wanted: bool
    kill: Kill | None = None
    counted: Counter[str] = field(default_factory=Counter)
    """How often each message was counted, by its follow-ups."""
    runs: Counter[str] = field(default_factory=Counter)
    """How often each message was run to its end, by the files."""
    recoveries: list[Recovery] = field(default_factory=list)
    dead: int = 0
    unfinished: int = 0
    exit_code: int = 0

    @property
    def problems(self) -> list[str]:
        """What does not hold; empty when all of it does."""
        ids = {message.item_id for message in self.messages}
        lost = sum(item_id not in self.runs for item_id in ids)
        uncounted = sum(self.counted[item_id] == 0 for item_id in ids)
        twice = sum(count > 1 for count in self.counted.values())
        strange = len((self.counted.keys() | self.runs.keys()) - ids)
        found = {
            f"{self.unfinished} not finished in time": self.unfinished,
            f"{lost} lost: they left no file": lost,
            f"{uncounted} not counted": uncounted,
            f"{twice} counted twice": twice,
            f"{strange} that nobody submitted": strange,
            f"{self.dead} in the dead letters": self.dead,
            f"the workers ended with exit code {self.exit_code}": self.exit_code,
            "no worker was killed: none held a message in time": self.kill_wanted and self.kill is None,
        }
        if self.kill is not None:
            found["nothing that the killed worker held was recovered by another"] = not self.recoveries
        return [text for text, holds in found.items() if holds]

    def report(self) -> list[tuple[str, str]]:
        """The lines for people, each with a style."""
        total = len(self.messages)
        done = total - max(self.unfinished, sum(self.counted[m.item_id] == 0 for m in self.messages))
        crew = f"{self.workers} worker process{'es' * (self.workers != 1)}"
        first = f"{done} of {total} done in {self.seconds:.1f} s by {crew}"
        lines = [(first, "bold green" if done == total else "bold red")]
        lines += [(line, "") for line in self._about_the_kill()]
        if problems := self.problems:
            return [*lines, *((f"WRONG: {problem}", "bold red") for problem in problems)]
        lines.append((f"none lost: {in_words(len(self.runs))} left a file", "bold green"))
        lines.append((f"none counted twice: {self.counted.total()} counts for {in_words(total)}", "bold green"))
        again = sum(count > 1 for count in self.runs.values())
        if again:
            told = f"{again} ran twice, counted once: done but not yet reported when the worker was killed"
            lines.append((told, ""))
        elif self.kill is not None:
            lines.append(("none ran to its end twice this time (a message runs at least once)", ""))
        return lines

    def _about_the_kill(self) -> Iterator[str]:
        if self.kill is None:
            return
        what = {message.item_id: f"{message.content} of {message.user_id}" for message in self.messages}
        name = self.name(self.kill.worker_id)
        yield f"{name} was killed (SIGKILL) at {self.kill.done} done, holding {in_words(len(self.kill.held))}:"
        width = max((len(what.get(r.item_id, "")) for r in self.recoveries), default=0)
        for recovery in self.recoveries[:_SHOWN]:
            yield (
                f"  {what.get(recovery.item_id, recovery.item_id):{width}}  {self.name(recovery.previous_owner)} → "
                f"{self.name(recovery.worker_id)}  {recovery.after_ms:5.0f} ms after the kill"
            )
        more = self.recoveries[_SHOWN:]
        if more:
            yield f"  and {len(more)} more, the last one {more[-1].after_ms:.0f} ms after the kill"


def in_words(messages: int) -> str:
    return f"{messages} message{'s' * (messages != 1)}"


async def read_counts(server: Server, lane: Lane) -> Counter[str]:
    """The parents of all follow-ups that wait in the counting lane."""
    counted: Counter[str] = Counter()
    edge = "-"
    while page := await server.execute("XRANGE", lane.stream, edge, "+", "COUNT", _PAGE):
        for _, raw in page:
            texts = as_texts(raw)
            info = dict(zip(texts[::2], texts[1::2], strict=True))["info"]
            counted[json.loads(info)[PARENT]] += 1
        edge = f"({page[-1][0].decode()}"
    return counted


def read_runs(folder: Path) -> Counter[str]:
    """How often each message was run to its end: one file each time."""
    files = folder.glob("*.json") if folder.is_dir() else ()
    return Counter(json.loads(file.read_text(encoding="utf-8"))["item_id"] for file in files)


def read_recoveries(log: Path, kill: Kill) -> list[Recovery]:
    """The messages of the killed worker that others took over, as their logs say; the first one first."""
    found = []
    for line in _log_lines(log):
        if line.get("action") == "message.recovered" and line.get("previous_owner") == kill.worker_id:
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            after_ms = max(0.0, (at - kill.at) * 1000)
            found.append(Recovery(line["item_id"], line["previous_owner"], line["worker"], after_ms))
    return sorted(found, key=lambda recovery: recovery.after_ms)


def _log_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a log; what Python itself may have said between them is passed over."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
