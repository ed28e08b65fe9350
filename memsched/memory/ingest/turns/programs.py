"""What chat programs wrote otherwise than it was said: HTML, bytes of UTF-8 as letters, marks, notices of events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

from memsched.errors import InvalidMessage
from memsched.memory.ingest.turns.forms import BREAKS, EVENTS, HTML_TYPES, NOT_READ, SAID_TYPES, UNSEEN_TAGS, spelled

_TYPED = ("contenttype", "mimetype")
_SLACK_TIME = re.compile(r"\d{9,10}\.\d{6}", re.ASCII)
_SLACK_MARK = re.compile(r"<([@#!]?)([^<>|\s][^<>|]*)(?:\|([^<>|]*))?>")
_SLACK_ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_DETAILS = re.compile(
    r"<details\s[^<>]{0,200}\btype=\"(?:reasoning|tool_calls|code_interpreter)\"[^<>]*>.*?(?:</details>\s*|\Z)",
    re.DOTALL,
)
"""What Open WebUI folds away within an answer."""
_THOUGHT = frozenset(("title", "id", "parent_id", "duration", "status", "log"))
"""What Gradio's metadata have of a message that it shows as a thought or a tool's call, by its title."""
_REPLY = re.compile(r"(?:>[^\n]*\n)+\n+")
"""What a reply of Matrix repeats of what it answers."""


def is_event(fields: Mapping[str, Any]) -> bool:
    """Whether a message tells what happened in a channel (somebody joined), as Teams, Slack and Discord write it."""
    for name, value in fields.items():
        if isinstance(name, str) and isinstance(value, str) and value in EVENTS.get(spelled(name), ()):
            return name != "event" or not {"role", "content"} & fields.keys()
    kind = fields.get("type")
    numbered = isinstance(kind, int) and not isinstance(kind, bool) and "channel_id" in fields
    return numbered and isinstance(fields.get("author"), Mapping) and kind not in SAID_TYPES


def is_html(fields: Mapping[str, Any]) -> bool:
    """Whether a message says of its content that it is HTML."""
    if isinstance(kind := fields.get("type"), str) and kind in HTML_TYPES:
        return True
    kinds = (value for name, value in fields.items() if isinstance(name, str) and spelled(name) in _TYPED)
    return any(isinstance(kind, str) and kind.casefold().rpartition("/")[2] == "html" for kind in kinds)


def text_of_html(text: str) -> str:
    """What a person reads of HTML, a block on a line."""
    reader = _Words()
    reader.feed(text)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.found).split("\n"))
    return "\n".join(line for line in lines if line)


def is_thought(fields: Mapping[str, Any]) -> bool:
    """Whether a message of an assistant is a thought or a tool's call, as Gradio shows them."""
    about = fields.get("metadata")
    return isinstance(about, Mapping) and isinstance(about.get("title"), str) and about.keys() <= _THOUGHT


def without_details(text: str) -> str:
    """An answer without thoughts and calls of tools, as Open WebUI folds them away."""
    return _DETAILS.sub("", text) if "<details" in text else text


def refuse_unread(fields: Mapping[str, Any], where: str) -> None:
    """Raises InvalidMessage for a message of a program that is known, and whose messages are not read."""
    for program, names in NOT_READ.items():
        if names <= fields.keys():
            raise InvalidMessage(
                f"{where} is a message of {program}, whose messages are not read: give who said it as name, what as "
                "content, and when as timestamp"
            )


def as_said(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message as a person reads it: of Messenger, Slack and Matrix."""
    if "sender_name" in fields and "timestamp_ms" in fields:  # they export each byte of UTF-8 as a character
        return {name: _letters(value) if isinstance(value, str) else value for name, value in fields.items()}
    if isinstance(text := fields.get("text"), str) and _SLACK_TIME.fullmatch(str(fields.get("ts"))):
        return {**fields, "text": _of_slack(text), **_slack_name(fields.get("user_profile"))}
    content = fields.get("content")
    if fields.get("type") == "m.room.message" and isinstance(content, Mapping):
        machine = {"role": "assistant"} if content.get("msgtype") == "m.notice" else {}
        return {**fields, **machine, "content": _of_matrix(content)}
    return fields


def edited(entries: Sequence[Any]) -> set[int]:
    """The places of messages that later versions of them take the place of, as Matrix tells edits."""
    latest: dict[tuple[str, str], int] = {}
    for place, entry in enumerate(entries):
        if name := _edits(entry):
            latest[name, str(entry.get("sender"))] = place
    if not latest:
        return set()
    gone = set()
    for place, entry in enumerate(entries):
        if isinstance(entry, Mapping):
            version = _edits(entry) or str(entry.get("event_id")), str(entry.get("sender"))
            gone |= {place} if latest.get(version, place) != place else set()
    return gone


def _edits(entry: Any) -> str:
    """The id of the message that this one is a later version of; "" if of none."""
    content = entry.get("content") if isinstance(entry, Mapping) else None
    relation = content.get("m.relates_to") if isinstance(content, Mapping) else None
    if isinstance(relation, Mapping) and relation.get("rel_type") == "m.replace":
        return str(relation.get("event_id") or "")
    return ""


def _of_slack(text: str) -> str:
    text = _SLACK_MARK.sub(_shown_by_slack, text)
    for written, said in _SLACK_ESCAPES:
        text = text.replace(written, said)
    return text


def _shown_by_slack(mark: re.Match[str]) -> str:
    kind, what, label = mark.groups()
    if not kind:
        return f"{label} ({what})" if label and not what.endswith(label) else label or what
    if kind == "!":
        return label or f"@{what.partition('^')[0]}"
    return kind + (label or what).removeprefix(kind)


def _slack_name(profile: Any) -> dict[str, str]:
    names = (profile.get(name) for name in ("real_name", "display_name")) if isinstance(profile, Mapping) else ()
    name = next((each for each in names if isinstance(each, str) and each), "")
    return {"name": name} if name else {}


def _of_matrix(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a message that was edited, how it is now; of a reply, without what it answers."""
    new, relation = content.get("m.new_content"), content.get("m.relates_to")
    relation = relation if isinstance(relation, Mapping) else {}
    if relation.get("rel_type") == "m.replace" and isinstance(new, Mapping):
        return new
    body = content.get("body")
    if not isinstance(body, str):
        return content
    if relation.get("rel_type") == "m.replace":
        body = body.lstrip().removeprefix("* ")
    elif "m.in_reply_to" in relation:
        body = _REPLY.sub("", body, count=1) if _REPLY.match(body) else body
    return {**content, "body": body}


def _letters(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:  # it is as it was said
        return text


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in UNSEEN_TAGS
        if tag in BREAKS:
            self.found.append("\n")
        elif tag == "emoji":  # as Teams has them
            self.found.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN_TAGS and self._unseen > 0
        if tag in BREAKS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.found.append(" ".join(data.split("\n")))
