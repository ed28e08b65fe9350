"""Filters: conditions on a cube, in Qdrant's form. They are made here and nowhere else.

The tenant is the cube: one payload field that the collection's index is partitioned by. Every filter holds it, so that
no caller can forget it.
"""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from memsched.memory.access.permissions import CubeRef
from memsched.memory.filter_language import AllOf, AnyOf, FilterPart, Has, NotOf, within_bounds
from memsched.memory.metadata import keyword_of
from memsched.memory.model import Memory, folded, to_ms
from memsched.memory.store.conditions import Conditions

TENANT = "cube"
_WHEN = ("at", "last_said")
_PAYLOAD_NAMES = {"speaker": "speaker_folded"}
"""Of fields that are asked for by something else in the payload."""
_KEYWORDS = ("memory_type", "kind", "session_id", "tags")


def within(ref: CubeRef, *conditions: Any) -> models.Filter:
    """These of Qdrant's conditions, in this cube only."""
    return models.Filter(must=[equals(TENANT, ref.tenant), *conditions])


def matching(ref: CubeRef, conditions: Conditions | None, *others: Any) -> models.Filter:
    """The memories of the cube for which the conditions hold, and others of Qdrant's."""
    if conditions is None:
        return within(ref, *others)
    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchAny(any=values))
        for key in _KEYWORDS
        if (values := getattr(conditions, key))
    ]
    if conditions.speaker:
        must.append(_spoken_by(ref, conditions.speaker, conditions.spoken_by_users))
    must += [_asked_for(part) for part in conditions.filter.parts]
    if conditions.since is not None or conditions.until is not None:
        bounds = models.Range(
            gte=None if conditions.since is None else to_ms(conditions.since),
            lt=None if conditions.until is None else to_ms(conditions.until),
        )
        must.append(models.FieldCondition(key="at", range=bounds))
    if not conditions.include_archived:
        must.append(equals("status", "activated"))
    return within(ref, *must, *others)


def _spoken_by(ref: CubeRef, speakers: list[str], users: list[str]) -> models.Filter:
    """In any case; of memories of before there was ``speaker_folded`` in the given one. And all that users said: of
    before there was ``user_speaking``, the turns that have no speaker.
    """
    keys = models.MatchAny(any=[folded(each) for each in speakers]), models.MatchAny(any=speakers)
    should: list[Any] = [
        models.FieldCondition(key=key, match=match)
        for key, match in zip(("speaker_folded", "speaker"), keys, strict=True)
    ]
    if users:
        should.append(models.FieldCondition(key="user_speaking", match=models.MatchAny(any=users)))
        nobody = models.IsEmptyCondition(is_empty=models.PayloadField(key="speaker"))
        by: list[Any] = [models.FieldCondition(key="added_by", match=models.MatchAny(any=users))]
        if ref.user_id in users:
            by.append(models.IsEmptyCondition(is_empty=models.PayloadField(key="added_by")))
        should.append(models.Filter(must=[nobody, equals("kind", "turn"), models.Filter(should=by)]))
    return models.Filter(should=should)


def _asked_for(part: FilterPart) -> models.Filter | models.FieldCondition:
    """A filter of the filter language, in Qdrant's form."""
    match part:
        case AllOf(parts):
            return models.Filter(must=[_asked_for(each) for each in parts])
        case AnyOf(parts):
            return models.Filter(should=[_asked_for(each) for each in parts])
        case NotOf(negated):
            return models.Filter(must_not=[_asked_for(negated)])
        case Has():
            return _has(part)


def _has(asked: Has) -> models.Filter | models.FieldCondition:
    rule = asked.rule
    key = _PAYLOAD_NAMES.get(asked.name, asked.name) if asked.field else f"metadata.{asked.name}"
    if rule.exists is not None:
        nothing: list[Any] = [_is_empty(key), *([equals(key, "")] if asked.field else [])]
        return models.Filter(must_not=nothing) if rule.exists else models.Filter(should=nothing)
    if rule.contains is not None:
        element = rule.contains if asked.field else keyword_of(asked.name, rule.contains)
        should: list[Any] = [equals(key if asked.field else "metadata_keywords", element)]
        if isinstance(rule.contains, str):
            should.append(models.FieldCondition(key=key, match=models.MatchText(text=rule.contains)))
        return models.Filter(should=should)
    if rule.any_of:
        key = key if asked.field else "metadata_keywords"
        return models.FieldCondition(key=key, match=models.MatchAny(any=list(rule.any_of)))
    bounds = models.FieldCondition(key=key, range=models.Range(gte=rule.at_least, lt=rule.below))
    usual = Memory.model_fields[asked.name].default if asked.field else None
    if isinstance(usual, int | float) and within_bounds(usual, rule):  # what is usual is left out of the payload
        return models.Filter(should=[bounds, _is_empty(key)])
    return bounds


def _is_empty(key: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def told_since(ms: int) -> models.Filter:
    """Said, or said again, then or later."""
    return models.Filter(should=[at_least(name, ms) for name in _WHEN])


def told_before(ms: int) -> models.Filter:
    """Said, and not said again, until then."""
    return models.Filter(must_not=[at_least(name, ms) for name in _WHEN])


def at_least(field: str, number: int) -> models.FieldCondition:
    return models.FieldCondition(key=field, range=models.Range(gte=number))


def equals(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def among(memory_ids: list[str]) -> models.HasIdCondition:
    return models.HasIdCondition(has_id=list(memory_ids))
