"""Escaping: what may be sent to a terminal.

Labels, ids, contents and errors come from strangers. A control character in one of them could move the cursor,
repaint what an operator reads, or type into the shell; square brackets would be taken for rich's markup.
"""

from __future__ import annotations

import sys

_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian is written, and emoji."""


def plain(text: str, *, lines: bool = False) -> str:
    """``text`` with everything escaped that is no visible character.

    Args:
        lines: keep its line ends.
    """
    if text.isprintable():
        return text
    return "".join(_visible(character, lines) for character in text)


def _visible(character: str, lines: bool) -> str:
    if character.isprintable() or character in _JOINERS or (lines and character == "\n"):
        return character
    if character.isspace() and character > "\x7f":
        return " "
    return character.encode("unicode_escape").decode()


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
