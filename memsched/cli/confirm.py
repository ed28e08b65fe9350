"""Asking before something is gone for good."""

from __future__ import annotations

import sys

import typer

from memsched.cli.exit_codes import EXIT_WRONG_USE, complain


def confirm(question: str) -> None:
    """Go on if the answer is yes; exit otherwise. Where nobody can be asked, --yes is needed."""
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
