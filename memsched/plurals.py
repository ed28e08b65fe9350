"""Numbers of things, as people say them."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """``1 turn``, ``2,000 turns``.

    Args:
        several: the plural; default: with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
