"""Corrections: which older memories a newer one revises, by the rule of revision.py, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from memsched.lexicon import is_question
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import Revision, is_marked, may_correct, revises
from memsched.memory.ingest.supersession import Claim, Supersession
from memsched.memory.model import Memory
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace

_LOOKED_AT = 10
_MOMENT = timedelta(milliseconds=1)


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
        for newer in added:
            await pace.rest()
            if may_correct(newer.text):
                found = await self.earlier(ref, newer)
                hashes = {each.content_hash for each in found}  # of those that say the same a search gives the newest
                for older in [*found, *(each for each in added if each.content_hash in hashes)]:
                    self._claim(claims, older, newer)
        for older in await self._late(ref, added):
            for newer in await self._found(ref, older, SearchArgs(since=older.at)):
                self._claim(claims, older, newer)
        new = [each for each in added if each.derived_from]
        return await self.supersession.settle(ref, list(claims.values()), new) if claims or new else []

    async def earlier(self, ref: CubeRef, newer: Memory) -> list[Memory]:
        """What has the words of a memory and was not said after it, the likeliest first."""
        return await self._found(ref, newer, SearchArgs(until=newer.at + _MOMENT))

    async def _late(self, ref: CubeRef, added: Sequence[Memory]) -> list[Memory]:
        """Those of the new memories that come after something that was said later."""
        said = [memory for memory in added if not is_question(memory.text)]
        if not said:
            return []
        since = Conditions(since=min(memory.at for memory in said), include_archived=True)
        known = {memory.memory_id for memory in added}
        later = [each for each in await self._store.newest(ref, len(added) + 1, since) if each.memory_id not in known]
        return [memory for memory in said if any(memory.at <= each.at for each in later)]

    async def _found(self, ref: CubeRef, memory: Memory, args: SearchArgs) -> list[Memory]:
        """What has the words of a memory, in the archive too."""
        args = args.model_copy(update={"neighbours": False, "candidates": 30, "include_archived": True})
        results = await self._search.search(ref, memory.indexed_text, _LOOKED_AT, "hybrid", args)
        return [result.memory for result in results if result.memory.memory_id != memory.memory_id]

    def _claim(self, claims: dict[tuple[str, str], Claim], older: Memory, newer: Memory) -> None:
        if not may_correct(newer.text) or not may_be_about(newer, older):
            return
        revision = revises(newer, older)
        if revision.verdict == "supersedes" and self._only_links:
            revision = Revision("may_revise", revision.because)
        if revision.verdict != "unrelated":
            claims[older.memory_id, newer.memory_id] = Claim(older.memory_id, newer.memory_id, revision)


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
