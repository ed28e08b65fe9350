"""Corrections: which older memories a newer one revises, by the rule of revision.py, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from itertools import islice

from memsched.lexicon import is_question
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import Revision, is_marked, may_correct, revises
from memsched.memory.ingest.supersession import Claim, Supersession
from memsched.memory.model import Memory, from_ms
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace

_LOOKED_AT = 10
_SEARCHED_AT_ONCE = 8
_MOMENT = timedelta(milliseconds=1)
_ARGS = SearchArgs(neighbours=False, candidates=30, include_archived=True)


class Corrections:
    """Finds what revises what, and says so in the store.

    Args:
        only_links: put nothing aside: a language model decides later, and what the rule would put aside is linked.
    """

    def __init__(self, store: MemoryStore, search: HybridSearch, *, only_links: bool = False) -> None:
        self._store = store
        self._search = search
        self._only_links = only_links
        self.supersession = Supersession(store)

    async def apply(self, ref: CubeRef, added: Sequence[Memory]) -> list[tuple[Memory, Memory]]:
        """Supersede, or link, what new memories revise, and those of them that others revise: with several workers,
        what was said first may come last. Returns (older, newer) of what is superseded.
        """
        claims: dict[tuple[str, str], Claim] = {}
        pace = Pace()
        revisers: list[Memory] = []
        same: dict[str, list[Memory]] = {}
        for each in added:
            same.setdefault(each.content_hash, []).append(each)
            if may_correct(each.text):
                revisers.append(each)
            await pace.rest()
        async for newer, found in self._with_words_of(ref, map(_until, revisers)):
            # Of those that say the same a search gives the newest.
            also = (each for hash_ in {each.content_hash: None for each in found} for each in same.get(hash_, ()))
            for older in {each.memory_id: each for each in (*found, *also)}.values():
                self._claim(claims, older, newer)
            await pace.rest()
        async for older, found in self._with_words_of(ref, map(_since, await self._late(ref, added))):
            for newer in found:
                if may_correct(newer.text):
                    self._claim(claims, older, newer)
            await pace.rest()
        new = [each for each in added if each.derived_from]
        return await self.supersession.settle(ref, list(claims.values()), new) if claims or new else []

    async def earlier(self, ref: CubeRef, newer: Memory) -> list[Memory]:
        """What has the words of a memory and was not said after it, the likeliest first."""
        return [each async for _, found in self._with_words_of(ref, [_until(newer)]) for each in found]

    async def _late(self, ref: CubeRef, added: Sequence[Memory]) -> list[Memory]:
        """Those of the new memories that come after something that was said later."""
        said = [memory for memory in added if not is_question(memory.text)]
        if not said:
            return []
        known = {memory.memory_id for memory in added}
        since = Conditions(since=min(memory.at for memory in said), include_archived=True)
        times = await self._store.times(ref, len(added) + 1, since)
        last = max((at for name, at in times.items() if name not in known), default=None)
        return [] if last is None else [memory for memory in said if memory.at <= from_ms(last)]

    async def _with_words_of(
        self, ref: CubeRef, asked: Iterable[tuple[Memory, SearchArgs]]
    ) -> AsyncIterator[tuple[Memory, list[Memory]]]:
        """Each of these with what has its words, in the archive too."""
        left = iter(asked)
        while some := list(islice(left, _SEARCHED_AT_ONCE)):
            queries = [(memory.indexed_text, args) for memory, args in some]
            found = await self._search.search_each(ref, queries, _LOOKED_AT)
            for (memory, _), results in zip(some, found, strict=True):
                yield memory, [each.item for each in results if each.id != memory.memory_id]

    def _claim(self, claims: dict[tuple[str, str], Claim], older: Memory, newer: Memory) -> None:
        if not may_be_about(newer, older):
            return
        revision = revises(newer, older)
        if revision.verdict == "supersedes" and self._only_links:
            revision = Revision("may_revise", revision.because)
        if revision.verdict != "unrelated":
            claims[older.memory_id, newer.memory_id] = Claim(older.memory_id, newer.memory_id, revision)


def _until(memory: Memory) -> tuple[Memory, SearchArgs]:
    return memory, _ARGS.model_copy(update={"until": memory.at + _MOMENT})


def _since(memory: Memory) -> tuple[Memory, SearchArgs]:
    return memory, _ARGS.model_copy(update={"since": memory.at})


def may_be_about(newer: Memory, older: Memory) -> bool:
    """Whether a later memory can revise an earlier one at all, whatever the two say.

    It is of the same voice, and not of the same turn. What people say is compared with what they said, and what was
    taken from their turns with what was taken from others.
    """
    if newer.memory_id == older.memory_id or newer.voice != older.voice:
        return False
    if bool(newer.derived_from) != bool(older.derived_from):
        return False
    if newer.sources.keys() & older.sources.keys() or {*newer.derived_from} & {*older.derived_from}:
        return False
    if newer.order == older.order:  # of two in one millisecond, the one that revises the other
        back = revises(older, newer).weight
        return back < revises(newer, older).weight or (is_marked(newer.text) and not is_marked(older.text))
    return older.order < newer.order
