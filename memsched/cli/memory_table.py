"""How commands show memories: enough of an id to name one by, enough of a text to know it by."""

from __future__ import annotations

_ID_CHARACTERS = 8
_TEXT_CHARACTERS = 80


def short_id(memory_id: str) -> str:
    """Its first characters, which the commands take for it (at_cube.py)."""
    return memory_id[:_ID_CHARACTERS]


def shortened(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS - 1]}\u2026"
