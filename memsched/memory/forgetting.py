"""Forgetting: memories leave the store, the word counts and the windows around them for good."""

from __future__ import annotations

from collections.abc import Sequence

from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.supersession import Supersession
from memsched.memory.ingest.windows import Windows
from memsched.memory.search.term_statistics import TermStatistics, terms_of
from memsched.memory.store.store import MemoryStore

_AT_ONCE = 1_000


class Forgetting:
    """Takes memories out of where they are kept. Safe to repeat, by whoever finds it begun and not finished."""

    def __init__(self, store: MemoryStore, terms: TermStatistics) -> None:
        self._store = store
        self._terms = terms
        self._windows = Windows(store)
        self._supersession = Supersession(store)

    async def forget(self, ref: CubeRef, memory_ids: Sequence[str], *, counted: bool = True) -> None:
        """Nobody finds them from now on, also if a reindex replaces the collection meanwhile.

        Args:
            counted: whether their words were counted.
        """
        in_use = None
        while in_use != (in_use := await self._store.in_use(for_sure=True)):
            for at in range(0, len(memory_ids), _AT_ONCE):
                await self._forget(ref, memory_ids[at : at + _AT_ONCE], counted)

    async def _forget(self, ref: CubeRef, memory_ids: Sequence[str], counted: bool) -> None:
        """Each step while the store still knows them: else who repeats it would not know what is left to do.

        First, what they had superseded holds again. Then the words, since their counts need the text. Then the text:
        whoever computes a window from now on has nothing of it. Then the windows that have it.
        """
        known = await self._store.get(ref, memory_ids)
        await self._supersession.release(ref, list(known.values()))
        if counted:
            await self._terms.remove(ref, {name: terms_of(each) for name, each in known.items() if each.text})
        await self._store.patch(ref, {name: {"text": "", "caption": ""} for name in known})
        await self._windows.settle(ref, list(known.values()))
        await self._store.delete(ref, memory_ids)
