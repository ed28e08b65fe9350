"""`memsched search`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.memory_table import short_id, shortened
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.memory.model import Memory


def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="What the memories are about.")],
    user: User,
    cube: Cube,
    top: Annotated[int, typer.Option("--top", "-k", min=1, max=1000, metavar="N", help="So many at most.")] = 10,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Find memories of a cube and their ids, in the archive too: for `pin`, `archive`, `restore` and `explain`."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    found = asyncio.run(_search(settings, user, cube, " ".join(words), top))
    if as_json:
        typer.echo(f"[{', '.join(each.model_dump_json() for each in found)}]")
    else:
        _print(found)


async def _search(settings: Settings, user: str, cube: str, query: str, top: int) -> list[Memory]:
    async with at_cube(settings, user, cube) as scheduler:
        archive_too = {"include_archived": True}
        found = await scheduler.retriever.search(query, user, cube, top_k=top, search_args=archive_too)
        return [each.memory for each in found]


def _print(found: Sequence[Memory]) -> None:
    table = new_table()
    for name in ("id", "told", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("memory", overflow="fold")
    for each in found:
        state = f"archived: {each.archived_because or 'merged'}" if each.status == "archived" else ""
        if each.superseded_by is not None and not state:
            state = f"corrected by {short_id(each.superseded_by)}"
        row = (short_id(each.memory_id), f"{each.at:%Y-%m-%d}", state, shortened(each.indexed_text))
        table.add_row(*map(as_text, row))
    console().print(table if found else "nothing was found")
