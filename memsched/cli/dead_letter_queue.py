"""`memsched dead ...`: look at what was given up, send it on its way again, or delete it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from memsched.cli.confirm import confirm
from memsched.cli.exit_codes import EXIT_WRONG_USE, complain
from memsched.cli.options import AsJson, Prefix, RedisUrl, parse_age, parse_rate
from memsched.cli.tool_settings import tool_settings

if TYPE_CHECKING:
    from memsched.queue.dead_letters import DeadFilter, DeadLetter, DeadLetters
    from memsched.settings import Settings

T = TypeVar("T")

dead = typer.Typer(
    help="Dead letters: messages that were given up, with the reason. List, show, redrive or purge them.",
    no_args_is_help=True,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Item ids, or ids of dead letters.")]
Label = Annotated[str | None, typer.Option("--label", "-l", help="Only this label.")]
Reason = Annotated[
    str | None,
    typer.Option("--reason", "-r", help="Only these: errors, timeouts, crashes, malformed or rejected."),
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
        from memsched.cli.letters import print_letters

        which = _filter(None, label, reason, user, before)
        found = [letter async for letter in letters.letters(which, newest_first=True, most_per_lane=limit + 1)]
        found.sort(key=lambda letter: letter.last_ms, reverse=True)
        if as_json:
            for letter in found[:limit]:
                typer.echo(json.dumps(letter.as_dict()))
        else:
            print_letters(found[:limit], more=len(found) > limit)

    _run(tool_settings(redis_url=redis_url, prefix=prefix), run)


@dead.command()
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="An item id, or the id of a dead letter.")],
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show everything that is known about a dead letter, and what its message says."""

    async def run(letters: DeadLetters) -> None:
        from memsched.cli.letters import print_letter

        found = [letter async for letter in letters.letters(_filter([item_id], None, None, None, None))]
        for letter in found:
            if as_json:
                typer.echo(json.dumps(letter.as_dict()))
            else:
                print_letter(letter)
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
        from memsched.cli.letters import progress

        count = await _count(letters, which, limit, dry_run, "redriven")
        if dry_run:
            return
        with progress("redriving", count) as step:
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
    # Asked outside of the event loop, which would keep Ctrl-C from ending the question.
    if count and not yes:
        confirm(f"Delete {_letters(count)} for good?")
    deleted = _run(settings, lambda letters: letters.purge(which, limit=limit))
    typer.echo(f"{_letters(deleted)} deleted")


def _filter(
    ids: list[str] | None, label: str | None, reason: str | None, user: str | None, before: float | None
) -> DeadFilter:
    from memsched.queue.dead_letters import DeadFilter

    before_ms = 0 if before is None else int((time.time() - before) * 1000)
    return DeadFilter(label or "", reason or "", user or "", frozenset(ids or ()), before_ms)


def _refuse_to_guess(which: DeadFilter, all_: bool) -> None:
    """A forgotten option must not mean everything."""
    from memsched.queue.dead_letters import DeadFilter

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
        from memsched.console.terminal import plain

        complain(f"no such dead letter: {', '.join(map(plain, sorted(missing)))}")
        raise typer.Exit(1)
    if dry_run:
        from memsched.cli.letters import print_letters

        print_letters(found)
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
    from memsched.broker.client import Server
    from memsched.broker.keys import Keys
    from memsched.queue.dead_letters import DeadLetters

    server = await Server.connect(settings)
    try:
        yield DeadLetters(server, Keys(settings.prefix, settings.partitions))
    finally:
        await server.aclose()
