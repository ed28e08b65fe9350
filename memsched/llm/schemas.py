"""The schemas of structured output: what a language model is asked for, with bounds on all of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from memsched.llm.verification import one_line

MAX_TEXT = 500
MAX_MEMORIES = 100
MAX_INDICES = 1000
MAX_SOURCES = 10
"""Turns that one memory may be from."""
_MAX_TAGS = 8
_DEEPEST = 2
"""Objects around a list that are looked into."""
_TAG = re.compile(r"[^\W_][\w-]*(?: [\w-]+){0,2}")
_DATE = re.compile(r"\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?)?")


def _clean(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value


def _indices(value: object) -> object:
    if isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal()):
        return [value]
    return value[:MAX_INDICES] if isinstance(value, list) else value


def _few_indices(value: object) -> object:
    indices = _indices(value)
    return indices[:MAX_SOURCES] if isinstance(indices, list) else indices


def _share(value: object) -> float:
    """A number from 0 to 1, whatever it was; 0.5 when it was none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.5
    return 0.5 if math.isnan(number) else min(1.0, max(0.0, number))


def _tags(value: object) -> list[str]:
    tags = [str(_clean(tag)).lower() for tag in value if isinstance(tag, str)] if isinstance(value, list) else []
    return list(dict.fromkeys(tag for tag in tags if len(tag) <= 32 and _TAG.fullmatch(tag)))[:_MAX_TAGS]


def _date(value: object) -> str | None:
    match = _DATE.match(value) if isinstance(value, str) else None
    return match.group() if match else None


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Indices = Annotated[list[int], BeforeValidator(_indices)]
Line = Annotated[str, BeforeValidator(_clean)]


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ExtractedMemory(_Sent):
    """One memory as the model claims it; ``extraction.verified`` says whether to believe it.

    Args:
        source_turns: indices of the turns it is from.
        quote: verbatim from one of them.
        when: YYYY, YYYY-MM or YYYY-MM-DD.
        tags: up to 8 of up to three words.
    """

    kind: Annotated[Literal["fact", "preference", "event"], BeforeValidator(_lower)]
    text: Annotated[Line, StringConstraints(min_length=1, max_length=MAX_TEXT)]
    source_turns: Annotated[list[int], BeforeValidator(_few_indices), Field(min_length=1)]
    quote: Annotated[Line, StringConstraints(min_length=1, max_length=2000)]
    about_user: bool = False
    when: Annotated[str | None, BeforeValidator(_date)] = None
    importance: Annotated[float, BeforeValidator(_share)] = 0.5
    tags: Annotated[list[str], BeforeValidator(_tags)] = []


def _items(sent: Any, name: str, is_item: Callable[[object], bool], depth: int = 0) -> Any:
    """The list ``name`` in what a model sent: of ``{name: [...]}``, the list alone, one item alone, several such
    objects one after the other (JSON lines), or any of these within another object. What is none stays as it is.
    """
    if is_item(sent):
        return [sent]
    if isinstance(sent, list):
        parts = [_items(each, name, is_item, depth + 1) if _is_inner(each, depth) else [each] for each in sent]
        return [item for part in parts for item in (part if isinstance(part, list) else [part])]
    if not isinstance(sent, dict):
        return sent
    if name in sent:
        named = [] if sent[name] in (None, "", {}) else sent[name]
        if isinstance(named, dict) and all(map(is_item, named.values())):
            return list(named.values())
        return [named] if is_item(named) or isinstance(named, dict) else named
    for value in sent.values() if depth < _DEEPEST else ():
        inner = _items(value, name, is_item, depth + 1) if isinstance(value, dict | list) else value
        if isinstance(inner, list) and any(map(is_item, inner)):
            return inner
    return sent


def _is_inner(sent: object, depth: int) -> bool:
    return isinstance(sent, dict) or (isinstance(sent, list) and depth < _DEEPEST)


def _salvage(sent: Any, name: str, is_item: Callable[[object], bool], most: int) -> Any:
    """``{name: [...]}`` with the items that are well formed, or, if none is, with all of them."""
    claimed = _items(sent, name, is_item)
    if not isinstance(claimed, list):
        return sent
    claimed = claimed[:most]
    return {name: [each for each in claimed if is_item(each)] or claimed}


class Extraction(_Sent):
    """``{"memories": [...]}``. One that is malformed does not spoil the others, unless all are."""

    memories: list[ExtractedMemory]

    @model_validator(mode="before")
    @classmethod
    def _salvaged(cls, sent: Any) -> Any:
        return _salvage(sent, "memories", _is_memory, MAX_MEMORIES)


def _is_memory(sent: object) -> bool:
    try:
        ExtractedMemory.model_validate(sent)
    except ValidationError:
        return False
    return True


def _is_index(sent: object) -> bool:
    return (isinstance(sent, int) and not isinstance(sent, bool)) or (isinstance(sent, str) and sent.isdecimal())


class Ranking(_Sent):
    """``{"order": [...]}``: indices, the best first."""

    order: Indices

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, sent: Any) -> Any:
        return _salvage(sent, "order", _is_index, MAX_INDICES)


class Used(_Sent):
    """``{"used": [...]}``: indices of the memories that an answer used."""

    used: Indices

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, sent: Any) -> Any:
        return _salvage(sent, "used", _is_index, MAX_INDICES)


class Stated(_Sent):
    """``{"stated": [...]}``: indices of the statements that their turns state.

    Nothing else is a yes: not a truth value in the place of an index, not a list of another name, not half an answer.
    """

    may_be_repaired: ClassVar[bool] = False
    stated: Annotated[list[StrictInt], Field(max_length=MAX_INDICES)]


class Feedback(_Sent):
    """A correction understood.

    Args:
        corrected: index of the memory that it makes untrue, or None.
        text: what is right now; empty when nothing takes the memory's place.
    """

    corrected: Annotated[int, Field(ge=0)] | None
    text: Annotated[Line, StringConstraints(max_length=MAX_TEXT)]


class Decision(_Sent):
    """What a new statement does to an earlier one, by their indices, as the model claims it."""

    new: Annotated[int, Field(ge=0)]
    earlier: Annotated[int, Field(ge=0)]
    relation: Annotated[Literal["revises", "contradicts", "same", "unrelated"], BeforeValidator(_lower)]
    quote: Annotated[Line, StringConstraints(max_length=2000)] = ""


class Decisions(_Sent):
    """``{"decisions": [...]}``. One that is malformed does not spoil the others, unless all are."""

    decisions: list[Decision]

    @model_validator(mode="before")
    @classmethod
    def _salvaged(cls, sent: Any) -> Any:
        return _salvage(sent, "decisions", _is_decision, MAX_INDICES)


def _is_decision(sent: object) -> bool:
    try:
        Decision.model_validate(sent)
    except ValidationError:
        return False
    return True
