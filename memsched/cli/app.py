"""The commands by name. What a command needs is imported when it is called: `memsched live` runs every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from memsched.cli.exit_codes import exit_with
from memsched.cli.lazy_group import lazy_group
from memsched.console.terminal import forgive_characters, open_closed_streams
from memsched.version import __version__

_COMMANDS = {
    "up": "memsched.cli.up:up",
    "worker": "memsched.cli.worker:worker",
    "serve": "memsched.cli.serve:serve",
    "mcp": "memsched.cli.mcp:mcp",
    "status": "memsched.cli.status:status",
    "submit": "memsched.cli.submit:submit",
    "task": "memsched.cli.task:task",
    "keys": "memsched.cli.keys:keys",
    "audit": "memsched.cli.audit:audit",
    "dead": "memsched.cli.dead_letter_queue:dead",
    "pause": "memsched.cli.pause:pause",
    "resume": "memsched.cli.pause:resume",
    "clear": "memsched.cli.clear:clear",
    "live": "memsched.cli.live:live",
    "config": "memsched.cli.config:config",
    "import": "memsched.cli.import_file:import_file",
    "themes": "memsched.cli.themes:themes",
    "search": "memsched.cli.search:search",
    "explain": "memsched.cli.explain:explain",
    "history": "memsched.cli.history:history",
    "pin": "memsched.cli.moving:pin",
    "unpin": "memsched.cli.moving:unpin",
    "archive": "memsched.cli.moving:archive",
    "restore": "memsched.cli.moving:restore",
    "activation": "memsched.cli.activation:activation",
    "parameters": "memsched.cli.parameters:parameters",
    "reindex": "memsched.cli.reindex:reindex",
    "demo": "memsched.cli.demo:demo",
    "eval": "memsched.cli.eval_group:evaluate",
}


app = typer.Typer(
    cls=lazy_group(_COMMANDS),
    help="A memory scheduler for AI agents: replicated workers on Redis Streams that lose nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memsched {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A memory scheduler for AI agents: replicated workers on Redis Streams that lose nothing."""


@app.command()
def version() -> None:
    """Print the version."""
    _print_version(True)


def run(argv: Sequence[str] | None) -> None:
    """Run a command line (None: this process's own) and exit with its code."""

    def call() -> int:
        app(args=None if argv is None else list(argv), prog_name="memsched")
        return 0

    open_closed_streams()
    forgive_characters()
    exit_with(call)
