"""What was said, taken out of a message: a list of utterances, each with speaker, time and session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from memsched.errors import InvalidMessage
from memsched.memory.context_tags import tags_of
from memsched.memory.ingest.captions import caption_of
from memsched.memory.metadata import MetadataValue, metadata_of
from memsched.memory.model import clamped, with_caption
from memsched.messages import ScheduleMessageItem

MAX_UTTERANCE_CHARACTERS = 500_000
"""A longer utterance is refused: whoever remembers a book sends its chapters."""
_TEXT_NAMES = ("content", "text", "message")
_TIME_NAMES = ("timestamp", "chat_time", "time", "at", "created_at")
_ID_NAMES = ("id", "message_id", "dia_id")
_TEXT_TYPES = ("text", "input_text", "output_text")
MAX_STATEMENT_CHARACTERS = 10_000
"""Of what is right, which becomes one memory."""
_BLANK_LINES = re.compile(r"(?:[^\S\n]*+\n)++")


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance.

    Args:
        position: its place in the message, which never changes when the message runs again.
        by_user: whether the user said it themselves (not the assistant, not somebody else in the conversation).
        reference: the producer's own id of it, or "".
        tags: what binds it to a role or a task.
        caption: what is seen on a picture that came with it. Of a picture alone it is the text.
        metadata: what came with its message.
    """

    position: int
    text: str
    speaker: str
    by_user: bool
    at: datetime
    session_id: str
    reference: str
    tags: tuple[str, ...] = ()
    caption: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


def turns_of(message: ScheduleMessageItem) -> list[Turn]:
    """The utterances in ``chat_history``, or ``content`` as one.

    An entry of ``chat_history`` is a text, or an object with ``content`` (or ``text``), and, each optional,
    ``role`` (user, assistant, system, tool), ``name`` (or ``speaker``), ``timestamp`` (ISO 8601, or seconds since
    the epoch; without a zone: UTC), ``session_id`` and ``id``, and captions of pictures (captions.py). Raises
    InvalidMessage if one is something else, or too long.
    """
    metadata = metadata_of(message.info)
    if not message.chat_history:
        text = as_kept(message.content, "content")
        speaker = message.user_name or ""
        session = message.session_id or ""
        return (
            [Turn(0, text, speaker, True, clamped(message.timestamp), session, "", tags_of(message.info), "", metadata)]
            if text
            else []
        )
    turns: list[Turn] = []
    for position, entry in enumerate(message.chat_history):
        fields: Mapping[str, Any]
        if isinstance(entry, str):
            fields = {"content": entry}
        elif isinstance(entry, Mapping):
            fields = entry
        else:
            raise InvalidMessage(f"chat_history[{position}] must be a text or an object, not {type(entry).__name__}")
        turn = _turn(message, position, fields, metadata)
        if turn.text and fields.get("role") not in ("system", "tool"):
            turns.append(turn)
    return turns


def _turn(
    message: ScheduleMessageItem, position: int, fields: Mapping[str, Any], metadata: Mapping[str, MetadataValue]
) -> Turn:
    where = f"chat_history[{position}]"
    content = next((fields[name] for name in _TEXT_NAMES if fields.get(name) is not None), None)
    caption = caption_of(fields, content)
    text = "" if content is None and caption else as_kept(_text(content, where), where)
    if not text and caption:
        text, caption = with_caption("", caption), ""
    role = str(fields.get("role") or "")
    name = str(fields.get("name") or fields.get("speaker") or "")
    if not name:
        name = (message.user_name or "") if role in ("", "user") else role
    by_user = role == "user" or (role == "" and name in ("", message.user_name, message.user_id))
    given = next((fields[each] for each in _TIME_NAMES if fields.get(each) not in (None, "")), None)
    at = message.timestamp if given is None else _time(given, where)
    session = str(fields.get("session_id") or message.session_id or "")
    reference = next((str(fields[each]) for each in _ID_NAMES if fields.get(each) not in (None, "")), "")
    return Turn(
        position, text, name, by_user, clamped(at), session, reference, tags_of(message.info), caption, metadata
    )


def _text(given: Any, where: str) -> str:
    """A text, or the text parts of a list of content parts, as chat models have them."""
    if isinstance(given, str):
        return given
    if isinstance(given, Sequence):
        parts = [
            part.get("text", "") for part in given if isinstance(part, Mapping) and part.get("type") in _TEXT_TYPES
        ]
        if all(isinstance(part, str) for part in parts):
            return "\n".join(parts)
    raise InvalidMessage(f"{where} has no text: give it as content")


def as_kept(text: str, where: str, most: int = MAX_UTTERANCE_CHARACTERS) -> str:
    """The text to the letter, without blank lines before it and white space after it; InvalidMessage if too long."""
    if len(text) > most:
        raise InvalidMessage(f"{where} has {len(text):,} characters, the limit is {most:,}: cut it into several")
    text = text.rstrip()
    return text[blank.end() :] if (blank := _BLANK_LINES.match(text)) else text


def statement_of(text: str, where: str) -> str:
    """A text that becomes one memory: what is right. Raises InvalidMessage if it is empty or too long."""
    if not (text := as_kept(text, where, MAX_STATEMENT_CHARACTERS)):
        raise InvalidMessage(f"{where} must say what is right")
    return text


def _time(given: Any, where: str) -> datetime:
    try:
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return datetime.fromtimestamp(given, UTC)
        moment = datetime.fromisoformat(str(given))
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidMessage(f"{where} has a time that is neither ISO 8601 nor seconds since the epoch") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
