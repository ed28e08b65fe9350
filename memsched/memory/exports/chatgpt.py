"""ChatGPT's ``conversations.json``: each conversation is a tree of messages, of which the current branch counts.

An edited question and an answer that was asked for again are branches of their own; ``current_node`` names the last
message of the one that is shown. DeepSeek's export has the same tree, and what was said in ``fragments``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.memory.exports.branches import shown
from memsched.memory.exports.conversation import Conversation, Unreadable, described

_READ = ("author", "role", "content", "recipient", "channel", "metadata")
_FRAGMENTS = {"REQUEST": "user", "RESPONSE": "assistant"}
"""Of DeepSeek's, those that somebody said; beside them are its thoughts, searches and tools."""
_HIDDEN = "is_visually_hidden_from_conversation"


def is_chatgpt(value: Any) -> bool:
    return isinstance(value, Mapping) and "mapping" in value


def chatgpt(value: Mapping[str, Any]) -> list[Conversation]:
    """Raises Unreadable."""
    if value.get("is_do_not_remember") is True:
        return [Conversation(**described(value), passed={"marked not to be remembered": 1})]
    messages: list[dict[str, Any]] = []
    at: Any = None
    for node_id, node in _branch(value["mapping"], value.get("current_node")):
        message = node.get("message")
        if not isinstance(message, Mapping):
            continue  # the root, and what was deleted
        at = message.get("create_time") or message.get("inserted_at") or at
        messages.append(_message(message, node_id, at))
    return [Conversation(**described(value), messages=messages)]


def _message(given: Mapping[str, Any], node_id: str, at: Any) -> dict[str, Any]:
    """What the reader of turns looks at: all else is long, and about the program."""
    message = {name: given[name] for name in _READ if name in given} | {"id": given.get("id") or node_id}
    if isinstance(fragments := given.get("fragments"), list):
        message |= _of_fragments(fragments)
    elif not message.get("author") and not message.get("role"):
        message["author"] = None  # it does not say whose it is, so it is not the user's
    if isinstance(about := message.get("metadata"), Mapping):
        message["metadata"] = {_HIDDEN: True} if about.get(_HIDDEN) is True else {}
    return message if at is None else {**message, "create_time": at}


def _of_fragments(fragments: list[Any]) -> dict[str, Any]:
    there = [each for each in fragments if isinstance(each, Mapping)]
    said = [each for each in there if each.get("type") in _FRAGMENTS]
    role = _FRAGMENTS[said[0]["type"]] if said else "assistant"
    return {"role": role, "content": [{"type": "text", "text": str(each.get("content") or "")} for each in said]}


def _branch(nodes: Any, current: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The nodes from the root to the current one, without those that are missing."""
    if not isinstance(nodes, Mapping):
        raise Unreadable("its mapping is no object")
    there = {name: node for name, node in nodes.items() if isinstance(node, Mapping)}
    parents = {name: there[name].get("parent") for name in sorted(there, key=lambda name: _said_at(there[name]))}
    return [(name, there[name]) for name in shown(parents, current)]


def _said_at(node: Mapping[str, Any]) -> float:
    message = node.get("message")
    at = message.get("create_time") if isinstance(message, Mapping) else None
    return at if isinstance(at, (int, float)) else 0.0
