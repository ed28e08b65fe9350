"""What a language model decides of corrections: what the rule only linked, it supersedes, or parts again.

A pair that it says nothing about, or nothing of use, stays linked. So does all, where it fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from memsched.handlers.services import MemoryServices
from memsched.lexicon import is_question
from memsched.llm.errors import LLMError
from memsched.llm.judge import decisions
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import Revision, revises
from memsched.memory.ingest.supersession import Claim
from memsched.memory.ingest.vital import vital_kind
from memsched.memory.model import Memory

Decided = list[list[str]]
"""Of each pair: the later one's id, the earlier one's, the relation, the words that show it."""
_OFFERED = 5
_MOST_PAIRS = 40


async def ask(services: MemoryServices, ref: CubeRef, said: Sequence[Memory]) -> Decided:
    """What the model says of these turns and what they may be about, in one call. [] where it fails."""
    assert services.reader is not None
    offered: list[tuple[Memory, list[Memory]]] = []
    left = _MOST_PAIRS
    for newer in sorted(said, key=lambda each: (not each.may_revise, each.order)):
        if not left or is_question(newer.text):
            continue
        if earlier := (await _earlier(services, ref, newer))[:left]:
            offered.append((newer, earlier))
            left -= len(earlier)
    if not offered:
        return []
    try:
        found = await decisions(services.reader, [(new.text, [each.text for each in old]) for new, old in offered])
    except LLMError as error:
        services.reader.counters.fell_back("revise", error)
        return []
    return [
        [offered[each.new][0].memory_id, offered[each.new][1][each.earlier].memory_id, each.relation, each.quote]
        for each in found
    ]


async def act_on(services: MemoryServices, ref: CubeRef, decided: Decided) -> list[tuple[Memory, Memory]]:
    """Do what was decided. Returns (older, newer) of what is superseded by it."""
    known = await services.store.get(ref, [each for newer, older, *_ in decided for each in (newer, older)])
    claims, apart = [], []
    for new, old, relation, quote in decided:
        if not (newer := known.get(new)) or not (older := known.get(old)):
            continue
        because = f"the language model takes it from \u201c{quote}\u201d"
        if relation == "revises" and _may_be_put_aside(newer, older):
            claims.append(Claim(old, new, Revision("supersedes", because)))
        elif relation in ("revises", "contradicts"):
            claims.append(Claim(old, new, Revision("may_revise", because)))
        else:
            apart += await _pairs(services, ref, newer, older)
    supersession = services.corrections.supersession
    if apart:
        await supersession.unlink(ref, apart)
    return await supersession.settle(ref, claims) if claims else []


async def _earlier(services: MemoryServices, ref: CubeRef, newer: Memory) -> list[Memory]:
    """What the rule linked, and what else has its words, of the same voice and not taken from it."""
    linked = await services.store.get(ref, list(newer.may_revise))
    found = {**linked, **{each.memory_id: each for each in await services.corrections.earlier(ref, newer)}}
    return [
        each
        for each in found.values()
        if each.is_voice_of(newer)
        and each.order < newer.order
        and each.superseded_by is None
        and newer.memory_id not in each.derived_from
        and not is_question(each.text)
    ][:_OFFERED]


def _may_be_put_aside(newer: Memory, older: Memory) -> bool:
    """Never an allergy, an illness or a medicine by what does not deny that very thing."""
    return not vital_kind(older.text, older.speaker) or revises(newer, older).verdict == "supersedes"


async def _pairs(services: MemoryServices, ref: CubeRef, newer: Memory, older: Memory) -> list[Claim]:
    """The two, and what was taken from each of them."""
    both = await services.store.derived_from(ref, [newer.memory_id, older.memory_id])
    new = [newer, *(each for each in both if newer.memory_id in each.derived_from)]
    old = [older, *(each for each in both if older.memory_id in each.derived_from)]
    return [Claim(before.memory_id, after.memory_id, Revision("unrelated")) for before in old for after in new]
