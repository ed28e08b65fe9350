"""Claude's ``conversations.json``: each conversation has its messages as a list (``chat_messages``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    """The messages before the one that is shown last, and that one; all of them, where none is named."""
    by_id = {each.get("uuid"): each for each in given}
    branch = []
    while leaf in by_id:
        branch.append(by_id.pop(leaf))
        leaf = branch[-1].get("parent_message_uuid")
    return branch[::-1] or given
