"""`memsched dead ...`: list, show, redrive and purge dead letters (poison messages, and what failed too often)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.exit_codes import EXIT_WRONG_USE, complain
from memsched.cli.shared_options import UNIT_SECONDS, AsJson, Prefix, RedisUrl, Yes, confirm, parse_age
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console
from memsched.console.terminal import duration
from memsched.escaping import plain
from memsched.queue.dead_letters import REASONS, DeadFilter, DeadLetter, DeadLetters
from memsched.settings import Settings

T = TypeVar("T")

_SHOWN_CHARACTERS = 200


def parse_rate(text: str) -> float:
    """``10``, ``10/s``, ``600/m`` as a number per second."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?", text.strip())
    if found is None or float(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no rate; write 10/s or 600/m.")
    return float(found[1]) / UNIT_SECONDS[found[2] or "s"]


def parse_reason(text: str) -> str:
    """One of the reasons for which messages are given up."""
    if text not in REASONS:
        raise typer.BadParameter(f"{text!r} is no reason; it is one of {', '.join(REASONS)}.")
    return text


dead = typer.Typer(
    help="Dead letters: messages that were given up, with the reason. List, show, redrive or purge them.",
    no_args_is_help=True,
)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Item ids, of any user without --user; or ids of letters.")
]
Label = Annotated[str | None, typer.Option("--label", "-l", help="Only this label.")]
Reason = Annotated[
    str | None,
    typer.Option("--reason", "-r", metavar="REASON", parser=parse_reason, help=f"Only these: {', '.join(REASONS)}."),
]
User = Annotated[str | None, typer.Option("--user", "-u", help="Only this user_id.")]
Before = Annotated[
    float | None,
    typer.Option("--before", metavar="AGE", parser=parse_age, help="Only those given up longer ago: 90s, 2h, 7d."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which ones it would be.")]
All = Annotated[bool, typer.Option("--all", help="Needed to mean all of them.")]


@dead.command("list")
def list_(
    label: Label = None,
    reason: Reason = None,
    user: User = None,
    before: Before = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """List dead letters, the newest first. --json prints one JSON document per line."""

    async def run(letters: DeadLetters) -> None:
        which = _filter(None, label, reason, user, before)
        found = [letter async for letter in letters.letters(which, newest_first=True, most_per_lane=limit + 1)]
        found.sort(key=lambda letter: letter.last_ms, reverse=True)
        if as_json:
            for letter in found[:limit]:
                typer.echo(json.dumps(letter.as_dict()))
        else:
            _print_letters(found[:limit], more=len(found) > limit)

    _run(tool_settings(redis_url=redis_url, prefix=prefix), run)


@dead.command()
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="An item id, or the id of a dead letter.")],
    user: User = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show everything that is known about a dead letter, and what its message says."""

    async def run(letters: DeadLetters) -> None:
        found = [letter async for letter in letters.letters(_filter([item_id], None, None, user, None))]
        for letter in found:
            if as_json:
                typer.echo(json.dumps(letter.as_dict()))
            else:
                _print_letter(letter)
        if not found:
            complain("there is no dead letter with this id.")
            raise typer.Exit(1)

    _run(tool_settings(redis_url=redis_url, prefix=prefix), run)


@dead.command()
def redrive(
    ids: Ids = None,
    label: Label = None,
    reason: Reason = None,
    user: User = None,
    before: Before = None,
    limit: Limit = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N/s", parser=parse_rate, help="At most so many in a second: 10/s, 600/m."),
    ] = None,
    dry_run: DryRun = False,
    all_: All = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Send dead letters to their streams again, with all their budgets of failures renewed."""
    which = _filter(ids, label, reason, user, before)
    _refuse_to_guess(which, all_)

    async def run(letters: DeadLetters) -> None:
        count = await _count(letters, which, limit, dry_run, "redriven")
        if dry_run:
            return
        with _progress("redriving", count) as step:
            sent = await letters.redrive(which, limit=limit, per_second=rate, on_sent=lambda _: step())
        typer.echo(f"{_letters(sent)} redriven")

    _run(tool_settings(redis_url=redis_url, prefix=prefix), run)


@dead.command()
def purge(
    ids: Ids = None,
    label: Label = None,
    reason: Reason = None,
    user: User = None,
    before: Before = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    all_: All = False,
    yes: Yes = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Delete dead letters for good."""
    which = _filter(ids, label, reason, user, before)
    _refuse_to_guess(which, all_)

    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    count = _run(settings, lambda letters: _count(letters, which, limit, dry_run, "deleted"))
    if dry_run:
        return
    if count and not yes:
        confirm(f"Delete {_letters(count)} for good?")
    deleted = _run(settings, lambda letters: letters.purge(which, limit=limit))
    typer.echo(f"{_letters(deleted)} deleted")


def _filter(
    ids: list[str] | None, label: str | None, reason: str | None, user: str | None, before: float | None
) -> DeadFilter:
    before_ms = 0 if before is None else int((time.time() - before) * 1000)
    return DeadFilter(label or "", reason or "", user or "", frozenset(ids or ()), before_ms)


def _refuse_to_guess(which: DeadFilter, all_: bool) -> None:
    """A forgotten option must not mean everything."""
    if which == DeadFilter() and not all_:
        complain("say which dead letters: IDs, --label, --reason, --user or --before; or --all.")
        raise typer.Exit(EXIT_WRONG_USE)


async def _count(letters: DeadLetters, which: DeadFilter, limit: int | None, dry_run: bool, what: str) -> int:
    """How many it will be; in a dry run, each of them is printed. Those asked for by id must all be there."""
    found: list[DeadLetter] = []
    count = 0
    async for letter in letters.letters(which):
        if limit is not None and count >= limit:
            break
        count += 1
        if dry_run or which.ids:
            found.append(letter)
    missing = which.ids - {name for letter in found for name in (letter.item_id, letter.dead_id)}
    if missing and limit is None:
        complain(f"no such dead letter: {', '.join(map(plain, sorted(missing)))}")
        raise typer.Exit(1)
    if dry_run:
        _print_letters(found)
        typer.echo(f"{_letters(count)} would be {what}")
    return count


def _letters(count: int) -> str:
    return f"{count} dead letter{'s' * (count != 1)}"


def _run(settings: Settings, work: Callable[[DeadLetters], Coroutine[None, None, T]]) -> T:
    async def main() -> T:
        async with _dead_letters(settings) as letters:
            return await work(letters)

    return asyncio.run(main())


@asynccontextmanager
async def _dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    server = await Server.connect(settings)
    try:
        yield DeadLetters(server, Keys(settings.prefix, settings.partitions))
    finally:
        await server.aclose()


# -- on the terminal -------------------------------------------------------------------------------------------------


def _print_letters(letters: Sequence[DeadLetter], *, more: bool = False) -> None:
    """Two lines per letter, so that the item id stands in full on any terminal: `redrive` and others take it."""
    out = console()
    if not letters:
        out.print("no dead letters")
    now_ms = time.time() * 1000
    for letter in letters:
        head = as_text(letter.item_id, "bold")
        for value, style in ((letter.lane.label, ""), (letter.user_id, ""), (letter.reason, "red")):
            head.append("  ").append_text(as_text(value, style))
        given_up = f"{duration((now_ms - letter.last_ms) / 1000)} ago" if letter.last_ms else "nobody knows when"
        error = as_text(f"    {given_up}  {letter.error[:_SHOWN_CHARACTERS]}")
        out.print(head)
        out.print(error, no_wrap=True, overflow="ellipsis")
    if more:
        out.print(Text("there are more: --limit shows them", style="dim"))


def _print_letter(letter: DeadLetter) -> None:
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
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr while there is a terminal; yields the function to call after each step."""
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
