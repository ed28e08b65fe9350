"""Corrections: how they are told by their words, and where one supersedes an older memory.

A superseded memory stays, and says by which newer one. It only ranks lower (search/hybrid.py), and what was
superseded can be looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from memsched.lexicon import is_question
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import may_correct, revises
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore

CORRECTION = "correction"
"""The tag of what sounds like a correction, so that it is found again when what it corrects comes after it."""
_LATER_CORRECTIONS = 20
_LOOK_FOR_CORRECTED = SearchArgs(neighbours=False, candidates=30)


class Corrections:
    """Finds which older memories a newer one supersedes, and says so in the store."""

    def __init__(self, store: MemoryStore, search: HybridSearch) -> None:
        self._store = store
        self._search = search

    async def apply(self, ref: CubeRef, added: Sequence[Memory]) -> list[tuple[Memory, Memory]]:
        """Supersede what new memories correct, and those of them that others correct: returns (older, newer)."""
        superseded = []
        for newer in await self._candidates(ref, added):
            if older := await self._corrected_by(ref, newer):
                await self.supersede(ref, older, newer)
                superseded += [(each, newer) for each in older]
        return superseded

    async def supersede(self, ref: CubeRef, older: Sequence[Memory], newer: Memory) -> None:
        """Say of memories that a newer one supersedes them. Both stay."""
        if not older:
            return
        now = to_ms(datetime.now(UTC))
        changes = {each.memory_id: {"superseded_by": newer.memory_id, "updated_at": now} for each in older}
        replaces = list(dict.fromkeys([*newer.replaces, *(each.memory_id for each in older)]))
        version = 1 + max(each.version for each in older)
        await self._store.patch(
            ref, {**changes, newer.memory_id: {"replaces": replaces, "version": version, "updated_at": now}}
        )

    async def _candidates(self, ref: CubeRef, added: Sequence[Memory]) -> list[Memory]:
        """The corrections among new memories, and those that were here before what they correct: with several
        workers, what was said first may come last.
        """
        found = [memory for memory in added if may_correct(memory.text)]
        if said_at := [memory.at for memory in added if not is_question(memory.text)]:
            later = Conditions(tags=[CORRECTION], since=min(said_at), include_archived=True)
            known = {memory.memory_id for memory in added}
            newest = await self._store.newest(ref, _LATER_CORRECTIONS, later)
            found += [memory for memory in newest if memory.memory_id not in known]
        return found

    async def _corrected_by(self, ref: CubeRef, newer: Memory) -> list[Memory]:
        """The older memories of the same subject, said by the same speaker or about the one who corrects."""
        corrected = []
        for result in await self._search.search(ref, newer.indexed_text, 10, "hybrid", _LOOK_FOR_CORRECTED):
            older = result.memory
            if older.memory_id == newer.memory_id or not _is_before(older, newer):
                continue
            if older.superseded_by not in (None, newer.memory_id):
                continue
            if revises(newer, older).verdict == "supersedes":
                corrected.append(older)
        return corrected


def _is_before(older: Memory, newer: Memory) -> bool:
    """Whether a correction may be about what was said: of two in one millisecond, the other one is the correction."""
    if _order(older) == _order(newer):
        return not may_correct(older.text)
    return _order(older) < _order(newer)


def _order(memory: Memory) -> tuple[int, int, int]:
    """Of what was said: by the time as it is stored, in ms."""
    return to_ms(memory.at), memory.turn, memory.part
