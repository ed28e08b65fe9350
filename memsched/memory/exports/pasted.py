"""Tells the text of an export from what somebody says: whoever adds a file's text as one utterance means an import."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import ijson

from memsched.errors import InvalidMessage
from memsched.memory.exports.formats import Format, format_of
from memsched.memory.exports.message_lists import form_of
from memsched.memory.exports.read import WRAPPERS

_NAMES = ('"mapping"', '"chat_messages"', '"role"', '"from"', '"parts"', '"type"', '"conversation"')
"""Whatever is an export has one of these."""


def refuse_export(text: str, where: str) -> None:
    """Raises InvalidMessage if the text is no utterance but conversations as JSON. Only its beginning is parsed."""
    if text.lstrip()[:1] in ("[", "{") and any(name in text for name in _NAMES) and (form := _form_in(text)):
        raise InvalidMessage(
            f"{where} is the text of an export ({form}), not something that was said: `memsched import FILE` "
            "remembers its conversations; messages of your own go in as a list"
        )


def _form_in(text: str) -> Format | None:
    source = io.BytesIO(text.encode(errors="replace"))
    prefix = "item" if text.lstrip().startswith("[") else ""
    values: list[Any] = []
    with suppress(ijson.JSONError):
        values.extend(islice(ijson.items(source, prefix, multiple_values=True), 2))
    first, *others = values or [None]
    if form := format_of(first) or format_of(_wrapped_first(first)):
        return form
    return Format(form_of(first)) if others and form_of(first) and form_of(others[0]) else None


def _wrapped_first(value: Any) -> Any:
    lists = (
        [value[name] for name in WRAPPERS if isinstance(value.get(name), list)] if isinstance(value, Mapping) else []
    )
    return next((each for inside in lists for each in inside), None)
