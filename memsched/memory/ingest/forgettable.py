"""What a request to forget names among what is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import ForgetRequest, named_among
from memsched.memory.model import Memory
from memsched.memory.search.arguments import SearchArgs

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import HybridSearch

_LOOKED_AT = 30
FORGOTTEN = "forgotten"
"""In the ``info`` of a message: ids of what was archived already, as its turn asks."""
EVERYTHING = (
    "To forget everything about somebody is to empty the cube, for good: delete_all does it, at the call of whoever "
    "may. Nothing was archived."
)


async def memories_named(
    search: HybridSearch, ref: CubeRef, asked: ForgetRequest, user_id: str, speaker: str
) -> list[Memory]:
    """The memories that a request means, archived ones too: those of who asks. What others said is theirs.

    Args:
        user_id: who asks. speaker: by which name they speak in the cube.
    """
    if asked.is_all:
        return []
    args = SearchArgs(neighbours=False, include_archived=True)
    found = [each.item for each in await search.search(ref, asked.what, _LOOKED_AT, "hybrid", args)]
    own = {speaker}
    if user_id == ref.user_id:
        own |= {"", "assistant"} if asked.is_topic else {""}
    theirs = [each for each in found if (each.speaker or each.said_by) in own or _is_by(each, user_id)]
    return [theirs[number] for number in named_among(asked, [each.text for each in theirs])]


def _is_by(memory: Memory, user_id: str) -> bool:
    return memory.by_user and (memory.added_by or memory.user_id) == user_id
