"""`memsched demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    transport: Annotated[
        bool, typer.Option("--transport", help="The queue alone: messages that are counted, and no memory.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many worker processes.")] = 3,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Whether one worker is killed in the middle.")] = True,
    pace: Annotated[float | None, typer.Option(min=0.0, max=10.0, help="Seconds between two utterances.")] = None,
    messages: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many messages, with --transport.", show_default="100")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture of the terminal there.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Work in this (new or empty) folder, and leave it there."),
    ] = None,
) -> None:
    """See it work: a talk that is remembered by several workers, one of them killed, nothing lost. Needs no server.

    The exit code is 0 if all that the report says holds: everything that was said is remembered once.
    """
    if messages is not None and not transport:
        raise typer.BadParameter("goes with --transport", param_hint="--messages")
    if pace is not None and transport:
        raise typer.BadParameter("does not go with --transport", param_hint="--pace")
    if transport:
        raise typer.Exit(_perform_transport(messages, workers, kill, svg, keep))
    raise typer.Exit(_perform(pace, workers, kill, svg, keep))


def _perform(pace: float | None, workers: int, kill: bool, svg: Path | None, keep: Path | None) -> int:
    from memsched.demo.runner import PACE_SECONDS, Plan, run_demo

    return run_demo(Plan(workers, kill, PACE_SECONDS if pace is None else pace, svg, keep))


def _perform_transport(messages: int | None, workers: int, kill: bool, svg: Path | None, keep: Path | None) -> int:
    from memsched.demo.transport.runner import MESSAGES, Plan, run_demo

    return run_demo(Plan(MESSAGES if messages is None else messages, workers, kill, svg, keep))
