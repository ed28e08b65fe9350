"""`memsched activation`."""

from __future__ import annotations

from typing import Annotated

import typer

from memsched.cli.activation_show import show
from memsched.cli.lazy_group import lazy_group
from memsched.cli.shared_options import AsJson, Prefix, RedisUrl

_COMMANDS = {
    "show": "memsched.cli.activation_show:show",
    "status": "memsched.cli.activation_server:status",
    "warm": "memsched.cli.activation_server:warm",
    "files": "memsched.cli.activation_files:files",
    "servers": "memsched.cli.activation_server:servers",
}

activation = typer.Typer(
    cls=lazy_group(_COMMANDS),
    help="The text at the head of a cube's prompts, and what the model's server has of it.",
    invoke_without_command=True,
)


@activation.callback()
def _group(
    context: typer.Context,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="As `show` has it.")] = None,
    cube: Annotated[str | None, typer.Option("--cube", "-c", metavar="ID", help="As `show` has it.")] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Without a command: `show`."""
    if context.invoked_subcommand is not None:
        return
    if user is None and cube is None:
        typer.echo(context.get_help())
    elif user is None or cube is None:
        raise typer.BadParameter("both are needed", param_hint="--user and --cube")
    else:
        show(user, cube, as_json, redis_url, prefix)
