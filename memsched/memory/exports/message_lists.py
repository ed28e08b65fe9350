"""Conversations that are a list of messages: what programs dump that speak to models, and what models are taught with.

Their messages go to the reader of turns as they are; here is only where the list stands and how it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.memory.exports.branches import shown
from memsched.memory.exports.conversation import Conversation, Unreadable, described
from memsched.memory.ingest.turns.answers import is_answer
from memsched.memory.ingest.turns.forms import FIELDS, named, role_of

_SPEAKERS = ("role", "Role", "from", "sender", "speaker", "author", "creator")
_MARKS = ("createdDateTime", "ts", "timestamp_ms")
"""A time as Teams, Slack and Messenger write it: what has one is a message of theirs, also where nobody sent it."""
_TYPES = ("chat", "constructor")
"""Of LangChain, beside those that are roles."""
_PART = "conversation_part"
"""The type of a message of Intercom."""


def form_of(message: Any) -> str:
    """In which form a message is: openai (Anthropic's too), langchain, sharegpt or gemini; "" if it is none."""
    if not isinstance(message, Mapping):
        return ""
    if is_answer(message):
        return "gemini" if "candidates" in message else "openai"
    if "from" in message and "value" in message:
        return "sharegpt"
    if "parts" in message:
        return "gemini"
    kind = message.get("type")
    if isinstance(kind, str) and (role_of(kind) or kind in _TYPES) and "role" not in message:
        return "langchain"
    if "source" in message and "content" in message:  # as AutoGen has them
        return "openai"
    return "openai" if any(message.get(name) for name in (*_SPEAKERS, *_MARKS)) else ""


def messages_in(value: Any) -> list[Any] | None:
    """The list of messages in a conversation's object, or that it is; None if it has none."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return None
    chunked = value.get("chunkedPrompt")  # as Google's AI Studio saves a talk
    if isinstance(chunked, Mapping) and isinstance(chunked.get("chunks"), list):
        return [
            _of_chunk(each) for each in chunked["chunks"] if isinstance(each, Mapping) and not each.get("isThought")
        ]
    if (tree := _of_open_webui(value.get("chat"))) is not None:
        return tree
    if "@odata.context" in value and isinstance(value.get("value"), list):  # a page of Microsoft Graph
        return list(value["value"])
    parts = value.get("conversation_parts")  # as Intercom has a conversation: what it begins with stands apart
    if isinstance(parts, Mapping) and isinstance(parts.get("conversation_parts"), list):
        first = value.get("source")
        begun = [{**first, "type": _PART, "created_at": value.get("created_at")}] if isinstance(first, Mapping) else []
        return [*begun, *parts["conversation_parts"]]
    found = next((value[name] for name in FIELDS["messages"] if isinstance(value.get(name), list)), None)
    return found if found is None else _with_answers(found)


def _with_answers(messages: list[Any]) -> list[Any]:
    """Each message with those below it, as LibreChat may export them: of several answers, the last and what follows."""
    flat: list[Any] = []
    for each in messages:
        at = each
        while isinstance(at, Mapping) and isinstance(below := at.get("children"), list):
            flat.append({name: value for name, value in at.items() if name != "children"})
            at = below[-1] if below and isinstance(below[-1], Mapping) else None
        if at is not None:
            flat.append(at)
    return flat


def _of_open_webui(chat: Any) -> list[Any] | None:
    """The branch that is shown of a talk that Open WebUI exports; None if it is none."""
    history = chat.get("history") if isinstance(chat, Mapping) else None
    nodes = history.get("messages") if isinstance(history, Mapping) else None
    if not isinstance(history, Mapping) or not isinstance(nodes, Mapping):
        return None
    parents = {name: each.get("parentId") for name, each in nodes.items() if isinstance(each, Mapping)}
    return [nodes[each] for each in shown(parents, history.get("currentId"))]


def message_list(value: Any) -> list[Conversation]:
    """Raises Unreadable."""
    messages = messages_in(value)
    if messages is None:
        raise Unreadable("it has no list of messages")
    odd = next((n for n, each in enumerate(messages, start=1) if not isinstance(each, (str, Mapping))), None)
    if odd is not None:
        raise Unreadable(f"message {odd} is neither an object nor a text")
    about = described(value) if isinstance(value, Mapping) else {"key": ""}
    zone = dict(named(value, "zone")) if isinstance(value, Mapping) else {}
    entries = [each if isinstance(each, Mapping) else {"content": each} for each in messages]
    if zone:  # it is that of the messages which tell none
        entries = [each if any(True for _ in named(each, "zone")) else {**each, **zone} for each in entries]
    return [Conversation(**about, messages=entries)]


def _of_chunk(chunk: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": chunk.get("role"), "parts": chunk.get("parts") or [{"text": chunk.get("text") or ""}]}
