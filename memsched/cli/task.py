"""`memsched task ...`: look at one message, or take it off the queue."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.exit_codes import EXIT_WRONG_USE, complain
from memsched.cli.shared_options import AsJson, Prefix, RedisUrl, Yes, confirm
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console
from memsched.console.terminal import duration
from memsched.escaping import plain
from memsched.queue.tasks import Task, cancel_task, find_tasks
from memsched.settings import Settings

T = TypeVar("T")

task = typer.Typer(help="One message, by its item id: show it, or cancel it.", no_args_is_help=True)

Item = Annotated[str, typer.Argument(metavar="ITEM", help="The message's item_id.")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Whose it is: ids are the user's own.")]
Label = Annotated[str | None, typer.Option("--label", "-l", help="Only under this label; default: under all.")]


@task.command()
def show(
    item_id: Item,
    user: User = None,
    label: Label = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show where a message is, since when, at which worker, and its last error.

    Exit code 1 if nothing is known of it: it was never submitted, or is finished for longer than
    MEMSCHED_TASK_TTL_SECONDS.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    for found in _found(settings, user, item_id, label):
        if as_json:
            typer.echo(json.dumps(_as_dict(found)))
        else:
            _print(found)


@task.command()
def cancel(
    item_id: Item,
    user: User = None,
    label: Label = None,
    yes: Yes = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Take a message off the queue for good, wherever it waits or runs.

    An async handler that runs it is cancelled; a sync one goes on to its end, and what it does counts for nothing.
    Exit code 1 if it is not known, or finished already.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    found = [one for one in _found(settings, user, item_id, label) if one.unfinished]
    if not found:
        complain(f"{plain(item_id)} is finished already.")
        raise typer.Exit(1)
    if len(found) > 1:
        complain(
            f"{plain(item_id)} is unfinished under several labels: "
            f"{', '.join(plain(one.lane.label) for one in found)}. Say which: --label."
        )
        raise typer.Exit(1)
    (one,) = found
    if not yes:
        confirm(f"Cancel {plain(item_id)} of label {plain(one.lane.label)} ({one.status.state.value}) for good?")

    async def run(server: Server, keys: Keys) -> bool:
        return await cancel_task(server, keys, one, settings.task_ttl_seconds)

    if not _run(settings, run):
        complain(f"{plain(item_id)} has finished in the meantime.")
        raise typer.Exit(1)
    typer.echo(f"{plain(item_id)} is cancelled")


def _found(settings: Settings, user_id: str | None, item_id: str, label: str | None) -> list[Task]:
    if user_id is None:
        complain("ids are the user's own: say whose with --user.")
        raise typer.Exit(EXIT_WRONG_USE)

    async def run(server: Server, keys: Keys) -> list[Task]:
        return await find_tasks(server, keys, user_id, item_id, label)

    found = _run(settings, run)
    if not found:
        complain(
            f"nothing is known of {plain(item_id)} of {plain(user_id)}: it was never submitted, or finished more than "
            f"{duration(settings.task_ttl_seconds)} ago (MEMSCHED_TASK_TTL_SECONDS)."
        )
        raise typer.Exit(1)
    return found


def _run(settings: Settings, work: Callable[[Server, Keys], Awaitable[T]]) -> T:
    async def main() -> T:
        server = await Server.connect(settings)
        try:
            return await work(server, Keys(settings.prefix, settings.partitions))
        finally:
            await server.aclose()

    return asyncio.run(main())


def _as_dict(found: Task) -> dict[str, Any]:
    return {**found.as_dict(), "lane": found.lane.name}


def _print(found: Task) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in _as_dict(found).items():
        told = _moment(value) if name.endswith("_ms") else value
        if told:
            table.add_row(name.removesuffix("_ms").replace("_", " "), as_text(told, lines=True))
    console().print(table, "")


def _moment(ms: int) -> str:
    if not ms:
        return ""
    seconds = time.time() - ms / 1000
    told = f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"
    return f"{datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec='milliseconds')} ({told})"
