"""Items of a LangGraph store as memories: where a namespace stands, as what an item is kept, what a filter wants.

An item is one memory of kind ``fact``. Its text is what is searched; what it is an item of stands in its metadata, and
the whole value there too, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from langgraph.store.base import (
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    get_text_at_path,
    tokenize_path,
)

from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import text_value
from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.metadata import LONGEST_TEXT, MOST_VALUES, MetadataValue
from memsched.memory.model import Memory
from memsched.mos.lookup import DEFAULT_CUBE
from memsched.redaction import Secrets, redacted

Namespace = tuple[str, ...]
NAMESPACE, WITHIN, KEY, VALUE, SEARCHED = (
    f"langgraph_{name}" for name in ("namespace", "within", "key", "value", "searched")
)
"""The names in an item's metadata: the labels behind the cube, as JSON; all beginnings of these; the key; the value, as
JSON in pieces; whether a search looks at its text.
"""
WHOLE = "$"
"""The field that is all of a value."""
LARGEST_VALUE = 1_000_000
"""Characters of a value as JSON."""
_LONGEST_SEARCHED = 4_000
"""Characters of the text that is searched."""
_PIECES = range(-(-LARGEST_VALUE // (LONGEST_TEXT * MOST_VALUES)))
_DEEPEST = 60


class InvalidItem(ValueError):
    """This cannot be an item of the store."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a namespace stands.

    Args:
        cube: the user's name of it; None for a namespace that ends with the user. Its items are in the default one.
        rest: the labels behind it.
    """

    user: str
    cube: str | None
    rest: Namespace

    @classmethod
    def of(cls, namespace: Namespace, owner: str | None) -> Place:
        """Of a namespace that names its user first; or, in the store of an owner, their cube."""
        user, inner = (namespace[0], namespace[1:]) if owner is None else (owner, namespace)
        return cls(user, inner[0] if inner else None, inner[1:])

    @property
    def cube_name(self) -> str:
        return DEFAULT_CUBE if self.cube is None else self.cube

    @property
    def name(self) -> str:
        """As metadata have it."""
        return "" if self.cube is None else _as_json(self.rest)

    def within(self) -> dict[str, Any]:
        """The filter for items here and below."""
        return {NAMESPACE: {"exists": True}} if self.cube is None else {WITHIN: _as_json(self.rest)}

    def here(self, key: str) -> dict[str, Any]:
        """The filter for one item."""
        return {NAMESPACE: self.name, KEY: key}


def _as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def value_as_json(op: PutOp) -> str:
    """Raises InvalidItem for an op whose item cannot be kept: before anything of its batch is done."""
    if not isinstance(op.value, Mapping):
        raise InvalidItem(f"A value is a mapping, not {type(op.value).__name__}.")
    try:
        text = _as_json(dict(op.value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidItem(f"The value of {op.key!r:.80} cannot be written as JSON: {error}") from None
    if len(text) > LARGEST_VALUE:
        raise InvalidItem(
            f"The value of {op.key!r:.80} has {len(text):,} characters of JSON; {LARGEST_VALUE:,} at most."
        )
    if not op.key.isascii() and op.key.encode("utf-8", "replace").decode() != op.key:
        raise InvalidItem(f"The key {op.key!r:.80} is not Unicode text.")
    if len(op.key) > LONGEST_TEXT or len(op.namespace) > _DEEPEST or len(_as_json(op.namespace)) > LONGEST_TEXT:
        raise InvalidItem(
            f"A key has at most {LONGEST_TEXT:,} characters, and so has a namespace, of {_DEEPEST} labels at most."
        )
    return text


def memory_of(
    op: PutOp,
    place: Place,
    ref: CubeRef,
    *,
    fields: Sequence[str],
    first: datetime | None,
    now: datetime,
    secrets: Secrets,
) -> Memory:
    """The memory that an item is kept as.

    Args:
        fields: what of a value is searched, where the op does not say it.
        first: when its key was put first, if it is there already.
    """
    assert op.value is not None
    told = "" if op.index is False else searched_text(op.value, fields if op.index is None else op.index)
    text = redacted(told, secrets).strip()
    memory_id = str(uuid4())
    return Memory(
        memory_id=memory_id,
        user_id=ref.user_id,
        mem_cube_id=ref.mem_cube_id,
        text=text or op.key or "(an item)",
        kind="fact",
        at=now,
        created_at=first or now,
        updated_at=now,
        value=text_value(text, 0),
        content_hash=content_hash("langgraph", memory_id),  # nothing that is said is a repeat of it
        added_by=place.user,
        metadata=_metadata(op, place, value_as_json(op), searched=bool(text)),
    )


def _metadata(op: PutOp, place: Place, value: str, *, searched: bool) -> dict[str, MetadataValue]:
    pieces = [value[at : at + LONGEST_TEXT] for at in range(0, len(value), LONGEST_TEXT)]
    kept: dict[str, MetadataValue] = {NAMESPACE: place.name, KEY: op.key, SEARCHED: searched}
    if place.cube is not None:
        kept[WITHIN] = [_as_json(place.rest[:depth]) for depth in range(len(place.rest) + 1)]
    for number in _PIECES:
        if part := pieces[number * MOST_VALUES : (number + 1) * MOST_VALUES]:
            kept[f"{VALUE}_{number}"] = [*part]
    return kept


def searched_text(value: Mapping[str, Any], fields: Iterable[str]) -> str:
    """What a search looks at: of each field its text; of a whole value a line for each of its leaves."""
    lines: list[str] = []
    for field in fields:
        if field == WHOLE:
            lines += _leaves(value)
        else:
            lines += get_text_at_path(value, tokenize_path(field))
    text = "\n".join(dict.fromkeys(each for each in lines if each.strip()))
    return text[:_LONGEST_SEARCHED].encode("utf-8", "replace").decode().replace("\0", " ")


def _leaves(value: Any, name: str = "") -> Iterator[str]:
    """``food: pizza``, so that a person and a model can read it too."""
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _leaves(each, str(inner))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, name)
    elif value is not None and value != "":
        yield f"{name}: {value}" if name else str(value)


def parts_of_item(memory: Memory, place: Place, owner: str | None) -> dict[str, Any] | None:
    """Namespace, key, value and times of the item that a memory is; None for another memory, for an item whose value
    does not leave as it is (an access policy), and for one whose namespace has no name in this store.

    Args:
        place: of the cube that it was found in, by the name that its user has for it.
    """
    metadata = memory.metadata
    pieces = [metadata.get(f"{VALUE}_{number}", []) for number in _PIECES]
    try:
        value = json.loads("".join(str(each) for piece in pieces if isinstance(piece, list) for each in piece))
        rest = json.loads(str(metadata[NAMESPACE] or "null"))
        key = str(metadata[KEY])
    except (KeyError, ValueError):
        return None
    if rest is None and owner is not None:
        return None  # of the namespace that ends with the user, who has no label here
    inner = () if rest is None else (place.cube_name, *map(str, rest))
    return {
        "namespace": inner if owner is not None else (place.user, *inner),
        "key": key,
        "value": value,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
    }


def as_item(parts: Mapping[str, Any]) -> Item:
    return Item(**parts)


def as_found(parts: Mapping[str, Any], score: float | None) -> SearchItem:
    return SearchItem(**parts, score=score)


# -- conditions --------------------------------------------------------------------------------------------------------


def lets_through(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether a value is what a filter wants. Raises InvalidItem for an operator that there is not."""
    return all(_is(value.get(name), each) for name, each in (wanted or {}).items())


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compares(value, name, each) for name, each in wanted.items())
        return isinstance(value, Mapping) and all(_is(value.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(_is, value, wanted))
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    if operator in ("$eq", "$ne"):
        return _is(value, wanted) == (operator == "$eq")
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        raise InvalidItem(f"There is no operator {operator!r:.40}; there are $eq, $ne, $gt, $gte, $lt and $lte.")
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (value, wanted))
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    if operator == "$gt":
        return bool(value > wanted)
    if operator == "$gte":
        return bool(value >= wanted)
    return bool(value < wanted) if operator == "$lt" else bool(value <= wanted)


def namespaces_that(found: Iterable[Namespace], op: ListNamespacesOp) -> list[Namespace]:
    """Those that an op wants, cut to its depth."""
    wanted = {each for each in found if all(_matches(each, condition) for condition in op.match_conditions or ())}
    cut = sorted({each if op.max_depth is None else each[: op.max_depth] for each in wanted})
    return cut[op.offset : op.offset + op.limit]


def _matches(namespace: Namespace, condition: MatchCondition) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))
