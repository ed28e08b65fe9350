"""The command line: `memsched ...`, a file for each command. ``main`` is where it begins."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line (default: this process's own) and exit with its code."""
    from memsched.cli.app import run  # not above: the scripts use files of this folder, and need no typer

    run(argv)
