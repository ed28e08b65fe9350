"""What is seen on the pictures of a turn, as far as a message says it in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_CAPTION_CHARACTERS = 500
_NAMES = ("blip_caption", "image_caption", "caption", "captions", "alt", "alt_text")
_IN_A_PART = (*_NAMES, "description")
_PICTURES = frozenset({"image", "image_url", "input_image"})
"""Types of a content part, as chat models have them; the picture itself may be an object of that name in it."""
_NO_WORDS = re.compile(r"\bdata:[\w.+/-]*[;,]\S*|\b[a-z][a-z0-9+.-]*://\S+|[\w+/=-]{65,}", re.IGNORECASE | re.ASCII)
"""Pictures and addresses that stand where words should: nobody asks for them, and an address may be a key."""


def caption_of(turn: Mapping[str, Any], content: Any) -> str:
    """The captions of one turn, each once; "" without one. What is no text is no caption.

    Args:
        content: the turn's content: its parts may be pictures that have captions of their own.
    """
    found = [*_texts(turn, _NAMES)]
    for part in content if isinstance(content, list | tuple) else ():
        if isinstance(part, Mapping) and str(part.get("type")) in _PICTURES:
            found += _texts(part, _IN_A_PART)
            for name in sorted(_PICTURES):
                if isinstance(picture := part.get(name), Mapping):
                    found += _texts(picture, _IN_A_PART)
    return plain_caption("; ".join(dict.fromkeys(filter(None, map(plain_caption, found)))))


def plain_caption(given: Any) -> str:
    """A caption in one line, of limited length, without what is no words; "" for what is no text."""
    if not isinstance(given, str):
        return ""
    text = " ".join(_NO_WORDS.sub(" ", given).split())
    text = text.encode("utf-8", "replace").decode()  # half a character cannot be stored
    if len(text) <= MAX_CAPTION_CHARACTERS:
        return text
    cut = text.rfind(" ", 1, MAX_CAPTION_CHARACTERS)
    return text[: cut if cut > 0 else MAX_CAPTION_CHARACTERS]


def _texts(fields: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = fields.get(name)
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, str):
                yield each
