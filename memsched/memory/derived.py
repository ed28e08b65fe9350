"""What was derived from memories: what goes with them when a person deletes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.store.conditions import Conditions

if TYPE_CHECKING:
    from memsched.memory.store.store import MemoryStore

_STATEMENTS = Conditions(kind=["fact", "preference", "event"], include_archived=True)


@dataclass(slots=True)
class Derived:
    """What becomes of a cube when some of its memories are deleted.

    Attributes:
        gone: the memories themselves, what was merged with them, and what was taken from these and nothing else.
        sources: of what was also taken from something else, by id, the sources that are left.
    """

    gone: dict[str, Memory]
    sources: dict[str, dict[str, str]] = field(default_factory=dict)


async def going_with(store: MemoryStore, ref: CubeRef, memories: Sequence[Memory]) -> Derived:
    """What goes with these memories.

    Memories that were merged are one to whoever reads: all of them go. A statement (of a model, or a preference) goes
    with a turn that it was taken from, unless the same was taken from another message too: of one message the turns
    support it together.
    """
    found = Derived(await _merged(store, ref, memories))
    gone = {source for each in found.gone.values() if each.kind == "turn" for source in each.sources}
    if not gone:
        return found
    async for each, _ in store.scan(ref, _STATEMENTS):
        if each.memory_id in found.gone or not gone.intersection(each.sources):
            continue
        messages = {_message_of(source) for source in gone.intersection(each.sources)}
        left = {source: given for source, given in each.sources.items() if _message_of(source) not in messages}
        if left:
            found.sources[each.memory_id] = left
        else:
            found.gone[each.memory_id] = each
    return found


async def _merged(store: MemoryStore, ref: CubeRef, memories: Sequence[Memory]) -> dict[str, Memory]:
    """These memories, and those that were merged into them, or into which they were merged."""
    found = {each.memory_id: each for each in memories}
    look_at: Mapping[str, Memory] = found
    while look_at:
        named = {each.superseded_by for each in look_at.values() if each.superseded_by and is_merged(each)}
        replaced = {older: each.memory_id for each in look_at.values() for older in each.replaces}
        known = await store.get(ref, sorted({*named, *replaced} - found.keys()))
        look_at = {
            memory_id: each
            for memory_id, each in known.items()
            if memory_id in named or (is_merged(each) and each.superseded_by == replaced[memory_id])
        }
        found |= look_at
    return found


def is_merged(memory: Memory) -> bool:
    """Whether it was merged into another one (``mem_organize``), which says the same."""
    return memory.status == "archived" and not memory.archived_because and memory.superseded_by is not None


def _message_of(source: str) -> str:
    return source.rpartition("#")[0]
