"""A conversation out of an export, its messages as the reader of turns takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memsched.memory.ingest.turns.forms import FIELDS, PART_TEXT

TITLE_NAMES = ("title", "name", "topic", "summary")
KEY_NAMES = ("conversation_id", "conversationId", "id", "uuid", "session_id", "thread_id", "chat_id", "sample_id")
BEGAN_NAMES = ("create_time", "created_at", "createdAt", "inserted_at", "timestamp", "started_at", "date")
_WORDS = tuple(dict.fromkeys((*FIELDS["said"], *FIELDS["wrapper"], *PART_TEXT)))
"""Under which names a message's words stand, or what they stand in."""


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
    return next((str(each) for each in found if is_id(each)), "")


def is_id(value: Any) -> bool:
    """Whether it can be: a text, or a number (also 0)."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def told_of(message: Mapping[str, Any]) -> list[Any]:
    """What of a message is the same in every export of it: whose it is, its words and its time.

    Programs come to tell more of a message. Of one in which no words are found, everything.
    """
    about = [_first_of(message, FIELDS[name]) for name in ("role", "name")]
    words = _words(message)
    return [*about, time_of(message), words] if _any_text(words) else [message]


def time_of(message: Mapping[str, Any]) -> Any:
    """Its own, as the export writes it."""
    return _first_of(message, FIELDS["time"])


def _first_of(message: Mapping[str, Any], names: Sequence[str]) -> Any:
    """As it stands in the message, or in what it is wrapped in."""
    inner = [message[name] for name in FIELDS["wrapper"] if isinstance(message.get(name), Mapping)]
    return next((each[name] for each in (message, *inner) for name in names if each.get(name) is not None), None)


def _words(value: Any) -> list[Any]:
    """The texts in a message's content, wherever they stand in it."""
    if isinstance(value, Mapping):
        return [_words(value[name]) for name in _WORDS if name in value]
    return [_words(each) for each in value] if isinstance(value, list) else [value if isinstance(value, str) else ""]


def _any_text(words: list[Any]) -> bool:
    return any(_any_text(each) if isinstance(each, list) else each for each in words)
