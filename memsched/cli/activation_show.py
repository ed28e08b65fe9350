"""`memsched activation show`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.policy.block import ActivationBlock


def show(
    user: User,
    cube: Cube,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Print a cube's activation block: the text at the head of its prompts, byte for byte.

    With --json also its version, its memories' ids, about how many tokens it has, and the salt with which the prompts
    begin. A cube that knows nothing has an empty one.
    """
    block = asyncio.run(_read(tool_settings(redis_url=redis_url, prefix=prefix), user, cube))
    if as_json:
        typer.echo(json.dumps(asdict(block), ensure_ascii=False))
    else:
        typer.echo(block.text, nl=False)


async def _read(settings: Settings, user: str, cube: str) -> ActivationBlock:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.activation(user, cube)
