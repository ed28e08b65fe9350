"""`memsched activation`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from memsched.cli.shared_options import AsJson, Prefix, RedisUrl
from memsched.cli.tool_settings import tool_settings
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.policy.block import ActivationBlock


def activation(
    user: Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Who looks.")],
    cube: Annotated[str, typer.Option("--cube", "-c", metavar="ID", help="The user's name of the cube.")],
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Print a cube's activation block: the text that goes first in its prompts, byte for byte.

    With --json also its version, its memories' ids and about how many tokens it has. A cube that knows nothing has an
    empty one.
    """
    block = asyncio.run(_read(tool_settings(redis_url=redis_url, prefix=prefix), user, cube))
    if as_json:
        typer.echo(json.dumps(asdict(block), ensure_ascii=False))
    else:
        typer.echo(block.text, nl=False)


async def _read(settings: Settings, user: str, cube: str) -> ActivationBlock:
    scheduler = AsyncMemScheduler(settings)
    try:
        return await scheduler.activation(user, cube)
    finally:
        await scheduler.stop()
