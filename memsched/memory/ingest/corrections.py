"""Corrections: which older memories a newer one revises, by the rule of revision.py, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence, Set
from datetime import timedelta
from itertools import islice, product

from memsched.lexicon import is_question
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import Revision, is_marked, may_correct, revises
from memsched.memory.ingest.short_answers import revision
from memsched.memory.ingest.supersession import Claim, Supersession
from memsched.memory.model import Memory, from_ms
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace

_LOOKED_AT = 10
_SEARCHED_AT_ONCE = 8
_LATER = 8
"""Of what was said later, so many are looked at."""
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

    async def apply(
        self,
        ref: CubeRef,
        added: Sequence[Memory],
        again: Sequence[Memory] = (),
        anew: Set[str] = frozenset(),
    ) -> list[tuple[Memory, Memory]]:
        """Supersede, or link, what new memories revise, and those of them that others revise: with several workers,
        what was said first may come last. Returns (older, newer) of what is superseded.

        Args:
            again: memories that were said again.
            anew: ids of new memories that say what was superseded since.
        """
        claims = _Claims({*anew, *(each.memory_id for each in again)}, only_links=self._only_links)
        pace = Pace()
        statements = [*_whole(added), *_whole(again)]
        asked = await self._late(ref, _whole(added), {each.memory_id for each in added})
        for each in statements:
            if claims.may_revise(each):
                asked.append((each, _until(each)))
            await pace.rest()
        async for one, found in self._with_words_of(ref, asked):
            for other in found:
                claims.add(one, other)
            await pace.rest()
        answers = [each for each in statements if each.answers]
        if answers:
            others = await self._store.answers_to(ref, sorted({each.answers for each in answers}))
            for one, other in product(answers, others):
                claims.add(one, other)
        new = [each for each in added if each.derived_from]
        if not (claims.found or new or again):
            return []
        return await self.supersession.settle(ref, claims.found, new, again)

    async def earlier(self, ref: CubeRef, newer: Memory) -> list[Memory]:
        """What has the words of a memory and was not said after it, the likeliest first."""
        return [each async for _, found in self._with_words_of(ref, [(newer, _until(newer))]) for each in found]

    async def _late(
        self, ref: CubeRef, statements: Sequence[Memory], known: Set[str]
    ) -> list[tuple[Memory, SearchArgs]]:
        """Those of the new statements that come after something that was said later, or said again.

        Args:
            known: ids of all that is new.
        """
        said = [memory for memory in statements if not is_question(memory.text)]
        if not said:
            return []
        times = await self._store.times(ref, len(known) + _LATER, min(memory.at for memory in said))
        others = [each for name, each in times.items() if name not in known]
        if not others:
            return []
        last = from_ms(max(told for _, told in others))
        is_told_again = any(told > at for at, told in others)
        return [(each, _ARGS if is_told_again else _since(each)) for each in said if each.at <= last]

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


def _whole(memories: Sequence[Memory]) -> list[Memory]:
    """Those that are no parts of a long text: that is about several things."""
    long = {source for each in memories if each.part for source in each.sources}
    return [each for each in memories if not each.part and long.isdisjoint(each.sources)]


class _Claims:
    """What memories do to others.

    Args:
        meant: ids of those that say again, or anew, what they say: they may revise whatever revised them.
    """

    def __init__(self, meant: Set[str], *, only_links: bool) -> None:
        self._meant = meant
        self._only_links = only_links
        self._found: dict[tuple[str, str], Claim] = {}

    @property
    def found(self) -> list[Claim]:
        return list(self._found.values())

    def may_revise(self, memory: Memory) -> bool:
        return memory.memory_id in self._meant or memory.last_said is not None or may_correct(memory.text)

    def add(self, one: Memory, other: Memory) -> None:
        """What the one of two that was said last does to the other one."""
        for older, newer in ((one, other), (other, one)):
            is_answer = newer.answers != "" and newer.answers == older.answers
            if not (is_answer or self.may_revise(newer)) or not may_be_about(newer, older):
                continue
            found = self._revision(newer, older)
            if found.verdict == "supersedes" and self._only_links:
                found = Revision("may_revise", found.because)
            if found.verdict != "unrelated":
                self._found[older.memory_id, newer.memory_id] = Claim(older.memory_id, newer.memory_id, found)

    def _revision(self, newer: Memory, older: Memory) -> Revision:
        found = revision(newer, older)
        is_said_again = newer.memory_id in self._meant or newer.order < older.order
        if found.weight or not is_said_again or not revision(older, newer).weight:
            return found
        return Revision("may_revise", "it was said again since")


def _until(memory: Memory) -> SearchArgs:
    return _ARGS.model_copy(update={"until": memory.told + _MOMENT})


def _since(memory: Memory) -> SearchArgs:
    return _ARGS.model_copy(update={"since": memory.at})


def may_be_about(newer: Memory, older: Memory) -> bool:
    """Whether a later memory can revise an earlier one at all, whatever the two say.

    It is of the same voice, and not of the same turn. What people say is compared with what they said, and what was
    taken from their turns with what was taken from others.
    """
    if newer.memory_id == older.memory_id or not newer.is_voice_of(older) or newer.part or older.part:
        return False
    if bool(newer.derived_from) != bool(older.derived_from):
        return False
    if newer.sources.keys() & older.sources.keys() or {*newer.derived_from} & {*older.derived_from}:
        return False
    if newer.last_order == older.last_order:  # of two in one millisecond, the one that revises the other
        back = revises(older, newer).weight
        return back < revises(newer, older).weight or (is_marked(newer.text) and not is_marked(older.text))
    return older.last_order < newer.last_order
