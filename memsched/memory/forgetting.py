"""Forgetting: memories leave the store and the word counts for good."""

from __future__ import annotations

from collections.abc import Sequence

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.store import MemoryStore

_AT_ONCE = 1_000


class Forgetting:
    """Takes memories out of where they are kept. Safe to repeat, by whoever finds it begun and not finished."""

    def __init__(self, store: MemoryStore, terms: TermStatistics) -> None:
        self._store = store
        self._terms = terms

    async def forget(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        """Words first, while the store still knows them: a word that only these memories had is not kept either."""
        for at in range(0, len(memory_ids), _AT_ONCE):
            part = memory_ids[at : at + _AT_ONCE]
            known = await self._store.get(ref, part)
            await self._terms.remove(ref, {name: stems(each.indexed_text) for name, each in known.items()})
            await self._store.delete(ref, part)
