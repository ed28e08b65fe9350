"""Claude's ``conversations.json``: each conversation has its messages as a list (``chat_messages``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.memory.exports.conversation import Conversation, Unreadable, described

_ROLES = {"human": "user"}


def is_claude(value: Any) -> bool:
    return isinstance(value, Mapping) and "chat_messages" in value


def claude(value: Mapping[str, Any]) -> list[Conversation]:
    """Raises Unreadable."""
    given = value["chat_messages"]
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise Unreadable("its chat_messages are no list of messages")
    messages = [_message(each) for each in _branch(given, value.get("current_leaf_message_uuid"))]
    return [Conversation(**described(value), messages=messages)]


def _branch(given: list[Mapping[str, Any]], leaf: Any) -> list[Mapping[str, Any]]:
    """The messages before the one that is shown last, and that one; all of them, where none is named."""
    by_id = {each.get("uuid"): each for each in given}
    branch = []
    while leaf in by_id:
        branch.append(by_id.pop(leaf))
        leaf = branch[-1].get("parent_message_uuid")
    return branch[::-1] or given


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    sender = given.get("sender")
    content = given.get("content") or given.get("text") or ""
    if files := [{"type": "file"} for name in ("attachments", "files") for _ in given.get(name) or ()]:
        content = [*([{"type": "text", "text": content}] if isinstance(content, str) else content), *files]
    entry = {"role": _ROLES.get(sender, sender) if isinstance(sender, str) else sender, "content": content}
    at = given.get("created_at")
    return {**entry, **({"id": given["uuid"]} if given.get("uuid") else {}), **({"timestamp": at} if at else {})}
