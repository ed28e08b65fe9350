"""ChatGPT's ``conversations.json``: each conversation is a tree of messages, of which the current branch counts.

An edited question and an answer that was asked for again are branches of their own; ``current_node`` names the last
message of the one that is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from memsched.memory.exports.conversation import Conversation, Unreadable, described

_NOT_SAID = {
    "code": "code for a tool",
    "execution_output": "output of a tool",
    "tether_browsing_display": "output of a tool",
    "tether_quote": "output of a tool",
    "system_error": "error of a tool",
    "thoughts": "thoughts of the model",
    "reasoning_recap": "thoughts of the model",
    "user_editable_context": "instructions",
    "model_editable_context": "instructions",
}
"""By content_type: what stands in the tree and was said by nobody to anybody."""


def is_chatgpt(value: Any) -> bool:
    return isinstance(value, Mapping) and "mapping" in value


def chatgpt(value: Mapping[str, Any]) -> list[Conversation]:
    """Raises Unreadable."""
    about = described(value)
    if value.get("is_do_not_remember") is True:
        return [Conversation(**about, passed=Counter({"marked not to be remembered": 1}))]
    passed: Counter[str] = Counter()
    messages: list[dict[str, Any]] = []
    at: Any = None
    for node_id, node in _branch(value["mapping"], value.get("current_node")):
        message = node.get("message")
        if not isinstance(message, Mapping):
            continue  # the root, and what was deleted
        at = message.get("create_time") or at
        if why := _not_said(message):
            passed[why] += 1
            continue
        author = message.get("author")
        role = author.get("role") if isinstance(author, Mapping) else None
        entry = {"role": role, "content": _content(message.get("content")), "id": str(message.get("id") or node_id)}
        messages.append(entry if at is None else {**entry, "timestamp": at})
    return [Conversation(**about, messages=messages, passed=passed)]


def _branch(nodes: Any, current: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The nodes from the root to the current one, without those that are missing."""
    if not isinstance(nodes, Mapping):
        raise Unreadable("its mapping is no object")
    node_id = current if current in nodes else _newest_leaf(nodes)
    branch: list[tuple[str, Mapping[str, Any]]] = []
    seen = set()
    while isinstance(node_id, str) and node_id not in seen and isinstance(node := nodes.get(node_id), Mapping):
        seen.add(node_id)
        branch.append((node_id, node))
        node_id = node.get("parent")
    return branch[::-1]


def _newest_leaf(nodes: Mapping[str, Any]) -> str | None:
    """Where an export names no current node: the last message that was said, of those that nothing follows."""

    def said_at(node_id: str) -> float:
        message = nodes[node_id].get("message")
        at = message.get("create_time") if isinstance(message, Mapping) else None
        return at if isinstance(at, (int, float)) else 0.0

    leaves = [each for each, node in nodes.items() if isinstance(node, Mapping) and not node.get("children")]
    return max(leaves, key=said_at, default=None)


def _not_said(message: Mapping[str, Any]) -> str:
    about = message.get("metadata")
    if isinstance(about, Mapping) and about.get("is_visually_hidden_from_conversation"):
        return "hidden"
    content = message.get("content")
    kind = content.get("content_type") if isinstance(content, Mapping) else None
    if message.get("recipient") not in (None, "all"):
        return "call of a tool"
    return _NOT_SAID.get(kind, "") if isinstance(kind, str) else ""


def _content(content: Any) -> str | list[dict[str, Any]]:
    """The text; with what is no text among it, the parts, of which only texts keep what they hold."""
    if not isinstance(content, Mapping):
        return content if isinstance(content, str) else ""
    parts = content.get("parts")
    if not isinstance(parts, list):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    return [_part(part) for part in parts if part is not None]


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = str(part.get("content_type") or "") if isinstance(part, Mapping) else ""
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):  # what was said into a microphone
        return {"type": "text", "text": part["text"]}
    return {"type": next((each for each in ("image", "audio", "video") if each in kind), "file")}
