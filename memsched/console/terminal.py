"""The terminal: what is closed, characters that it cannot show, and lengths of time in few characters."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Let standard streams that were closed (``2>&-``) be ones that hold nothing.

    Their numbers would be those of the next files and sockets that are opened, and what somebody prints would go there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for the whole process


def stdin_was_closed() -> bool:
    return sys.stdin is None or sys.stdin.name == os.devnull


def forgive_characters() -> None:
    """A terminal that cannot show a character gets its escape, and the command goes on."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def duration(seconds: float) -> str:
    """A length of time in few characters: ``0.4s``, ``12s``, ``3m20s``, ``2h05m``, ``3d4h``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"
