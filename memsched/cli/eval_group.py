"""`memsched eval`."""

from __future__ import annotations

import typer

from memsched.cli.lazy_group import lazy_group

_COMMANDS = {
    "stories": "memsched.cli.eval_stories:stories",
    "prefix": "memsched.cli.eval_prefix:prefix",
    "locomo": "memsched.cli.eval_locomo:locomo",
}

evaluate = typer.Typer(
    cls=lazy_group(_COMMANDS),
    help="Measure how well memories are found and kept ready, on conversations with questions.",
    no_args_is_help=True,
)


@evaluate.callback()
def _group() -> None:
    """Measure how well memories are found and kept ready, on conversations with questions."""
