"""`memsched reindex`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from memsched.cli.confirm import confirm
from memsched.cli.connecting import tool_settings
from memsched.cli.options import Prefix, RedisUrl
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.memory.reindexing import Outcome, Reindexer

T = TypeVar("T")


def reindex(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Texts that are embedded at once.")] = 64,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the old collection where it is.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if the model is the same.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Embed all memories anew, with the model that MEMSCHED_EMBEDDING_MODEL names now.

    Workers may go on meanwhile; those with the new model begin as soon as it is done. Killed, it goes on where it was
    when it is called again.
    """
    from memsched.terminal import plain

    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    plan = asyncio.run(_with_reindexer(settings, batch_size, lambda each: each.plan()))
    to_do = plan.needed or plan.switched or force
    begun = " (begun before)" if plan.target else ""
    what = f"{plan.memories} memories of {plain(plan.source)}: from {plain(plan.made_with)} to {plain(plan.wanted)}"
    if dry_run or not to_do:
        known = {"collection": plan.source, "made_with": plan.made_with, "embedding": plan.wanted,
                 "memories": plan.memories, "needed": plan.needed, "begun": bool(plan.target)}  # fmt: skip
        typer.echo(json.dumps(known) if as_json else f"{what}{begun}{'' if to_do else '; nothing to do'}")
        return
    if not yes and sys.stdin.isatty():
        confirm(f"{what}{begun}. Embed them anew{'' if keep_old else ', and drop the old collection in the end'}?")
    outcome = asyncio.run(_with_reindexer(settings, batch_size, lambda each: _run(each, force, keep_old)))
    if as_json:
        typer.echo(json.dumps(asdict(outcome)))
        return
    left = f"; {plain(outcome.replaced)} is kept" if outcome.kept else ""
    typer.echo(
        f"{outcome.memories} memories are in {plain(outcome.collection)}, embedded with {plain(outcome.embedding)}; "
        f"{outcome.embedded} vectors made in {outcome.seconds:.1f} s{left}"
    )


async def _run(reindexer: Reindexer, force: bool, keep_old: bool) -> Outcome:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from memsched.terminal import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("starts", total=None)
        return await reindexer.run(
            lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            force=force, keep_old=keep_old,
        )  # fmt: skip


async def _with_reindexer(settings: Settings, batch: int, work: Callable[[Reindexer], Awaitable[T]]) -> T:
    from memsched.connection import Server
    from memsched.keys import Keys
    from memsched.memory.embedding import embedder_from
    from memsched.memory.reindexing import Reindexer

    embedder = embedder_from(settings)
    server = await Server.connect(settings)
    try:
        keys = Keys(settings.prefix)
        async with Reindexer.open(settings, server, keys, embedder, batch=batch) as reindexer:
            return await work(reindexer)
    finally:
        await embedder.aclose()
        await server.aclose()
