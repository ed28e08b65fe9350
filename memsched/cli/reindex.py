"""`memsched reindex`."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TextIO, TypeVar, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.shared_options import Prefix, RedisUrl, Yes, confirm
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import console
from memsched.escaping import plain
from memsched.logs import configure_logs
from memsched.memory.embedding.factory import embedder_from
from memsched.plurals import counted
from memsched.settings import Settings

if TYPE_CHECKING:  # its Qdrant client is slow to import
    from memsched.memory.reindex.reindex import Outcome, Plan, Reindexer

T = TypeVar("T")
_LINE_EVERY_SECONDS = 5.0


def reindex(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    yes: Yes = False,
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Texts that are embedded at once.")] = 64,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the old collection where it is.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Embed anew, also with the same model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Embed all memories anew, with the model that MEMSCHED_EMBEDDING_MODEL names now; or, with the same model, bring
    memories that are found by their own words only into the form in which those around them find them too.

    Workers may go on meanwhile; those with a new model begin as soon as it is done. Killed, it goes on where it was
    when it is called again.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    if sys.stderr.isatty():
        configure_logs(settings, cast("TextIO", _AboveTheBar()))
    ask = not yes and sys.stdin.isatty()

    async def begin(reindexer: Reindexer) -> tuple[Plan, Outcome | None]:
        plan = await reindexer.plan()
        if dry_run or ask or not _to_do(plan, force):
            return plan, None
        return plan, await _run(reindexer, force, keep_old)

    plan, outcome = asyncio.run(_with_reindexer(settings, batch_size, begin))
    if dry_run or not _to_do(plan, force):
        _print_plan(plan, _to_do(plan, force), as_json)
        return
    if outcome is None:
        in_the_end = "" if keep_old else ", and drop the old collection in the end"
        confirm(f"{_said(plan)}. {'Copy' if plan.keeps_dense and not force else 'Embed'} them anew{in_the_end}?")
        outcome = asyncio.run(_with_reindexer(settings, batch_size, lambda each: _run(each, force, keep_old)))
    _print_outcome(outcome, as_json)


def _to_do(plan: Plan, force: bool) -> bool:
    return plan.needed or plan.switched or force


def _said(plan: Plan) -> str:
    what = f"{counted(plan.memories, 'memory', 'memories')} of {plain(plan.source)}"
    begun = " (begun before)" if plan.target else ""
    if plan.keeps_dense:
        return f"{what}: found by their own words only, by those around them soon; their vectors are kept{begun}"
    if plan.needed or plan.switched:
        return f"{what}: from {plain(plan.made_with)} to {plain(plan.wanted)}{begun}"
    return f"{what}: embedded with {plain(plan.wanted)}{begun}"


def _print_plan(plan: Plan, to_do: bool, as_json: bool) -> None:
    if as_json:
        known = {
            "collection": plan.source,
            "made_with": plan.made_with,
            "embedding": plan.wanted,
            "memories": plan.memories,
            "needed": plan.needed,
            "old_form": plan.old_form,
            "begun": bool(plan.target),
        }
        typer.echo(json.dumps(known))
    else:
        typer.echo(f"{_said(plan)}{'' if to_do else ' already; nothing to do'}")


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(outcome)))
        return
    left = f"; {plain(outcome.replaced)} is kept" if outcome.kept else ""
    typer.echo(
        f"{outcome.memories} memories are in {plain(outcome.collection)}, embedded with {plain(outcome.embedding)}; "
        f"{outcome.embedded} vectors made in {outcome.seconds:.1f} s{left}"
    )


async def _run(reindexer: Reindexer, force: bool, keep_old: bool) -> Outcome:
    if not sys.stderr.isatty():
        return await reindexer.run(_Lines().tell, force=force, keep_old=keep_old)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("starts", total=None)
        return await reindexer.run(
            lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            force=force,
            keep_old=keep_old,
        )


class _AboveTheBar(io.TextIOBase):
    """Whatever stderr is at the moment: while there is a bar, it writes above that."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return True


class _Lines:
    """Progress for who reads a log: one line when another step begins, and then now and then."""

    def __init__(self) -> None:
        self._what = ""
        self._next_at = 0.0

    def tell(self, what: str, done: int, total: int) -> None:
        if what == self._what and time.monotonic() < self._next_at:
            return
        self._what, self._next_at = what, time.monotonic() + _LINE_EVERY_SECONDS
        typer.echo(f"{what}: {done} of {total}", err=True)


async def _with_reindexer(settings: Settings, batch: int, work: Callable[[Reindexer], Awaitable[T]]) -> T:
    from memsched.memory.reindex.reindex import Reindexer

    embedder = embedder_from(settings)
    server = await Server.connect(settings)
    try:
        keys = Keys(settings.prefix)
        async with Reindexer.open(settings, server, keys, embedder, batch=batch) as reindexer:
            return await work(reindexer)
    finally:
        await embedder.aclose()
        await server.aclose()
