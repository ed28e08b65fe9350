"""A conversation out of an export, its messages as the reader of turns takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TITLE_NAMES = ("title", "name", "topic", "summary")
KEY_NAMES = ("conversation_id", "conversationId", "id", "uuid", "session_id", "thread_id", "chat_id", "sample_id")
BEGAN_NAMES = ("create_time", "created_at", "createdAt", "inserted_at", "timestamp", "started_at", "date")


class Unreadable(ValueError):
    """Nothing of this conversation can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said in one place.

    Args:
        key: its id in the export, which becomes the session's; "" where the export has none.
        began: when, as the export writes times: the time of messages that have none.
        messages: entries of a ``chat_history``, oldest first.
        passed: how many more entries the export has that are not for remembering, by what they are.
        refused: why nothing of it can be read.
        where: its place in the file.
        piece: which part of a long one it is.
    """

    key: str
    title: str = ""
    began: Any = None
    messages: Sequence[Mapping[str, Any]] = ()
    passed: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    where: str = ""
    piece: int = 0


def described(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversation's object says of it as a whole: ``key``, ``title`` and ``began``."""
    began = next((value[name] for name in BEGAN_NAMES if value.get(name) not in (None, "")), None)
    return {"key": _first_text(value, KEY_NAMES), "title": _first_text(value, TITLE_NAMES), "began": began}


def _first_text(value: Mapping[str, Any], names: Sequence[str]) -> str:
    found = (value.get(name) for name in names)
    return next((str(each) for each in found if isinstance(each, (str, int)) and each not in ("", True, False)), "")
