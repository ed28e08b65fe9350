"""`memsched themes`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.policy.theme import Theme


def themes(
    user: User,
    cube: Cube,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show what a cube's memories are about, and which theme is hot: the hottest first.

    Heat is how much was told and used of a theme, halved every 7 days of the messages' own time.
    """
    found = asyncio.run(_read(tool_settings(redis_url=redis_url, prefix=prefix), user, cube))
    if as_json:
        typer.echo(json.dumps([asdict(theme) for theme in found], ensure_ascii=False))
    else:
        _print(found)


async def _read(settings: Settings, user: str, cube: str) -> list[Theme]:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.themes(user, cube)


def _print(found: Sequence[Theme]) -> None:
    names = {theme.theme_id: theme.label for theme in found}
    table = new_table()
    for name in ("theme", "state"):
        table.add_column(name, overflow="fold")
    for name in ("heat", "memories"):
        table.add_column(name, justify="right")
    table.add_column("after it came", overflow="fold")
    table.add_column("theme_id", no_wrap=True, style="dim")
    for theme in found:
        then = "; ".join(f"{names[then]} ({count})" for then, count in theme.then.items())
        cells = (theme.label, theme.state, f"{theme.heat:.1f}", len(theme.memory_ids), then, theme.theme_id)
        table.add_row(*map(as_text, cells))
    console().print(table if found else "no themes")
