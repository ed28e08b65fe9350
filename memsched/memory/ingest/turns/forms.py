"""The forms that people's conversations have, as data (forms.json): whose words a turn's are, and what its parts are.

Names are compared as readers do: in any case, and without what stands between their words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal
from unicodedata import normalize

Role = Literal["user", "assistant", "instruction", "tool", "thinking"]
PartKind = Literal["thinking", "tool", "instruction", "refusal", "picture", "audio", "video", "file", "text"]

_DATA: dict[str, Any] = json.loads(files("memsched.memory.ingest.turns").joinpath("forms.json").read_text("utf-8"))
_ROLES: dict[str, Role] = {name: role for role, names in _DATA["roles"].items() for name in names}
_PARTS: list[tuple[PartKind, frozenset[str]]] = [(kind, frozenset(words)) for kind, words in _DATA["parts"]]
"""By the words in the name of a part's type, the first that fits: a "tool_result" is no result of a search for text."""
TRANSCRIPT: dict[str, tuple[str, ...]] = {role: tuple(listed) for role, listed in _DATA["transcript"].items()}
"""How roles are called in a chat that was pasted as one text: only what names nothing else."""
FIELDS: dict[str, tuple[str, ...]] = {name: tuple(listed) for name, listed in _DATA["fields"].items()}
TIMES = {name: frozenset(words) for name, words in _DATA["times"].items()}
"""The words of names that a time of a message has, and of those that are of something else."""
TAGS = tuple(_DATA["tags"])
EVENTS = {name: frozenset(kinds) for name, kinds in _DATA["events"].items()}
"""By the name of a field, the values with which a program tells what happened, and nobody said anything."""
SAID_TYPES = frozenset(_DATA["said_types"])
"""Of the numbers that Discord has for types of messages, those of messages that people wrote."""
STOPS = frozenset(_DATA["stops"])
"""Why a model broke off: by an error, or a filter. Where it had said as much as it may, what it said is kept."""
NOT_READ = {program: frozenset(names) for program, names in _DATA["not_read"].items()}
"""Programs whose messages are refused by name, by the fields that those have."""
HTML_TYPES, CITED = frozenset(_DATA["html_types"]), tuple(_DATA["cited"])
"""Types of messages that are HTML; names of parts that hold what was said with what it was taken from."""
BREAKS, UNSEEN_TAGS = frozenset(_DATA["breaks"]), frozenset(_DATA["unseen_tags"])
_RUNS = frozenset(_DATA["runs"])
_ROLE_WORD = re.compile(r"(?:chat)?(?:message)?role(?=.)|(?<=.)role\Z")
_AROUND = "<|>[]:* "
"""What templates and transcripts put around a role."""
_AS_ROLES: dict[str, Role] = {name: role for role, names in _DATA["names_as_roles"].items() for name in names}
PART_TYPE, PART_TEXT = tuple(_DATA["part_type"]), tuple(_DATA["part_text"])
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_BETWEEN_WORDS = re.compile(r"[\s_.-]+")


def same_name(name: str) -> str:
    """A name as names are compared: case, width and white space mean nothing."""
    return " ".join(normalize("NFKC", name).casefold().split())


def spelled(name: str) -> str:
    """A field's name as such names are compared: senderName, sender_name and Sender-Name are one."""
    return _BETWEEN_WORDS.sub("", name).casefold()


_FLAGS: dict[str, str] = {spelled(name): kind for kind, names in _DATA["flags"].items() for name in names}
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_RANKS = {
    table: {spelled(name): rank for rank, name in reversed([*enumerate(names)])} for table, names in FIELDS.items()
}


def named(fields: Mapping[Any, Any], *tables: str) -> Iterator[tuple[str, Any]]:
    """The fields that have a name of the tables and are not empty, as the tables are ordered."""
    for table in tables:
        ranks = _RANKS[table]
        there = [
            (ranks[spelled(name)], name)
            for name, value in fields.items()
            if isinstance(name, str) and not is_empty(value) and spelled(name) in ranks
        ]
        yield from ((name, fields[name]) for _, name in sorted(there))


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def words_of(name: str) -> set[str]:
    """The words of a name in small letters: of created_at as of createdAt."""
    return {word.lower() for word in _WORD.findall(name)}


def role_of_name(name: str) -> Role | None:
    """Whose words those of a speaker are who is called like a role. A person may be called Ai or Bing."""
    return _AS_ROLES.get(same_name(name))


def is_called_as_others(name: str) -> bool:
    """Whether a name is that of a role that is not the user's: no user can be called so."""
    return role_of_name(name) not in (None, "user")


def role_of(name: str) -> Role | None:
    """Whose words a role's are, also of MessageRole.USER and <|user|>; None for one that is not known, which is another
    person.
    """
    plain = _BETWEEN_WORDS.sub("", same_name(name).strip(_AROUND))
    return _ROLES.get(plain) or _ROLES.get(_ROLE_WORD.sub("", plain))


def flagged(fields: Mapping[Any, Any]) -> str:
    """Who a message's flags say that said it (is_user: false): a role, "me", "others"; "" if they say nothing."""
    for name, given in fields.items():
        kind = _FLAGS.get(spelled(name)) if isinstance(name, str) else None
        value = _TRUTHS.get(str(given).casefold()) if isinstance(given, str | bool | int) else None
        if kind is None or value is None:
            continue
        if value:
            return kind
        if kind in ("user", "me"):
            return "assistant" if kind == "user" else "others"
    return ""


def is_flag(name: str, value: Any) -> bool:
    """Whether a field says yes or no, where others have a name."""
    return spelled(name) in _FLAGS and str(value).casefold() in _TRUTHS


def part_kind(part: Mapping[str, Any]) -> PartKind | None:
    """What a part of a turn is, by its type; where it has none, by the names of what it holds."""
    there = [name for name, value in part.items() if value is not None and isinstance(name, str)]
    typed = next((part[name] for name in PART_TYPE if isinstance(part.get(name), str)), None)
    if part.get("thought") is True:
        return "thinking"
    if typed is not None:
        return kind_named([typed])
    return "text" if isinstance(part.get("text"), str) or there == ["parts"] else kind_named(there)


def is_run(part: Any) -> bool:
    """A piece of a text with a look of its own, as Telegram has them: {"type": "bold", "text": "tea"}."""
    if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
        return False
    return isinstance(kind := part.get("type"), str) and kind in _RUNS


def kind_named(names: Iterable[str]) -> PartKind | None:
    words = {word for name in names for word in words_of(name)}
    return next((kind for kind, known in _PARTS if known & words), None)
