"""The commands, each from its file."""

from __future__ import annotations

from typing import Annotated

import typer

from memsched.cli.clear import clear
from memsched.cli.config import config
from memsched.cli.dead_letter_queue import dead
from memsched.cli.demo import demo
from memsched.cli.eval import evaluate
from memsched.cli.live import live
from memsched.cli.reindex import reindex
from memsched.cli.status import status
from memsched.cli.submit import submit
from memsched.cli.worker import worker
from memsched.version import __version__

app = typer.Typer(
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


app.command()(worker)
app.command()(status)
app.command()(submit)
app.add_typer(dead, name="dead")
app.command()(clear)
app.command()(live)
app.command()(config)
app.command()(reindex)
app.command()(demo)
app.add_typer(evaluate, name="eval")


@app.command()
def version() -> None:
    """Print the version."""
    _print_version(True)
