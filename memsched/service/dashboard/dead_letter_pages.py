"""The page of dead letters: by reason and error, and what is done with all that match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from memsched.queue.dead_letters import REASONS, DeadFilter, DeadLetter
from memsched.service.bodies import ItemId, UserId
from memsched.service.callers import Operator
from memsched.service.dashboard.message_pages import said
from memsched.service.dashboard.pages import form_of, page_router, render, see
from memsched.service.dashboard.rendering import query_of
from memsched.service.routes.dead_letters import (
    Reason,
    ToRedrive,
    Which,
    purge_dead_letters,
    redrive_dead_letters,
)
from memsched.service.routes.scheduler import LabelName
from memsched.service.state import Here

T = TypeVar("T", bound=Which)

router = page_router()

_A_PAGE = 50
_MOST_READ = 2_000
"""Of each lane: groups are those of the newest so many."""
_LAST_PAGE = 10_000
_OF_FORM = ("label", "reason", "user_id", "error", "per_second", "all")


@dataclass(slots=True)
class Group:
    """Dead letters of one label that were given up for the same reason, with the same kind of error."""

    label: str
    reason: str
    kind: str
    newest: DeadLetter
    count: int = 0


@router.get("/dead-letters", name="get_dead_letters")
async def get_dead_letters(
    request: Request,
    here: Here,
    _: Operator,
    label: Annotated[LabelName | None, Query()] = None,
    reason: Annotated[Reason | None, Query()] = None,
    user_id: Annotated[UserId | None, Query()] = None,
    item_id: Annotated[ItemId | None, Query()] = None,
    error: Annotated[str, Query(max_length=400)] = "",
    page: Annotated[int, Query(ge=1, le=_LAST_PAGE, strict=False)] = 1,
    did: Annotated[str, Query(max_length=20)] = "",
    count: Annotated[int, Query(ge=0, strict=False)] = 0,
    more: Annotated[str, Query(max_length=5)] = "",
) -> Response:
    """What was given up, and why, the newest first."""
    ids = frozenset([item_id] if item_id else ())
    which = DeadFilter(label or "", reason or "", user_id or "", ids, error=error)
    letters = await here.scheduler.dead_letters()
    found = [each async for each in letters.letters(which, newest_first=True, most_per_lane=_MOST_READ)]
    found.sort(key=lambda letter: letter.last_ms, reverse=True)
    shown = found[_A_PAGE * (page - 1) : _A_PAGE * page]
    hides = here.scheduler.release.asks
    filters = {"label": label, "reason": reason, "user_id": user_id, "item_id": item_id, "error": error}
    return render(
        request,
        "dead_letters.html",
        groups=_groups(found),
        letters=[(letter, None if hides else said(letter.fields)) for letter in shown],
        found=len(found),
        cut=_MOST_READ,
        page=page,
        has_more=len(found) > _A_PAGE * page,
        filters={name: value for name, value in filters.items() if value},
        reasons=REASONS,
        did=(did, count, bool(more)),
    )


def _groups(letters: list[DeadLetter]) -> list[Group]:
    """The largest first."""
    found: dict[tuple[str, str, str], Group] = {}
    for letter in letters:
        key = (letter.lane.label, letter.reason, letter.kind_of_error)
        group = found.setdefault(key, Group(*key, newest=letter))
        group.count += 1
    return sorted(found.values(), key=lambda group: (-group.count, group.label))


@router.post("/ui/dead-letters/redrive", name="post_redrive")
async def post_redrive(request: Request, here: Here, operator: Operator) -> Response:
    """Send those that match again."""
    form = await form_of(request)
    done = await redrive_dead_letters(_asked(ToRedrive, form), here, operator)
    return see("/dead-letters" + _back(form, did="redriven", count=done.sent, more=done.more))


@router.post("/ui/dead-letters/purge", name="post_purge")
async def post_purge(request: Request, here: Here, operator: Operator) -> Response:
    """Delete those that match for good."""
    form = await form_of(request)
    done = await purge_dead_letters(_asked(Which, form), here, operator)
    return see("/dead-letters" + _back(form, did="deleted", count=done.deleted))


def _asked(kind: type[T], form: Mapping[str, str]) -> T:
    """What a form means, as a body of /v1 would say it."""
    given: dict[str, Any] = {name: form[name] for name in _OF_FORM if form.get(name)}
    if form.get("item_id"):
        given["ids"] = [form["item_id"]]
    if "per_second" in given:
        given["per_second"] = float(given["per_second"]) if given["per_second"].replace(".", "", 1).isdecimal() else 0
    given["all"] = form.get("all") == "true"
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None


def _back(form: Mapping[str, str], **more: Any) -> str:
    """The same filter, as the page's own form says it."""
    shown = [(name, form[f"at_{name}"]) for name in ("label", "reason", "user_id", "error") if form.get(f"at_{name}")]
    return query_of(shown, **more)
