"""Redaction: keys, tokens, passwords and card numbers in what people say are replaced before anything is done with it.

What is a secret, ``secrets_in_text`` knows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from memsched.errors import InvalidId, InvalidMessage
from memsched.messages import MEM_FEEDBACK_TASK_LABEL, ScheduleMessageItem
from memsched.secrets_in_answers import mask_after
from memsched.secrets_in_text import Found, mask, mask_again, mask_value, singular

Secrets = Literal["keep", "mask", "drop"]
"""What becomes of a text with a secret: kept as it is, kept without the secret, not kept."""

Model = TypeVar("Model", bound=BaseModel)
_COUNTED = re.compile(r"\d+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
"""How programs number what they keep."""
SECRETS_DROPPED = (
    "it holds a password, a token or a card number, and MEMSCHED_SECRETS=drop keeps nothing of such a text: say it "
    "without the secret"
)


def redacted(text: str, how: Secrets = "mask") -> str:
    """A text without its secrets; of one that holds any nothing, where such texts are dropped."""
    if how == "keep":
        return text
    plain = mask(text)
    return "" if how == "drop" and plain != text else plain


def asked(text: str, how: Secrets) -> str:
    """A question without its secrets: it is answered where what holds one is dropped, too."""
    return redacted(text, "keep" if how == "keep" else "mask")


@lru_cache(maxsize=10_000)
def redacted_id(name: str, how: Secrets) -> str:
    """What somebody calls a session or a turn, without its secrets; two that differ do so still.

    A number is no secret here: many programs count their messages with as many digits as a card has. Nor is a UUID.
    """
    plain = name if _COUNTED(name) else asked(name, how)
    return name if plain == name else f"{plain} {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]}"


def refuse_secret_id(what: str, name: str, how: Secrets) -> None:
    """Raises InvalidId for a secret: what users, cubes and messages are called cannot be masked."""
    if redacted_id(name, how) != name:
        raise InvalidId(
            what,
            "it holds what looks like a password, a token or a card number, and ids are kept as they are; choose "
            "another one (MEMSCHED_SECRETS=keep allows it)",
        )


def refuse_secret_ids(message: ScheduleMessageItem, how: Secrets) -> None:
    """Raises InvalidMessage where what a message names itself, its user or its cube is a secret."""
    try:
        for name in ("user_id", "mem_cube_id", "item_id"):
            refuse_secret_id(name, getattr(message, name), how)
    except InvalidId as error:
        raise InvalidMessage(f"{error.what}: {error.reason}") from None


def redacted_fields(given: Any, how: Secrets) -> Any:
    """Any JSON value with its texts, names and numbers redacted; the same object if there is nothing to do."""
    if how == "keep":
        return given
    found: Found = {}
    return _redacted_again(_redacted_value(given, how, frozenset(), found), how, frozenset(), found)


def redacted_model(given: Model, how: Secrets) -> Model:
    """An object without the secrets in its fields; the same object if there is none."""
    values = given.model_dump()
    plain = redacted_fields(values, how)
    return given if plain is values else type(given).model_validate(plain)


# -- messages --------------------------------------------------------------------------------------------------------

_IDS = frozenset(("memory_id", "memory_ids", "read_for", "id", "message_id", "session_id"))
_TEXTS = ("content", "user_name", "info", "chat_history")


def redacted_message(message: ScheduleMessageItem, how: Secrets) -> ScheduleMessageItem:
    """A message whose texts hold no secrets; the same object if there is none.

    Raises InvalidMessage where nothing is left of a correction.
    """
    changes = _redacted_parts(message, how)
    return message.model_copy(update=changes) if changes else message


def redact(message: ScheduleMessageItem, how: Secrets) -> None:
    """The same of a message that is known by its identity."""
    for name, value in _redacted_parts(message, how).items():
        setattr(message, name, value)


def _redacted_parts(message: ScheduleMessageItem, how: Secrets) -> dict[str, Any]:
    if how == "keep":
        return {}
    found: Found = {}
    given = {name: value for name in _TEXTS if (value := getattr(message, name))}
    first = {name: _redacted_value(value, how, _IDS, found) for name, value in given.items()}
    kept = {name: _redacted_again(value, how, _IDS, found) for name, value in first.items()}
    for name in ("session_id", "task_id"):
        if value := getattr(message, name):
            given[name], kept[name] = value, redacted_id(value, how)
    changes = {name: value for name, value in kept.items() if value is not given[name]}
    if message.label == MEM_FEEDBACK_TASK_LABEL and changes.get("content") == "":
        raise InvalidMessage(SECRETS_DROPPED)
    return changes


def _redacted_value(given: Any, how: Secrets, ids: frozenset[str], found: Found, name: str = "") -> Any:
    """Any JSON value without its secrets; the same object if there is nothing to do.

    Args:
        ids: names of what is an id. In metadata none is.
        found: learns the secrets.
        name: under which it stands: it may tell that it is a secret.
    """
    if isinstance(given, Mapping):
        values: dict[Any, Any] = {}
        for key, each in given.items():
            plain_key = asked(key, how) if isinstance(key, str) else key
            within = name if singular(name) != name else str(key)  # passwords: {"bob": ...}
            plain = _redacted_value(each, how, frozenset() if key == "metadata" else ids, found, within)
            if how != "drop" or plain_key == key:
                values[plain_key] = plain
        same = values.keys() == given.keys() and all(values[key] is given[key] for key in given)
        return given if same else values
    if isinstance(given, list | tuple):
        parts: list[Any] = []
        before = ""
        for each in given:
            plain = _redacted_value(each, how, ids, found, name)
            parts.append(_redacted_after(before, plain, how, found) if before else plain)
            before = _said(plain, last=True)
        return parts if any(new is not old for new, old in zip(parts, given, strict=True)) else given
    if isinstance(given, str) and name in ids:
        plain = redacted_id(given, how)
    elif isinstance(given, str):
        plain = mask_value(name, given, found)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        plain = mask_value(name, str(given), found)
    else:
        return given
    if plain == str(given):
        return given
    return "" if how == "drop" and name not in ids else plain


def _redacted_again(given: Any, how: Secrets, ids: frozenset[str], found: Found, name: str = "") -> Any:
    """The same without the secrets that its other texts told: "is swordfish long enough?"."""
    if not found or name in ids:
        return given
    if isinstance(given, Mapping):
        no_ids: frozenset[str] = frozenset()
        values = {
            mask_again(key, found) if isinstance(key, str) else key: _redacted_again(
                each, how, no_ids if key == "metadata" else ids, found, str(key)
            )
            for key, each in given.items()
        }
        same = values.keys() == given.keys() and all(values[key] is given[key] for key in given)
        return given if same else values
    if isinstance(given, list | tuple):
        parts = [_redacted_again(each, how, ids, found, name) for each in given]
        return parts if any(new is not old for new, old in zip(parts, given, strict=True)) else given
    if not isinstance(given, str | int | float) or isinstance(given, bool):
        return given
    plain = mask_again(str(given), found)
    if plain == str(given):
        return given
    return "" if how == "drop" else plain


_SAYS = ("text", "content")
"""Where a part of a message, and a message, has its text."""


def _said(given: Any, last: bool = False) -> str:
    """The text of a message or of a part, or of its first or its last part; empty if it has none."""
    if isinstance(given, Mapping):
        return next((_said(given[key], last) for key in _SAYS if given.get(key)), "")
    if isinstance(given, list | tuple) and given:
        return _said(given[-1 if last else 0], last)
    return given if isinstance(given, str) else ""


def _redacted_after(before: str, given: Any, how: Secrets, found: Found) -> Any:
    """A message, or a part of one, without the secret that goes on with what was said before it."""
    text = _said(given)
    plain = mask_after(before, text, found) if text else text
    return given if plain == text else _with_said(given, "" if how == "drop" else plain)


def _with_said(given: Any, text: str) -> Any:
    """The same with another text in the place that ``_said`` reads."""
    if isinstance(given, Mapping):
        key = next(key for key in _SAYS if given.get(key))
        return {**given, key: _with_said(given[key], text)}
    return text if isinstance(given, str) else [_with_said(given[0], text), *given[1:]]
