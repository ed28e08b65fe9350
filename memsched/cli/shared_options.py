"""The options that several commands share, and the question that --yes answers."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from memsched.cli.exit_codes import EXIT_WRONG_USE, complain

RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", metavar="URL", help="Where the queue is (MEMSCHED_REDIS_URL).")
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="TEXT", help="First part of every key (MEMSCHED_PREFIX).")
]
User = Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Who asks.")]
Cube = Annotated[str, typer.Option("--cube", "-c", metavar="ID", help="The user's name of the cube.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def parse_age(text: str) -> float:
    """``90s``, ``15m``, ``2h``, ``7d`` as seconds. A bare number is none: who means 30 days must not get 30 seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no age; write 90s, 15m, 2h or 7d.")
    return float(found[1]) * UNIT_SECONDS[found[2]]


def confirm(question: str) -> None:
    """Ask before something is gone for good: go on if the answer is yes, exit otherwise.

    Not to be called inside of an event loop, which would keep Ctrl-C from ending the question. Where nobody can be
    asked, --yes is needed.
    """
    if not sys.stdin.isatty():
        complain(f"{question} Nobody can be asked here; say --yes.")
        raise typer.Exit(EXIT_WRONG_USE)
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        typer.echo("nothing was done")
        raise typer.Exit(1)
