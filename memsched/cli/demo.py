"""`memsched demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memsched.demo.runner import PACE_SECONDS, WORKERS, Plan, run_demo


def demo(
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many worker processes.")] = WORKERS,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Whether one worker is killed in the middle.")] = True,
    pace: Annotated[float, typer.Option(min=0.0, max=10.0, help="Seconds between two utterances.")] = PACE_SECONDS,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of the terminal there.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Work in this (new or empty) folder, and leave it there."),
    ] = None,
) -> None:
    """See it work: a talk that is remembered by several workers, one of them killed, nothing lost. Needs no server.

    The exit code is 0 if all that the report says holds: everything that was said is remembered once.
    """
    raise typer.Exit(run_demo(Plan(workers, kill, pace, svg, keep)))
