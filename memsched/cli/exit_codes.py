"""How a command ends when something goes wrong: one clear line on stderr, an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from memsched.errors import CannotStart, EmbeddedServerError, MemschedError, SettingsError, UnreachableError
from memsched.escaping import plain

EXIT_FAILED = 1
EXIT_WRONG_USE = 2
"""As for a wrong option: the command, its options or the settings are to be changed, not the server."""
EXIT_INTERRUPTED = 130


def exit_with(work: Callable[[], int]) -> NoReturn:
    """Do it and exit the process with the code that it returns, or with the one that its failure has."""
    code: int | str | None
    try:
        try:
            code = work()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # `memsched ... | head`: that is how the reader says "enough". What Python would still write at its end
        # must not go to the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except Exception as error:
        known = described(error)
        if known is None:
            raise
        complain(known[0])
        code = known[1]
    sys.exit(code)


def described(error: Exception) -> tuple[str, int] | None:
    """What to say about it, and the exit code; None for what is a mistake in memsched itself."""
    if isinstance(error, MemschedError):
        # The end of a server's log is worth its lines; whatever else an error quotes stays on one.
        text = plain(str(error), lines=isinstance(error, EmbeddedServerError))
        return text, EXIT_WRONG_USE if isinstance(error, (SettingsError, CannotStart)) else EXIT_FAILED
    if isinstance(error, OSError):
        told = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return plain(told), EXIT_FAILED
    if isinstance(error, UnreachableError):
        return f"The Redis server does not answer: {plain(str(error))}.", EXIT_FAILED
    if type(error).__module__ == "redis.exceptions":  # not by isinstance: `memsched live` need not load redis
        return f"The Redis server refused a command: {plain(str(error))}", EXIT_FAILED
    return None


def complain(text: str) -> None:
    """One line for the person at the terminal."""
    print(f"memsched: {text}", file=sys.stderr)  # noqa: T201
