"""The command line. ``main`` is the ``memsched`` command.

Nothing is imported here: ``tables`` is for the library too, and `memsched live` runs every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line (default: this process's own) and exit with its code."""
    from memsched.cli.exit_codes import exit_with
    from memsched.console.terminal import forgive_characters

    def run() -> int:
        from memsched.cli.app import app

        app(args=None if argv is None else list(argv), prog_name="memsched")
        return 0

    forgive_characters()
    exit_with(run)
