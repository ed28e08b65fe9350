"""`memsched history`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from memsched.cli.at_cube import at_cube, whole_id
from memsched.cli.memory_table import short_id, shortened
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.history import HistoryEntry


def history(
    memory: Annotated[str, typer.Argument(metavar="ID", help="A memory: the first characters of its id.")],
    user: User,
    cube: Cube,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show all that is known of a memory: its versions, when each was said, corrected, used and moved, and why."""
    found = asyncio.run(_read(tool_settings(redis_url=redis_url, prefix=prefix), user, cube, memory))
    if as_json:
        typer.echo(json.dumps([each.model_dump(mode="json") for each in found], ensure_ascii=False))
        return
    table = new_table()
    for name in ("when", "id", "what"):
        table.add_column(name, no_wrap=True)
    table.add_column("", overflow="fold")
    for each in found:
        tiers = f"{each.from_tier} to {each.to_tier}" if each.to_tier else ""
        by = f"by {short_id(each.other)}" if each.other else ""
        told = "; ".join(part for part in (shortened(each.text), tiers, by, each.reason) if part)
        table.add_row(*map(as_text, (f"{each.at:%Y-%m-%d %H:%M}", short_id(each.memory_id), each.what, told)))
    console().print(table)


async def _read(settings: Settings, user: str, cube: str, memory: str) -> list[HistoryEntry]:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.history(user, cube, await whole_id(scheduler, user, cube, memory))
