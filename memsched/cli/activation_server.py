"""`memsched activation status`, `warm` and `servers`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.tiers.activation_status import ActivationStatus


def status(
    user: User,
    cube: Cube,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show what the model's server has of a cube's prompts, how it is warmed, and why it has no more."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    _print(asyncio.run(_status(settings, user, cube)), as_json)


def warm(
    user: User,
    cube: Cube,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Send the head of a cube's prompts to the model's server now, and show what it has then.

    Also when it was sent before, and whatever the server takes for it.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    _print(asyncio.run(_warm(settings, user, cube)), as_json)


def servers(as_json: AsJson = False) -> None:
    """Show the kinds of servers: what each is sent to warm it, and what of its answers is read as proof."""
    from memsched.llm.servers import DIALECTS

    rows = [each.about() for each in DIALECTS.values()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = new_table()
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*map(as_text, row.values()))
    console().print(table)


async def _status(settings: Settings, user: str, cube: str) -> ActivationStatus:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.activation_status(user, cube)


async def _warm(settings: Settings, user: str, cube: str) -> ActivationStatus:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.warm(user, cube)


def _print(found: ActivationStatus, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**found.model_dump(mode="json"), "too_short": found.too_short}))
        return
    for sentence in found.said:
        console().print(as_text(sentence))
