"""A conversation out of an export, its messages as the reader of turns takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

TITLE_NAMES = ("title", "name", "topic", "summary")
KEY_NAMES = ("conversation_id", "conversationId", "id", "uuid", "session_id", "thread_id", "chat_id", "sample_id")
BEGAN_NAMES = ("create_time", "created_at", "createdAt", "inserted_at", "timestamp", "started_at", "date")
_MS = 100_000_000_000
"""Seconds since the epoch that large are a time in the year 5138: they are milliseconds."""


class Unreadable(ValueError):
    """Nothing of this conversation can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said in one place.

    Args:
        key: its id in the export, which becomes the session's; "" where the export has none.
        began: when, where the export says so: the time of messages that have none.
        messages: entries of a ``chat_history``, oldest first.
        passed: how many more entries the export holds that nobody said, by what they are.
        refused: why nothing of it can be read.
        where: its place in the file.
        piece: which part of a long one it is.
    """

    key: str
    title: str = ""
    began: datetime | None = None
    messages: Sequence[Mapping[str, Any]] = ()
    passed: Mapping[str, int] = field(default_factory=Counter)
    refused: str = ""
    where: str = ""
    piece: int = 0


def described(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversation's object says of it as a whole: ``key``, ``title`` and ``began``."""
    return {
        "key": _first_text(value, KEY_NAMES),
        "title": _first_text(value, TITLE_NAMES),
        "began": next((at for name in BEGAN_NAMES if (at := moment_of(value.get(name)))), None),
    }


def moment_of(given: Any) -> datetime | None:
    """A time as exports tell the beginning of a conversation: seconds, milliseconds or ISO 8601; None if it is none."""
    try:
        if isinstance(given, bool):
            return None
        if isinstance(given, (int, float)):
            seconds = given / 1000 if abs(given) >= _MS else given
            return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
        moment = datetime.fromisoformat(given)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _first_text(value: Mapping[str, Any], names: Sequence[str]) -> str:
    found = (value.get(name) for name in names)
    return next((str(each) for each in found if isinstance(each, (str, int)) and each not in ("", True, False)), "")
