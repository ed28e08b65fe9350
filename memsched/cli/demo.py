"""`memsched demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    messages: Annotated[int, typer.Option(min=1, max=100_000, help="How many messages.")] = 100,
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many worker processes.")] = 3,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Whether one worker is killed in the middle.")] = True,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of the terminal there.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Work in this (new or empty) folder, and leave it there."),
    ] = None,
) -> None:
    """See it work: messages, several workers, one of them killed, nothing lost. Needs no server.

    The exit code is 0 if every message was handled, and counted exactly once.
    """
    from memsched.demo.runner import Plan, run_demo

    raise typer.Exit(run_demo(Plan(messages, workers, kill, svg, keep)))
