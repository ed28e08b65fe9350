"""``mem_organize``: tidy a cube: memories that say the same become one, which knows where all of them came from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from memsched.handlers.follow_ups import update_after
from memsched.handlers.memory_events import event, shown, sizes_of
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.deduplication import why_same
from memsched.memory.ingest.retelling import more_trigrams
from memsched.memory.model import Memory, to_ms
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.points import Hit
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext

_PAGE = 64
_ALIKE = 0.85
"""Cosine similarity from which two memories are compared word by word."""
_NEIGHBOURS = 6


async def mem_organize(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Go through the whole cube once for all messages, with a checkpoint after each page."""
    resumed: dict[str, Any] = ctx.resume or {}
    after = str(resumed.get("after") or "")
    merged = int(resumed.get("merged") or 0)
    gone: set[str] = set()
    page: list[tuple[Memory, list[float]]] = []
    ref = cube.ref
    async for each in services.store.scan(ref, Conditions(), with_vectors=True, after=after):
        page.append(each)
        if len(page) == _PAGE:
            merged += await _merge_page(services, ref, page, messages[-1], ctx, gone)
            await ctx.checkpoint({"after": page[-1][0].memory_id, "merged": merged})
            page = []
    merged += await _merge_page(services, ref, page, messages[-1], ctx, gone)
    ctx.log(
        event(
            messages[-1],
            f"Organized: {merged} memories said what others say, and were merged into those",
            from_type=LONG_TERM_MEMORY_TYPE,
            to_type=LONG_TERM_MEMORY_TYPE,
            sizes=await sizes_of(services, ref),
            metadata={"merged": merged},
        )
    )
    if merged:
        ctx.submit(update_after(messages))


async def _merge_page(
    services: MemoryServices,
    ref: CubeRef,
    page: Sequence[tuple[Memory, list[float]]],
    message: ScheduleMessageItem,
    ctx: HandlerContext,
    gone: set[str],
) -> int:
    """Merge the memories of one page with whatever in the cube says the same. Returns how many are gone."""
    hits = await services.store.similar(ref, [vector for _, vector in page], _NEIGHBOURS)
    merged = 0
    for (memory, _), near in zip(page, hits, strict=True):
        if memory.memory_id in gone:
            continue
        group = [memory, *(other for other in _same(memory, near) if other.memory_id not in gone)]
        if len(group) < 2:
            continue
        newest = max(group, key=lambda each: (each.at, each.turn, each.memory_id))
        older = [each for each in group if each is not newest]
        await _merge(services, ref, older, newest)
        gone.update(each.memory_id for each in older)
        merged += len(older)
        becauses = {each.memory_id: why_same(each, newest) or why_same(each, memory) for each in older}
        ctx.log(
            event(
                message,
                f"Merged {len(older)} into: {shown(newest.indexed_text)} ({'; '.join(sorted(set(becauses.values())))})",
                from_type=newest.memory_type,
                to_type=newest.memory_type,
                metadata={
                    "kept": newest.memory_id,
                    "merged": [
                        {
                            "memory_id": each.memory_id,
                            "text": shown(each.indexed_text),
                            "because": becauses[each.memory_id],
                        }
                        for each in older
                    ],
                },
            )
        )
    return merged


def _same(memory: Memory, near: Sequence[Hit]) -> list[Memory]:
    found = [hit.memory() for hit in near if hit.memory_id != memory.memory_id and hit.score >= _ALIKE]
    return [other for other in found if why_same(memory, other) and not _was_parted(memory, other)]


def _was_parted(one: Memory, other: Memory) -> bool:
    """Whether somebody restored the older one since: then they are two."""
    older, newer = sorted((one, other), key=lambda each: each.order)
    return older.confirmed_at is not None and newer.at <= older.confirmed_at


async def _merge(services: MemoryServices, ref: CubeRef, older: Sequence[Memory], newest: Memory) -> None:
    """The newest gets the others' sources first: a crash in between leaves all of them, and the next run ends it."""
    sources: dict[str, str] = {}
    said_again: dict[str, int] = {}
    trigrams: dict[str, int] = {}
    for each in older:
        sources.update(each.sources)
        trigrams.update(each.trigrams)
        said_again.update(each.said_again | {each.memory_id: to_ms(each.at)})
    last_said = {newest.memory_id: max(to_ms(each.told) for each in older)}
    name = newest.memory_id
    await services.store.add_sources(
        ref, {name: sources}, {name: said_again}, last_said, trigrams={name: more_trigrams(newest, trigrams)}
    )
    now = to_ms(datetime.now(UTC))
    value = max(each.importance for each in [*older, newest])
    changes: dict[str, dict[str, Any]] = {
        each.memory_id: {"status": "archived", "superseded_by": newest.memory_id, "updated_at": now} for each in older
    }
    replaces = list(dict.fromkeys([*newest.replaces, *(each.memory_id for each in older)]))
    changes[newest.memory_id] = {"importance": value, "replaces": replaces, "updated_at": now}
    await services.store.patch(ref, changes)
