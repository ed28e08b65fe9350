"""Pages: a cube's memories by when they were said, page by page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from memsched.memory.access.permissions import CubeRef
from memsched.memory.filter_language import AllOf, fits
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import InvalidSearch
from memsched.memory.store.conditions import Conditions

if TYPE_CHECKING:
    from memsched.memory.store.store import MemoryStore

ListOrder = Literal["newest", "oldest"]
MOST_OF_A_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Some of a cube's memories.

    Args:
        cursor: what the next page comes after; "" for the last one.
        total: how many there are on all pages.
    """

    memories: Sequence[Memory]
    cursor: str
    total: int


async def page_of(
    store: MemoryStore, ref: CubeRef, conditions: Conditions, *, order: ListOrder, limit: int, cursor: str
) -> MemoryPage:
    """The page after a cursor. Raises InvalidSearch.

    A cursor says when the last memory of its page was said, and which ones of that moment were on the page.
    """
    if order not in get_args(ListOrder):
        raise InvalidSearch(f"order must be newest or oldest, not {order!r:.40}.")
    if type(limit) is not int or not 1 <= limit <= MOST_OF_A_PAGE:
        raise InvalidSearch(f"limit must be a whole number from 1 to {MOST_OF_A_PAGE:,}, not {limit!r:.40}.")
    last, shown = _read(cursor) if cursor else (None, [])
    newest = order == "newest"
    found = await store.by_time(ref, limit + 1, conditions, newest=newest, at_most=last, without=shown)
    memories = found[:limit]
    following = _following(memories, last, shown) if len(found) > limit else ""
    return MemoryPage(memories, following, await store.count(ref, conditions))


async def released_page_of(
    store: MemoryStore,
    ref: CubeRef,
    conditions: Conditions,
    release: Callable[[Sequence[Memory]], list[Memory]],
    *,
    order: ListOrder,
    limit: int,
    cursor: str,
) -> MemoryPage:
    """The same of what may leave, and as it may: what may not is neither counted nor found by what it says.

    It reads all of the cube that the other conditions let through: what a filter asks of a memory, it asks of what the
    reader sees of it. Raises InvalidSearch.
    """
    last, shown = _read(cursor) if cursor else (None, [])
    newest = order == "newest"
    anything = conditions.model_copy(update={"filter": AllOf()})
    page = await page_of(store, ref, anything, order=order, limit=MOST_OF_A_PAGE, cursor="")
    total, memories, more = 0, list[Memory](), False
    while True:
        for each in release(page.memories):
            if not fits(each, conditions.filter):
                continue
            total += 1
            at = to_ms(each.at)
            is_behind = (
                last is None or (at < last if newest else at > last) or (at == last and each.memory_id not in shown)
            )
            more = more or (is_behind and len(memories) == limit)
            if is_behind and len(memories) < limit:
                memories.append(each)
        if not page.cursor:
            return MemoryPage(memories, _following(memories, last, shown) if more else "", total)
        page = await page_of(store, ref, anything, order=order, limit=MOST_OF_A_PAGE, cursor=page.cursor)


def _following(memories: Sequence[Memory], last: int | None, shown: Sequence[str]) -> str:
    """What says where the next page begins."""
    at = to_ms(memories[-1].at)
    same = [each.memory_id for each in memories if to_ms(each.at) == at]
    return _cursor(at, [*shown, *same] if at == last else same)


def _cursor(at: int, shown: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([at, *shown], separators=(",", ":")).encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[int, list[str]]:
    try:
        at, *shown = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        at, shown = None, []
    if type(at) is not int or not 0 <= at < 2**53 or not all(isinstance(each, str) for each in shown):
        raise InvalidSearch("after: it is no cursor of a page.")
    return at, shown
