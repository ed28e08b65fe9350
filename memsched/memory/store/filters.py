"""Filters: conditions on a cube, in Qdrant's form. They are made here and nowhere else.

The tenant is the cube: one payload field that the collection's index is partitioned by. Every filter holds it, so that
no caller can forget it.
"""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from memsched.memory.access.permissions import CubeRef
from memsched.memory.metadata import Wanted
from memsched.memory.model import folded, to_ms
from memsched.memory.store.conditions import Conditions

TENANT = "cube"
_WHEN = ("at", "last_said")
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
    must += [_has(name, wanted) for name, wanted in conditions.filter.items()]
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


def _has(name: str, wanted: Wanted) -> models.FieldCondition:
    if wanted.any_of:
        return models.FieldCondition(key="metadata_keywords", match=models.MatchAny(any=list(wanted.any_of)))
    bounds = models.Range(gte=wanted.at_least, lt=wanted.below)
    return models.FieldCondition(key=f"metadata.{name}", range=bounds)


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
