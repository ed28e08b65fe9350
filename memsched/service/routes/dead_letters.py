"""Dead letters: what was given up, for those who operate the queue."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, JsonValue
from pydantic.config import JsonDict

from memsched.queue.dead_letters import DeadFilter, DeadLetter
from memsched.service.bodies import WHOLE, Body, ItemId, Text, UserId, an_example
from memsched.service.callers import Operator
from memsched.service.problems import at_field
from memsched.service.routes.scheduler import LabelName
from memsched.service.state import Here

router = APIRouter(prefix="/v1/scheduler/dead-letters", tags=["dead letters"])

Reason = Literal["errors", "timeouts", "crashes", "malformed", "rejected", "expired"]
_CONDITIONS = ("label", "reason", "user_id", "ids", "before_ms", "error")
_MOST_LISTED = 100
_MOST_AT_ONCE = 10_000
_LONGEST_SECONDS = 20.0
"""So long does a request last at most; what is left, the next one meets."""


class Letter(BaseModel):
    """A message that was given up. Times are ms since the epoch."""

    id: str = Field(description="The letter's own, of its lane.")
    lane: str
    label: str
    item_id: str
    reason: str
    error: str
    kind: str = Field(description="Of its error: without what has digits in it. `error` of a filter.")
    attempts: dict[str, int] = Field(description="How often it failed, by kind.")
    first_ms: int
    last_ms: int
    worker: str
    fields: dict[str, str] = Field(description="What the message says.")

    @classmethod
    def of(cls, letter: DeadLetter) -> Letter:
        return cls.model_validate({**letter.as_dict(), "kind": letter.kind_of_error})


class Letters(BaseModel):
    """The newest ones that fit."""

    letters: list[Letter]
    more: bool = Field(description="Whether there are more.")


_GIVEN: list[JsonValue] = [
    {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in _CONDITIONS
]
_NARROWING: JsonDict = {"anyOf": [*_GIVEN, {"required": ["all"], "properties": {"all": {"const": True}}}]}


class Which(Body):
    """Which dead letters are meant."""

    model_config = an_example(_NARROWING, reason="errors", limit=100)

    label: LabelName | None = None
    reason: Reason | None = None
    user_id: UserId | None = None
    ids: list[ItemId] | None = Field(
        None, min_length=1, max_length=1_000, description="Of items (of any user), or of letters."
    )
    before_ms: Annotated[int, Field(ge=1, lt=2**53), WHOLE] | None = Field(
        None, description="Only those given up before it (ms since the epoch)."
    )
    error: Text | None = Field(
        None, min_length=1, max_length=400, description="Only those whose errors are of this kind: as `kind` lists it."
    )
    all: bool = Field(False, description="Needed to mean all of them: an empty filter means none.")
    limit: Annotated[int, Field(ge=1, le=_MOST_AT_ONCE), WHOLE] = _MOST_AT_ONCE

    def filter(self) -> DeadFilter:
        """Raises a problem for what names nothing."""
        which = DeadFilter(
            self.label or "",
            self.reason or "",
            self.user_id or "",
            frozenset(self.ids or ()),
            self.before_ms or 0,
            self.error or "",
        )
        if which == DeadFilter() and not self.all:
            raise at_field(422, "Say which ones: label, reason, user_id, ids, before_ms or error; or all: true.", "all")
        return which


class ToRedrive(Which):
    """Which dead letters are sent again, and how fast."""

    per_second: float | None = Field(None, ge=0.01, le=10_000, description="At most so many in a second.")

    model_config = an_example(_NARROWING, label="add", reason="errors", per_second=10)


class Redriven(BaseModel):
    """How many were sent again. more: the time was up before the end; send the same request again."""

    sent: int
    more: bool


class Purged(BaseModel):
    """How many were deleted."""

    deleted: int


@router.get("", summary="List dead letters, the newest first")
async def list_dead_letters(
    here: Here,
    _: Operator,
    label: Annotated[LabelName | None, Query()] = None,
    reason: Annotated[Reason | None, Query()] = None,
    user_id: Annotated[UserId | None, Query()] = None,
    item_id: Annotated[ItemId | None, Query(description="Of an item, or of a letter.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED, strict=False)] = 50,
) -> Letters:
    """With what the messages say: for those who operate the queue."""
    which = DeadFilter(label or "", reason or "", user_id or "", frozenset([item_id] if item_id else ()))
    letters = await here.scheduler.dead_letters()
    found = [each async for each in letters.letters(which, newest_first=True, most_per_lane=limit + 1)]
    found.sort(key=lambda letter: letter.last_ms, reverse=True)
    return Letters(letters=[Letter.of(each) for each in found[:limit]], more=len(found) > limit)


@router.post("/redrive", summary="Send dead letters again")
async def redrive_dead_letters(body: ToRedrive, here: Here, _: Operator) -> Redriven:
    """With all their budgets of failures renewed; at a rate, if one is given."""
    which = body.filter()
    letters = await here.scheduler.dead_letters()
    sent = 0

    def count(_letter: Any) -> None:
        nonlocal sent
        sent += 1

    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            await letters.redrive(which, limit=body.limit, per_second=body.per_second, on_sent=count)
    except TimeoutError:
        return Redriven(sent=sent, more=True)
    return Redriven(sent=sent, more=False)


@router.post("/purge", summary="Delete dead letters for good")
async def purge_dead_letters(body: Which, here: Here, _: Operator) -> Purged:
    """What was said in them is lost, unless it is kept elsewhere."""
    which = body.filter()
    return Purged(deleted=await (await here.scheduler.dead_letters()).purge(which, limit=body.limit))
