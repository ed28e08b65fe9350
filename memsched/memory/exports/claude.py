"""Claude's ``conversations.json``: each conversation has its messages as a list (``chat_messages``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.memory.exports.branches import shown
from memsched.memory.exports.conversation import Conversation, Unreadable, described

_READ = ("uuid", "sender", "text", "content", "created_at")
"""Not its attachments: what stands in a file was not said."""


def is_claude(value: Any) -> bool:
    return isinstance(value, Mapping) and "chat_messages" in value


def claude(value: Mapping[str, Any]) -> list[Conversation]:
    """Raises Unreadable."""
    given = value["chat_messages"]
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise Unreadable("its chat_messages are no list of messages")
    branch = _branch(given, value.get("current_leaf_message_uuid"))
    messages = [{name: each[name] for name in _READ if name in each} for each in branch]
    return [Conversation(**described(value), messages=messages)]


def _branch(given: list[Mapping[str, Any]], leaf: Any) -> list[Mapping[str, Any]]:
    """The messages before the one that is shown last, and that one; all of them, where they cannot be told apart."""
    by_id = {each["uuid"]: each for each in given if isinstance(each.get("uuid"), str)}
    if not isinstance(leaf, str) or leaf not in by_id or len(by_id) < len(given):
        return given
    return [
        by_id[each] for each in shown({name: each.get("parent_message_uuid") for name, each in by_id.items()}, leaf)
    ]
