"""The reader of conversations: each turn is kept, passed over with the reason, or refused with its place.

All that comes as messages is read here: ``add``, ``chat_history``, the history of a chat, what an import brings. Which
forms there are stands in forms.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from memsched.errors import InvalidMessage
from memsched.json_values import as_json_value, fields_of, place_of_no_json
from memsched.memory.context_tags import tags_of
from memsched.memory.ingest.captions import caption_of
from memsched.memory.ingest.turns.answers import broke_off, is_answer, message_of
from memsched.memory.ingest.turns.forms import (
    CITED,
    FIELDS,
    PART_TEXT,
    PART_TYPE,
    PartKind,
    Role,
    flagged,
    is_called_as_others,
    is_empty,
    is_flag,
    is_run,
    kind_named,
    named,
    part_kind,
    role_of,
    role_of_name,
    same_name,
    spelled,
    words_of,
)
from memsched.memory.ingest.turns.programs import (
    as_said,
    edited,
    is_event,
    is_html,
    is_thought,
    refuse_unread,
    text_of_html,
    without_details,
)
from memsched.memory.ingest.turns.times import in_fixed_zone, said_at
from memsched.memory.ingest.turns.wordless import NO_WORDS, is_markup_alone, placeholder, without_data
from memsched.memory.metadata import MetadataValue, metadata_of
from memsched.memory.model import clamped, with_caption
from memsched.messages import MAX_ID_CHARACTERS, ScheduleMessageItem
from memsched.thinking import without_thinking

MAX_UTTERANCE_CHARACTERS = 500_000
"""A longer utterance is refused: whoever remembers a book sends its chapters."""
MAX_TURNS = 10_000
"""Of one conversation in one call. What all of a call holds is limited by MEMSCHED_MAX_MESSAGE_BYTES."""
MAX_PARTS = 1_000
"""Of one turn."""
MAX_NAME_CHARACTERS = 200
MAX_STATEMENT_CHARACTERS = 10_000
"""Of what is right, which becomes one memory."""
_DEEPEST = 4
_NAMED_REFUSALS = 5
_BLANK_LINES = re.compile(r"(?:[^\S\n]*+\n)++")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIRECTIONS = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Which way letters run: chat programs put them around names."""
_MESSAGE_NAMES = {
    "message": ("role", "author", "content"),
    "data": ("content",),
    "kwargs": ("content",),
    "content": ("role",),
    "body": ("content",),
}
"""By which names a field's object is a message, and not a part of one."""
_WHY: Mapping[PartKind, str] = {
    "thinking": "thoughts of a model",
    "tool": "a tool's call or result",
    "instruction": "an instruction",
    "picture": "a picture without words",
    "audio": "a recording without words",
    "video": "a video without words",
    "file": "a file",
}
_NOT_SAID_KINDS = {"tool", "function", "verbose"}
UNKNOWN = "unknown"
"""What somebody is called of whom a message says only that they are its sender: an account that was deleted."""
_SENDERS = frozenset(map(spelled, FIELDS["sender"]))
_ROLE_FIELDS = frozenset(map(spelled, (*FIELDS["role"], *FIELDS["other_role"])))
_READ = frozenset(map(spelled, (*(name for names in FIELDS.values() for name in names), *PART_TYPE, *PART_TEXT)))
_CALLED = _SENDERS | frozenset(map(spelled, (*FIELDS["name"], *FIELDS["name_without_role"])))
_SENDER_WORDS = {"sender", "speaker", "author", "nick", "nickname", "character", "persona", "participant"}
CONTENT = "content"
"""What the one turn of a message without a list is called."""
NOTHING_SAID = "nothing is said"
AN_EVENT = "an event, which nobody said"
BROKE_OFF = "an answer that broke off, by an error or a filter"
EDITED = "a message that was edited since"
A_PIECE = "a piece of a stream, whose whole comes after it"
_PLACEHOLDERS = re.compile(r"(?:\[(?:picture|audio|video|file|data)\]\s*)+")
_SHOWN: tuple[PartKind, ...] = ("picture", "audio", "video", "file")
"""What a placeholder stands for, where others speak of it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance.

    Args:
        position: its place in the message, which never changes when the message runs again.
        by_user: whether the user said it themselves (not the assistant, not somebody else in the conversation).
        at: in the speaker's own zone, where it is known.
        ingested_at: when its message was sent, if the turn tells an earlier time.
        reference: the producer's own id of it, or "".
        tags: what binds it to a role or a task.
        caption: what is seen on a picture that came with it. Of a picture alone it is the text.
        metadata: what came with its message.
        by_assistant: whether a model said it, whatever it is called.
        trigrams: names of the rows of three turns that it stands in (ingest/retelling.py).
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
    by_assistant: bool = False
    ingested_at: datetime | None = None
    trigrams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """A turn that says nothing of anyone.

    Args:
        shown: what stands for it where the talk needs it: "[picture]"; or "".
    """

    position: int
    why: str
    role: Role | None = None
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A turn that cannot be read; ``why`` begins with its place."""

    position: int
    why: str


@dataclass(slots=True)
class Reading:
    """What became of each turn of a conversation."""

    turns: list[Turn] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def or_refuse(self) -> Reading:
        """Raises InvalidMessage if a turn was refused: a conversation is not remembered in part."""
        if self.refused:
            more = len(self.refused) - _NAMED_REFUSALS
            told = "; ".join(each.why for each in self.refused[:_NAMED_REFUSALS])
            raise InvalidMessage(f"{told}; and {more} more" if more > 0 else told)
        return self


@dataclass(frozen=True, slots=True)
class Talk:
    """What is known of a conversation beside its turns.

    Args:
        at: when its message was sent; a turn that tells no time was said then.
        user_name: what the user is called, or "".
        known_as: other names of the user: who has one of them is the user.
        called: what the caller calls the list of turns.
    """

    at: datetime
    user_name: str = ""
    known_as: Sequence[str] = ()
    session_id: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    called: str = "chat_history"

    def is_user(self, name: str) -> bool:
        if is_called_as_others(name):
            return False
        return same_name(name) in {same_name(each) for each in (self.user_name, *self.known_as) if each}


def turns_of(message: ScheduleMessageItem, known_as: Iterable[str] = ()) -> list[Turn]:
    """The utterances in a message. Raises InvalidMessage if one cannot be read.

    Args:
        known_as: names of the message's user, beside ``user_name`` and ``user_id``.
    """
    return reading_of(message, known_as).or_refuse().turns


def reading_of(message: ScheduleMessageItem, known_as: Iterable[str] = (), *, called: str = "chat_history") -> Reading:
    """What became of each turn in ``chat_history``, or of ``content`` as one of the user's.

    Raises InvalidMessage where the user is called as a role that is not theirs: the turns would be taken for its turns.
    """
    refuse_role("user_name", message.user_name or "")
    talk = Talk(
        message.local_timestamp,
        message.user_name or "",
        (message.user_id, *known_as),
        message.session_id or "",
        tags_of(message.info),
        metadata_of(message.info),
        called,
    )
    if message.chat_history:
        return read(message.chat_history, talk)
    return read([message.content], replace(talk, called=CONTENT))


def refuse_role(called: str, name: str) -> None:
    """Raises InvalidMessage for a name of a user that is a role of others, such as assistant."""
    if isinstance(name, str) and is_called_as_others(name):
        raise InvalidMessage(f"{called} is {name!r}, which is a role: give what the user is called, or leave it out")


def entries_of(given: Any, called: str) -> list[Any]:
    """The turns in what somebody gives as messages: a list, or one message, or one conversation that has the list.

    Messages may be objects of SDKs. Raises InvalidMessage.
    """
    if isinstance(given, tuple) and _is_short(given):
        given = [given]
    fields = _json_value(fields_of(given), called)
    if fields is None:
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise InvalidMessage(f"{called} must be a list of messages, not {type(given).__name__}")
        return [_json_value(each, f"{called}[{number}]") for number, each in enumerate(given)]
    if is_answer(fields) or fields.get("role") is not None or any(True for _ in named(fields, "said", "call")):
        return [fields]
    if found := _messages_in(fields):
        return list(fields[found])
    if any(isinstance(fields.get(name), Mapping) for name in FIELDS["wrapper"]):
        return [fields]
    raise InvalidMessage(
        f"{called} is neither a message nor a list of them: it has {', '.join(map(str, fields))[:200]}"
    )


def with_time(message: Mapping[str, Any], at: datetime) -> Mapping[str, Any]:
    """The same message, with this time if it tells none."""
    try:
        tells = said_at(_unwrapped(message), "")
    except InvalidMessage:  # who reads it refuses it
        return message
    return message if tells is not None else {**message, "timestamp": at.isoformat()}


def _json_value(given: Any, where: str) -> Any:
    """A message as JSON has it, without the fields that it does not have, where nobody reads them."""
    try:
        return _without_unread(as_json_value(given))
    except InvalidMessage as error:
        raise InvalidMessage(f"{where}: {error.reason}") from error


def _without_unread(value: Any) -> Any:
    if not place_of_no_json(value, ""):
        return value
    if isinstance(value, list):
        return [_without_unread(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: kept
        for name, each in value.items()
        if not place_of_no_json(kept := _without_unread(each), "") or spelled(name) in _READ
    }


def _is_short(entry: Any) -> bool:
    """LangChain's short form of a message: ("human", "I like tea")."""
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return False
    role, content = entry
    return isinstance(role, str) and role_of(role) is not None and isinstance(content, str | list)


def _messages_in(fields: Mapping[str, Any]) -> str:
    """Under which name an object has the messages of a conversation; "" if it has none."""
    return next((name for name in FIELDS["messages"] if isinstance(fields.get(name), list)), "")


def read(entries: Sequence[Any], talk: Talk) -> Reading:
    """Read a conversation, turn by turn. Raises InvalidMessage only if it is longer than a conversation may be."""
    if len(entries) > MAX_TURNS:
        raise InvalidMessage(
            f"{talk.called} has {len(entries):,} turns, the limit of one call is {MAX_TURNS:,}: send it in several"
        )
    reading = Reading()
    older = edited(entries)
    for position, entry in enumerate(entries):
        if position in older:
            reading.passed.append(Passed(position, EDITED))
            continue
        where = talk.called if talk.called == CONTENT else f"{talk.called}[{position}]"
        try:
            found = _read_one(entry, position, where, talk)
        except InvalidMessage as error:
            reading.refused.append(Refused(position, error.reason))
            continue
        if isinstance(found, Turn):
            reading.turns.append(found)
        else:
            reading.passed.append(found)
    return reading


def as_kept(text: str, where: str, most: int = MAX_UTTERANCE_CHARACTERS) -> str:
    """The text to the letter, without blank lines before it and white space after it, nor NUL, which is no letter;
    InvalidMessage if too long.
    """
    if len(text) > most:
        raise InvalidMessage(f"{where} has {len(text):,} characters, the limit is {most:,}: cut it into several")
    text = text.replace("\0", "").rstrip()
    return text[blank.end() :] if (blank := _BLANK_LINES.match(text)) else text


def statement_of(text: str, where: str) -> str:
    """A text that becomes one memory: what is right. Raises InvalidMessage if it is empty or too long."""
    if not (text := as_kept(text, where, MAX_STATEMENT_CHARACTERS)):
        raise InvalidMessage(f"{where} must say what is right")
    return text


# -- one turn ------------------------------------------------------------------------------------------------------


def _read_one(entry: Any, position: int, where: str, talk: Talk) -> Turn | Passed:
    if isinstance(entry, str):
        entry = {"content": entry}
    if _is_short(entry):
        entry = dict(zip(("role", CONTENT), entry, strict=True))
    if not isinstance(entry, Mapping):
        pair = isinstance(entry, list | tuple) and len(entry) == 2
        hint = ': a pair is a role and a text, as ["user", "I like tea."]' if pair else ""
        raise InvalidMessage(f"{where} must be a text or an object, not {type(entry).__name__}{hint}")
    fields = as_said(_unwrapped(message_of(entry, where) if is_answer(entry) else entry))
    refuse_unread(fields, where)
    if is_event(fields):
        return Passed(position, AN_EVENT)
    role, speaker, by_user = _speaker(fields, where, talk)
    if role in ("instruction", "tool", "thinking"):
        return Passed(position, _WHY[role], role)
    if why := _not_said(fields, role):
        return Passed(position, why, role)
    said = _said(fields, where)
    if said.text and is_html(fields):
        said.text = text_of_html(said.text)
    if role == "assistant" and said.text:
        said.text = without_thinking(without_details(said.text))
        if not said.text.strip():
            return Passed(position, _WHY["thinking"], role)
    caption, shown = caption_of(fields, fields.get("content")), ""
    text = as_kept(without_data(_unicode(said.text, where)), where)
    if text != said.text and _PLACEHOLDERS.fullmatch(text):
        text, shown = "", text
    elif is_markup_alone(text):
        return Passed(position, NO_WORDS, role)
    if not text and caption:
        text, caption = with_caption("", caption), ""
    if not text:
        return _nothing(fields, position, where, role, said, shown)
    told, sent = said_at(fields, where), in_fixed_zone(clamped(talk.at))
    at = sent if told is None else in_fixed_zone(clamped(told))
    return Turn(
        position,
        text,
        speaker,
        by_user,
        at,
        _id(fields, ("session_id",), where) or talk.session_id,
        _id(fields, FIELDS["id"], where),
        talk.tags,
        caption,
        talk.metadata,
        by_assistant=role == "assistant",
        ingested_at=sent if sent > at else None,
    )


@dataclass(slots=True)
class _Said:
    """What a turn's content is: its text, and the kinds of its parts that have none."""

    text: str = ""
    kinds: list[PartKind] = field(default_factory=list)


def _unwrapped(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a message, out of what it may be wrapped in; what the wrapper says counts where it says nothing."""
    for name in FIELDS["wrapper"]:
        inner = entry.get(name)
        if isinstance(inner, Mapping) and any(each in inner for each in _MESSAGE_NAMES[name]):
            outer = {key: value for key, value in entry.items() if key != name}
            if isinstance(kind := outer.get("id"), list | tuple) and kind:  # LangChain's name of the message's class
                outer |= {"id": None, "type": kind[-1]}
            return {**outer, **{key: value for key, value in inner.items() if value is not None}}
    return entry


def _speaker(fields: Mapping[str, Any], where: str, talk: Talk) -> tuple[Role | None, str, bool]:
    """Whose words they are, the speaker's name, and whether it is the user. None: another person's."""
    flag = flagged(fields)
    given = _role_given(fields, where) or (flag if flag not in ("me", "others") else "")
    role = role_of(given)
    name = _name(fields, where, given)
    if not given and flag == "me":
        return "user", talk.user_name, True
    if not given and not name:
        if flag == "others" or any(isinstance(each, str) and spelled(each) in _SENDERS for each in fields):
            return None, UNKNOWN, False
        if way := next(named(fields, "way"), None):
            raise InvalidMessage(f"{where}.{way[0]} tells which way it went, and not who said it: give the role")
        return "user", talk.user_name, True
    own = talk.is_user(name or given)
    if not given:
        role = "user" if own else role_of_name(name)
    elif role == "user" and name and not own:
        role = called if (called := role_of_name(name)) in ("user", "assistant") else None
    elif role is None and own and not name:
        role = "user"  # called by their name where others are by their role
    if role == "user":
        return role, talk.user_name or (name if own else ""), True
    if role is None:
        return role, given if own else name or given, False
    return role, role if own or not name or role_of(name) else name, False


def _role_given(fields: Mapping[str, Any], where: str) -> str:
    for name, given in named(fields, "role", "other_role"):
        value = _label(given) if isinstance(given, Mapping) else given
        if is_empty(value):
            continue
        if spelled(name) == "role":
            if isinstance(value, int):
                raise InvalidMessage(f"{where}.{name} must be a text, not {type(value).__name__}")
            told = _line(value, f"{where}.{name}")
            beside = (each for _, each in named(fields, "role_beside") if isinstance(each, str) and role_of(each))
            return told if role_of(told) else next(beside, told)
        if isinstance(value, str) and (role_of_name(value) if _may_be_called(name, value) else role_of(value)):
            return value
    labels = (_label(each) for _, each in _senders(fields) if isinstance(each, Mapping))
    return next((each for each in labels if isinstance(each, str) and role_of(each)), "")


def _senders(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields that are a sender's, by a name that no table has."""
    for name, value in fields.items():
        if isinstance(name, str) and not is_empty(value) and words_of(name) & _SENDER_WORDS:
            yield name, value


def _label(sender: Mapping[Any, Any]) -> Any:
    """A sender's role, where their object tells it."""
    if (label := next((each for _, each in named(sender, "label")), None)) is not None:
        return label
    kinds = [each for _, each in named(sender, "kind_of_sender") if isinstance(each, str)]
    told = next((each.lower() for each in kinds if role_of(each) is not None), None)
    return told or ("assistant" if flagged(sender) == "assistant" else None)


def _may_be_called(field: str, value: str) -> bool:
    """Whether it may be somebody's name: as the sender of a message, Ai is a person, and ai is none."""
    return spelled(field) in _CALLED and not value.islower()


def _name(fields: Mapping[str, Any], where: str, role: str) -> str:
    """What the sender is called; "" if none is told, or only by their role."""
    tables = ("name",) if role else ("name", "name_without_role")
    for name, given in named(fields, *tables):
        value = given
        if isinstance(given, Mapping):
            value = _inner_name(given)
            if not value and given and "role" not in given:
                told = ", ".join(map(str, given))[:80]
                raise InvalidMessage(f"{where}.{name} tells no name that is known: it has {told}")
        if is_empty(value) or (spelled(name) in _ROLE_FIELDS and value == role) or is_flag(name, value):
            continue
        if line := _line(value, f"{where}.{name}"):
            return line
    if role:
        called = fields.get("role")  # Zep's role is the name, where its role_type is the role
        return called if isinstance(called, str) and role_of(called) is None and called != role else ""
    for name, given in _senders(fields):
        value = _inner_name(given) if isinstance(given, Mapping) else given
        if isinstance(value, str) and value:
            return _line(value, f"{where}.{name}")
    return ""


def _inner_name(sender: Mapping[Any, Any], depth: int = 0) -> str | int:
    for _, given in named(sender, "name", "inner_name"):
        value = _inner_name(given, depth + 1) if isinstance(given, Mapping) and depth < _DEEPEST else given
        if isinstance(value, str | int) and value:
            return value
    return ""


def _line(given: Any, where: str) -> str:
    """A name, in one line."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise InvalidMessage(f"{where} must be a text, not {type(given).__name__}")
    text = " ".join(_DIRECTIONS.sub("", str(given)).split())
    if len(text) > MAX_NAME_CHARACTERS:
        raise InvalidMessage(f"{where} has {len(text):,} characters, the limit is {MAX_NAME_CHARACTERS}")
    if _CONTROL.search(text):
        raise InvalidMessage(f"{where} has control characters: a name is a line of text")
    return _unicode(text, where)


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{where} is not Unicode text: it has half a surrogate pair") from error
    return text


def _not_said(fields: Mapping[str, Any], role: Role | None) -> str:
    """Why it was said by nobody to anybody; "" if it was."""
    about = fields.get("metadata")
    if isinstance(about, Mapping) and about.get("is_visually_hidden_from_conversation") is True:
        return "hidden"
    if role in ("user", "assistant") and any(True for _ in named(fields, "answers_call")):
        return _WHY["tool"]
    if role == "assistant":
        if broke_off(fields):
            return BROKE_OFF
        if is_thought(fields):
            return _WHY["thinking"]
        if fields.get("partial") is True:  # as Google's ADK streams
            return A_PIECE
        kind = fields.get("type")  # as Coze tells calls, their results and the end of them
        if isinstance(kind, str) and words_of(kind) & _NOT_SAID_KINDS:
            return _WHY["tool"]
        if fields.get("recipient") not in (None, "", "all"):
            return _WHY["tool"]
        return _WHY["thinking"] if fields.get("channel") in ("analysis", "commentary") else ""
    kinds = {name for name, _ in named(fields, "kind")}
    named_or_said = any(name not in kinds for name, _ in named(fields, "role", "other_role", "name"))
    if named_or_said:  # a call has a name, too, but it says nothing
        named_or_said = not is_empty(fields.get("role")) or any(True for _ in named(fields, "said"))
    for _, kind in named(fields, "kind") if not named_or_said else ():
        if isinstance(kind, str) and not role_of(kind):
            found = kind_named([kind])
            return _WHY[found] if found in ("thinking", "tool", "instruction") else ""
    return ""


def _said(fields: Mapping[str, Any], where: str) -> _Said:
    said = _Said()
    for name, given in named(fields, "said"):
        if said.text and spelled(name) != "parts":
            continue
        recording = {**(given if isinstance(given, Mapping) else {}), "type": "audio"}
        text = "\n".join(_texts(recording if name == "audio" else given, f"{where}.{name}", said))
        said.text = _both(said.text, text)
    return said


def _both(one: str, other: str) -> str:
    """Two texts of a turn, which often are the same in two forms; what differs is kept."""
    first, second = "".join(one.split()), "".join(other.split())
    if second in first:
        return one
    return other if first in second else f"{one}\n{other}"


def _texts(given: Any, where: str, said: _Said, depth: int = 0) -> list[str]:
    """The texts of a content, or of its parts."""
    if isinstance(given, str):
        return [given] if given else []
    if isinstance(given, Mapping):
        return _texts_of_part(given, where, said, depth)
    if not isinstance(given, list | tuple) or depth > _DEEPEST:
        raise InvalidMessage(f"{where} is no text, and no list of parts: {type(given).__name__}")
    if len(given) > MAX_PARTS:
        raise InvalidMessage(f"{where} has {len(given):,} parts, the limit is {MAX_PARTS:,}")
    if any(map(is_run, given)) and all(isinstance(part, str) or is_run(part) for part in given):
        code = not any(isinstance(part, str) or part["type"] != "code" for part in given)
        if not code:  # a model's code has no words around it
            return ["".join(part if isinstance(part, str) else part["text"] for part in given)]
    found = []
    for number, part in enumerate(given):
        if isinstance(part, str | Mapping):
            found += _texts(part, f"{where}[{number}]", said, depth + 1)
        elif part is not None:
            raise InvalidMessage(f"{where}[{number}] is no part that is known: {type(part).__name__}")
    return found


def _texts_of_part(part: Mapping[str, Any], where: str, said: _Said, depth: int) -> list[str]:
    if all(value in (None, "", [], {}) for value in part.values()):
        return []
    for name in CITED:
        if isinstance(part.get(name), Mapping):
            return _texts(part[name].get("content") or [], f"{where}.{name}.content", said, depth + 1)
    if "$type" in part:  # .NET writes names with a capital
        part = {name[:1].lower() + name[1:]: value for name, value in part.items()}
    kind = part_kind(part)
    if kind is None:
        named = next((str(part[name])[:40] for name in PART_TYPE if part.get(name)), ", ".join(map(str, part))[:80])
        raise InvalidMessage(f"{where} is no part that is known: {named!r}")
    if kind in ("text", "refusal", "audio"):
        name = next((name for name in PART_TEXT if part.get(name) is not None), None)
        if name is not None and (kind != "audio" or isinstance(part[name], str)):
            value = part[name]
            value = value["value"] if isinstance(value, Mapping) and isinstance(value.get("value"), str) else value
            return _texts(value, f"{where}.{name}", said, depth + 1)
        if kind != "audio" and not any(name in part for name in PART_TEXT):
            raise InvalidMessage(f"{where} has no text")
    said.kinds.append(kind)
    return []


def _nothing(
    fields: Mapping[str, Any], position: int, where: str, role: Role | None, said: _Said, shown: str
) -> Passed:
    """A turn without words. Raises InvalidMessage where its words may stand under a name that is not known."""
    if shown:
        kind: PartKind = next((each for each in _SHOWN if shown.startswith(placeholder(each))), "file")
        return Passed(position, _WHY[kind], role, shown)
    if said.kinds:
        kind = next((each for each in said.kinds if each in _SHOWN), said.kinds[0])
        return Passed(position, _WHY.get(kind, NOTHING_SAID), role, placeholder(kind) if kind in _SHOWN else "")
    if any(fields.get(name) for name in FIELDS["call"]):
        return Passed(position, _WHY["tool"], role)
    if any(name in fields for name in (*FIELDS["said"], *FIELDS["call"])):
        return Passed(position, NOTHING_SAID, role)
    if _messages_in(fields) or "mapping" in fields:
        raise InvalidMessage(f"{where} is a whole conversation: give its messages, one conversation at a time")
    raise InvalidMessage(f"{where} has no text: give it as content")


def _id(fields: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    name = next((name for name in names if fields.get(name) not in (None, "")), None)
    if name is None:
        return ""
    given = fields[name]
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise InvalidMessage(f"{where}.{name} must be a text or a number, not {type(given).__name__}")
    if len(text := _unicode(str(given), f"{where}.{name}")) > MAX_ID_CHARACTERS:
        raise InvalidMessage(f"{where}.{name} has {len(text):,} characters, the limit is {MAX_ID_CHARACTERS}")
    return text
