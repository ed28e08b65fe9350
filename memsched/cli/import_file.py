"""`memsched import`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from memsched.cli.exit_codes import EXIT_FAILED, complain
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.console.terminal import duration
from memsched.escaping import plain
from memsched.importing import Importer, Judged, Totals, judge
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.formats import Format
from memsched.memory.exports.read import BrokenExport, conversations_in, members_of
from memsched.plurals import counted
from memsched.process import run_loop
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings

_ROWS_TOGETHER = 1_000
"""So many conversations are one table: what is shown of a file without end does not grow with it."""
_REFUSED_TOLD = 100
_TOLD_EVERY_SECONDS = 10.0
_LONGEST_TITLE = 40
_SPEAKERS_TOLD = 4


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, JSON lines, or the zip or folder of an export.")],
    user: User,
    cube: Cube,
    form: Annotated[
        Format, typer.Option("--format", help="What FILE is; auto: what each of its conversations looks like.")
    ] = Format.AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be kept, conversation by conversation.")
    ] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Remember the conversations of another program: ChatGPT, Claude, LangChain, ShareGPT, Gemini, LoCoMo, or lists.

    Each conversation becomes a session, with its own times. The same file again changes nothing, a later export brings
    what is new in it, and an import that was interrupted goes on where it was. Live workers remember what is handed
    over; where there are none, this command does it.

    Exit code 1: something was refused or failed, or FILE could not be read to its end. Everything else was done.
    """
    if dry_run:
        report = _Report(Settings.load().long_term_capacity)
        with report.to_the_end():
            _show(report.judged(conversations_in(file, form), user, cube), as_json=as_json)
        if not as_json:
            report.print(f"would be kept: {report.counted()}")
        elif report.over_capacity:
            typer.echo(json.dumps({"over_capacity": report.over_capacity}))
    else:
        settings = tool_settings(redis_url=redis_url, prefix=prefix, log_level="error")
        report = _Report(settings.long_term_capacity)
        began = time.monotonic()
        with _progress(file, report) as bar:
            try:
                found = conversations_in(file, form, bar.read)
                run_loop(lambda: _import(settings, found, user, cube, report, bar.tell))
            except KeyboardInterrupt:
                complain(f"interrupted: {report.counted()}. The same command goes on from there.")
                raise
        if as_json:
            typer.echo(json.dumps(report.as_json(), ensure_ascii=False))
        else:
            report.print(f"{report.counted()}\n{report.settled(time.monotonic() - began)}")
    if report.over_capacity:
        complain(report.warning())
    if report.broken is not None:
        complain(f"{plain(str(report.broken))} What stands before it was read.")
    if report.broken is not None or report.totals.refused or report.totals.dead or report.paused:
        raise typer.Exit(EXIT_FAILED)


async def _import(
    settings: Settings,
    found: Iterator[Conversation],
    user: str,
    cube: str,
    report: _Report,
    tell: Callable[[], None],
) -> None:
    scheduler = AsyncMemScheduler(settings)
    importer = Importer(scheduler, user, cube, report.totals, tell)
    try:
        with report.to_the_end():
            await importer.bring(found, report.note)
        await importer.settle()
        report.paused = importer.paused
    finally:
        await scheduler.stop()


class _Report:
    """What is told at the end, and kept until then: numbers, and the first of what was refused.

    Args:
        capacity: so many memories of a cube stay beside its archive.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.totals = Totals()
        self.refused: list[tuple[str, str]] = []
        self.broken: BrokenExport | None = None
        self.paused = False

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """A file that is broken is read up to there."""
        try:
            yield
        except BrokenExport as error:
            self.broken = error

    def judged(self, found: Iterator[Conversation], user: str, cube: str) -> Iterator[Judged]:
        """What would be kept of each."""
        for each in found:
            judged = judge(each, user, cube)
            self.totals.add(judged)
            self.note(judged)
            yield judged

    def note(self, judged: Judged) -> None:
        about = judged.conversation
        title = f" \u201c{_title(judged)}\u201d" if _title(judged) else ""
        room = _REFUSED_TOLD - len(self.refused)
        self.refused += [(f"{about.where}{title}", why) for why in judged.refused[: max(0, room)]]

    def counted(self) -> str:
        told = self.totals
        conversations = [
            counted(told.conversations, "conversation"),
            *([f"{told.conversations - told.new:,} of them without anything new"] if told.known else []),
            *([f"{told.empty:,} more with nothing to keep"] if told.empty else []),
        ]
        kinds = ", ".join(f"{count:,} \u00d7 {what}" for what, count in told.passed.most_common())
        turns = [
            counted(told.kept, "turn"),
            *([f"{told.known:,} known already"] if told.known else []),
            *([f"{told.passed.total():,} passed over ({kinds})"] if kinds else []),
            *([f"{told.refused:,} refused"] if told.refused else []),
        ]
        return f"{', '.join(conversations)}; {', '.join(turns)}"

    @property
    def over_capacity(self) -> int:
        """How many memories are beyond the capacity: of the file's turns, and of what the cube is known to have."""
        return max(0, self._in_all - self._capacity)

    @property
    def _in_all(self) -> int:
        told = self.totals
        return told.kept + max(told.known, told.held)

    def warning(self) -> str:
        told = self.totals
        held = f", {told.held:,} memories in the cube before," if told.held else ""
        turns = counted(told.kept + told.known, "turn")
        return (
            f"{turns}{held} and a MEMSCHED_LONG_TERM_CAPACITY of {self._capacity:,}: of the memories in the cube the "
            f"least valuable, {self.over_capacity:,} or more, are archived. Nothing is lost, and memsched search finds "
            "them; chat, and search without include_archived=True, leave them out. To have all at hand, set "
            f"MEMSCHED_LONG_TERM_CAPACITY to {2 * self._in_all} for this command and the workers before the import"
        )

    def settled(self, seconds: float) -> str:
        told = self.totals
        if told.dead:
            return (
                f"{counted(told.dead, 'dead letter')} of imports into this cube, not remembered: memsched dead list "
                "--label add says why; memsched dead redrive --label add tries them again"
            )
        if self.paused:
            return (
                f"{counted(told.waiting, 'message')} left: the label add is paused; resume it, and give the same "
                "command again"
            )
        if told.waiting:
            return f"{counted(told.waiting, 'message')} left for workers: memsched status"
        return f"all of it is remembered, after {duration(seconds)}"

    def print(self, text: str) -> None:
        typer.echo(text)
        for where, why in self.refused:
            typer.echo(plain(f"refused: {where}: {why}"))
        if (more := self.totals.refused - len(self.refused)) > 0:
            typer.echo(f"and {more:,} more")

    def as_json(self) -> dict[str, Any]:
        told = self.totals
        numbers = ("conversations", "new", "empty", "kept", "known", "refused", "waiting", "dead")
        listed = [{"where": where, "why": why} for where, why in self.refused]
        return {name: getattr(told, name) for name in numbers} | {
            "passed": dict(told.passed),
            "refusals": listed,
            "over_capacity": self.over_capacity,
        }


def _title(judged: Judged) -> str:
    title = " ".join((judged.conversation.title or judged.conversation.key).split())
    return title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "\u2026"


def _show(found: Iterator[Judged], *, as_json: bool) -> None:
    """A row for each conversation; as JSON, a line."""
    if as_json:
        for each in found:
            typer.echo(json.dumps(_row_as_json(each), ensure_ascii=False))
        return
    while True:
        rows: list[Judged] = []
        try:
            rows += islice(found, _ROWS_TOGETHER)
        finally:
            if rows:
                _print_table(rows)
        if len(rows) < _ROWS_TOGETHER:
            return


def _print_table(rows: list[Judged]) -> None:
    table = new_table()
    table.add_column("conversation", overflow="fold")
    for name in ("kept", "passed over", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("from", "to"):
        table.add_column(name, no_wrap=True)
    table.add_column("speakers", overflow="fold")
    for each in rows:
        began, ended = (f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (each.began, each.ended))
        speakers = [*each.speakers[:_SPEAKERS_TOLD], *(["\u2026"] if len(each.speakers) > _SPEAKERS_TOLD else [])]
        passed = ", ".join(f"{count} \u00d7 {what}" for what, count in each.passed.most_common())
        refused = len(each.refused) or ""
        row = (_title(each), len(each.kept), passed, refused, began, ended, ", ".join(speakers))
        table.add_row(*map(as_text, row))
    console().print(table)


def _row_as_json(judged: Judged) -> dict[str, Any]:
    about = judged.conversation
    return {
        "where": about.where,
        "session_id": about.key,
        "title": about.title,
        "kept": len(judged.kept),
        "passed": dict(judged.passed),
        "refused": judged.refused,
        "from": judged.began and judged.began.isoformat(),
        "to": judged.ended and judged.ended.isoformat(),
        "speakers": judged.speakers,
    }


class _Bar:
    """How far the import is, on stderr: a bar at a terminal, else a line now and then."""

    def __init__(self, bar: Progress | None, size: int, report: _Report) -> None:
        self._bar, self._report = bar, report
        self._task = bar.add_task("", total=size) if bar else None
        self._read = self._told_at = 0.0
        self._size = size

    def read(self, count: int) -> None:
        """So many bytes more were read."""
        self._read += count

    def tell(self) -> None:
        totals = self._report.totals
        said = counted(totals.conversations, "conversation"), counted(totals.kept, "turn")
        text = f"{', '.join(said)}, {counted(totals.waiting, 'message')} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._read, description=text)
        elif time.monotonic() - self._told_at >= _TOLD_EVERY_SECONDS:
            if self._told_at:
                complain(f"{100 * self._read / max(1, self._size):.0f} % of the file read: {text}")
            self._told_at = time.monotonic()


@contextmanager
def _progress(file: Path, report: _Report) -> Iterator[_Bar]:
    out = console(stderr=True)
    size = sum(member.size for member in members_of(file))
    if not out.is_terminal:
        yield _Bar(None, size, report)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        yield _Bar(bar, size, report)
