"""Which export a JSON value is from, and its conversations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from memsched.memory.exports.chatgpt import chatgpt, is_chatgpt
from memsched.memory.exports.claude import claude, is_claude
from memsched.memory.exports.conversation import Conversation, Unreadable, described
from memsched.memory.exports.locomo import is_locomo, locomo
from memsched.memory.exports.message_lists import form_of, message_list, messages_in


class Format(StrEnum):
    """What ``--format`` can be."""

    AUTO = "auto"
    CHATGPT = "chatgpt"
    OPENAI = "openai"
    LANGCHAIN = "langchain"
    SHAREGPT = "sharegpt"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    LOCOMO = "locomo"
    JSONL = "jsonl"


ANY = (Format.AUTO, Format.JSONL)
_PROGRAMS: tuple[tuple[Format, Callable[[Any], bool], Callable[[Any], list[Conversation]]], ...] = (
    (Format.CHATGPT, is_chatgpt, chatgpt),
    (Format.ANTHROPIC, is_claude, claude),
    (Format.LOCOMO, is_locomo, locomo),
)
"""Programs with a form of their own. All others have lists of messages, and a message says by its names whose it is."""
_WITH_A_FORM = frozenset(name for name, _, _ in _PROGRAMS)
_FORMS = {
    Format.CHATGPT: "an object with mapping",
    Format.ANTHROPIC: "an object with chat_messages, or messages of role and content",
    Format.LOCOMO: "an object with conversation, which has session_1",
    Format.OPENAI: "messages of role and content",
    Format.LANGCHAIN: "messages of type and content or data",
    Format.SHAREGPT: "messages of from and value",
    Format.GEMINI: "messages of role and parts",
}
"""What a conversation of each has."""
_OTHERWISE = "bring it as lines of JSON with role (or name), content and timestamp (docs/import.md)"


def format_of(value: Any) -> Format | None:
    """The format of a conversation; None of what is none."""
    for name, is_it, _ in _PROGRAMS:
        if is_it(value):
            return name
    messages = messages_in(value)
    first = next((each for each in messages or () if isinstance(each, Mapping)), None)
    return Format(form) if (form := form_of(first)) else None


def conversations_of(value: Any, wanted: Format = Format.AUTO) -> list[Conversation]:
    """The conversations that a value of a file is: one, or the sessions of one. Unreadable is ``refused`` in it."""
    try:
        found = format_of(value)
        if wanted not in ANY and found not in (None, wanted) and not _is_alike(wanted, found):
            raise Unreadable(f"it is no conversation of {wanted}, {_FORMS[wanted]}; it looks like {found}")
        if found is None and wanted not in ANY and (messages_in(value) != [] or wanted in _WITH_A_FORM):
            raise Unreadable(f"it is no conversation of {wanted}, {_FORMS[wanted]}")
        if found is None and messages_in(value) != []:
            raise Unreadable(f"it is no conversation in any form that is known; {_OTHERWISE}")
        read = next((read for name, _, read in _PROGRAMS if name == found), message_list)
        return read(value)
    except Unreadable as error:
        about = described(value) if isinstance(value, Mapping) else {"key": ""}
        return [Conversation(**about, refused=str(error))]


def _is_alike(wanted: Format, found: Format | None) -> bool:
    """Messages of Anthropic's interface have the names of OpenAI's."""
    return (wanted, found) == (Format.ANTHROPIC, Format.OPENAI)
