"""What chat programs wrote otherwise than it was said: HTML, bytes of UTF-8 as letters, and notices of events."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from memsched.memory.ingest.turns.forms import BREAKS, EVENTS, SAID_TYPES, UNSEEN_TAGS, spelled

_TYPED = ("contenttype", "mimetype")


def is_event(fields: Mapping[str, Any]) -> bool:
    """Whether a message tells what happened in a channel (somebody joined), as Teams, Slack and Discord write it."""
    for name, value in fields.items():
        if isinstance(name, str) and isinstance(value, str) and value in EVENTS.get(spelled(name), ()):
            return True
    kind = fields.get("type")
    numbered = isinstance(kind, int) and not isinstance(kind, bool) and "channel_id" in fields
    return numbered and isinstance(fields.get("author"), Mapping) and kind not in SAID_TYPES


def is_html(fields: Mapping[str, Any]) -> bool:
    """Whether a message says of its content that it is HTML."""
    kinds = (value for name, value in fields.items() if isinstance(name, str) and spelled(name) in _TYPED)
    return any(isinstance(kind, str) and kind.casefold().rpartition("/")[2] == "html" for kind in kinds)


def text_of_html(text: str) -> str:
    """What a person reads of HTML, a block on a line."""
    reader = _Words()
    reader.feed(text)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.found).split("\n"))
    return "\n".join(line for line in lines if line)


def with_letters(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with its own letters: exports of Messenger and Instagram have each byte of UTF-8 as a character."""
    if "sender_name" not in fields or "timestamp_ms" not in fields:
        return fields
    return {name: _letters(value) if isinstance(value, str) else value for name, value in fields.items()}


def _letters(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:  # it is as it was said
        return text


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in UNSEEN_TAGS
        if tag in BREAKS:
            self.found.append("\n")
        elif tag == "emoji":  # as Teams has them
            self.found.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN_TAGS and self._unseen > 0
        if tag in BREAKS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.found.append(" ".join(data.split("\n")))
