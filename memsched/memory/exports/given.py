"""What somebody gives as the messages of one conversation: a list, one message, or the conversation of an export."""

from __future__ import annotations

from typing import Any

from memsched.errors import InvalidMessage
from memsched.json_values import as_json_value, fields_of
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.formats import conversations_of, format_of
from memsched.memory.ingest.turns import entries_of


def conversation_given(given: Any, called: str) -> Conversation:
    """Its messages, and what else an export says of it. Raises InvalidMessage for what is no conversation, or several.

    Args:
        called: what the caller calls it.
    """
    try:
        fields = as_json_value(fields_of(given))
    except InvalidMessage as error:
        raise InvalidMessage(f"{called}: {error.reason}") from error
    if fields is None or format_of(fields) is None:
        return Conversation("", messages=entries_of(given, called))
    found = conversations_of(fields)
    if len(found) != 1:
        raise InvalidMessage(f"{called} has {len(found)} sessions: give the messages of one; memsched import takes all")
    if found[0].refused:
        raise InvalidMessage(f"{called} cannot be read: {found[0].refused}")
    return found[0]
