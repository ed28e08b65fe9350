"""What a request to forget names among what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from memsched.memory.access.permissions import CubeRef
from memsched.memory.derived import going_with
from memsched.memory.ingest.forget_requests import ForgetRequest, named_among, of_what_was, tells_a_change
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchArgs

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import HybridSearch
    from memsched.memory.store.store import MemoryStore

_LOOKED_AT = 30
FORGOTTEN = "forgotten"
"""In the ``info`` of a message: ids of what was archived already, as its turn asks."""
EVERYTHING = (
    "To forget everything about somebody is to empty the cube, for good: delete_all does it, at the call of whoever "
    "may. Nothing was archived."
)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and where in what was said: a request reaches what was said before it, in whatever order it came.

    Args:
        speaker: by which name they speak in the cube.
        message: what their message is called within the cube (``id_within``); "" for one that is not stored yet.
        position: the place of the request in it.
    """

    user_id: str
    speaker: str
    at: datetime
    message: str = ""
    position: int = 0

    def was_told(self, memory: Memory) -> bool:
        """Whether it was said before they asked, and neither again nor restored since. What was said at the same time
        in their message, its place says.
        """
        told, asked = to_ms(memory.told), to_ms(self.at)
        if memory.restored_at is not None and to_ms(memory.restored_at) >= asked:
            return False
        beside = [source.rpartition("#") for source in memory.sources]
        here = [int(place) for message, _, place in beside if message == self.message]
        return max(here) < self.position if here and told == asked else told <= asked


async def memories_named(
    store: MemoryStore, search: HybridSearch, ref: CubeRef, asked: ForgetRequest, asker: Asker
) -> list[Memory]:
    """The memories that a request means, and what was taken from them, archived ones too: those of who asks.

    What others said is theirs, and what was said later is not meant.
    """
    if asked.is_all:
        return []
    args = SearchArgs(neighbours=False, include_archived=True)
    meant: dict[str, Memory] = {}
    for each in asked.each:
        found = [hit.item for hit in await search.search(ref, each.what, _LOOKED_AT, "hybrid", args)]
        if named := named_of(found, ref, each, asker):
            gone = (await going_with(store, ref, named)).gone.values()
            meant |= {memory.memory_id: memory for memory in _theirs(list(gone), ref, each, asker)}
    return list(meant.values())


def named_of(memories: Sequence[Memory], ref: CubeRef, asked: ForgetRequest, asker: Asker) -> list[Memory]:
    """Which of these memories a request means."""
    found: dict[str, Memory] = {}
    for each in asked.each:
        theirs = _theirs(memories, ref, each, asker)
        named = [theirs[number] for number in named_among(each, [memory.text for memory in theirs])]
        found |= {memory.memory_id: memory for memory in named or _what_was(theirs, each)}
    return list(found.values())


def _what_was(memories: Sequence[Memory], asked: ForgetRequest) -> list[Memory]:
    """What "my old address" means: what something newer took the place of; or all there is, where a change is told."""
    if (plain := of_what_was(asked)) is None:
        return []
    named = [memories[number] for number in named_among(plain, [memory.text for memory in memories])]
    before = [memory for memory in named if memory.superseded_by or memory.may_be_revised_by]
    return before or (named if len(named) == 1 and tells_a_change(asked) else [])


def _theirs(memories: Sequence[Memory], ref: CubeRef, asked: ForgetRequest, asker: Asker) -> list[Memory]:
    own = {asker.speaker}
    if asker.user_id == ref.user_id:
        own |= {"", "assistant"} if asked.is_topic else {""}
    return [
        each
        for each in memories
        if ((each.speaker or each.said_by) in own or _is_by(each, asker.user_id)) and asker.was_told(each)
    ]


def _is_by(memory: Memory, user_id: str) -> bool:
    return memory.by_user and (memory.added_by or memory.user_id) == user_id
