"""``answer``: the agent answered. Which memories did it use? That, and not what was retrieved, is use."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from memsched.handlers.admission import event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import to_ms
from memsched.memory.search.bm25 import TermCounts, stems
from memsched.messages import WORKING_MEMORY_TYPE, ScheduleMessageItem
from memsched.tiers.hot_state import HotState, WorkingMemory, mark_of
from memsched.worker.context import HandlerContext

_LEXICAL_SHARE = 0.5
"""Share of a memory's words, by weight, that occur in an answer which used it. What all memories near by have in common
tells nothing of which of them was used.
"""
_ALIKE = 0.55
"""Cosine similarity from which an answer says what a memory says, in other words."""
_ABOUT_AS_ALIKE = 0.1
"""So much less than the memory that is most alike, another one may have been used as well."""
_FEWEST_COMMON = 2


async def answer(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Records the use of the memories that each answer used, once, however often the message comes.

    Considered is the working set, and what ``info.memory_ids`` names: the memories that the prompt held.
    """
    for message in messages:
        if not message.content.strip():
            continue
        state = await services.states.load(ref)
        near = await _near(services, ref, message, state)
        used = await used_memories(services, ref, message.content, near)
        ids = [memory.memory_id for memory in used]
        at = to_ms(message.timestamp)

        async def compute(
            state: HotState, known: set[str], item_id: str = message.item_id, at: int = at, ids: list[str] = ids
        ) -> HotState:
            return await services.working_sets.recompute(ref, state.with_uses(item_id, at, ids))

        after = state
        if ids:
            _, after = await services.states.change(ref, [mark_of(message.label, message.item_id)], compute)
            await services.store.patch(
                ref,
                {
                    memory_id: {"use_count": use.count, "last_used_at": use.times[-1][0]}
                    for memory_id in ids
                    if (use := after.uses.get(memory_id)) is not None and use.times
                },
            )
        said = f"The answer used {len(used)} of {len(near)} memories: {shown(message.content)}"
        ctx.log(
            event(
                message,
                said,
                from_type=WORKING_MEMORY_TYPE,
                to_type=WORKING_MEMORY_TYPE,
                sizes={"working_memory_size": len(after.working_set)},
                capacity=services.settings.working_set_size,
                metadata=[{"memory_id": each.memory_id, "text": shown(each.said)} for each in used],
            )
        )


async def _near(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, state: HotState
) -> list[WorkingMemory]:
    """The memories that the answer may have used."""
    given = (message.info or {}).get("memory_ids")
    known = {memory.memory_id: memory for memory in state.working_set}
    ids = [str(each) for each in given][:1000] if isinstance(given, list) else []
    fetched = await services.store.get(ref, [memory_id for memory_id in ids if memory_id not in known])
    return [*known.values(), *(WorkingMemory.of(memory, 0.0, {}) for memory in fetched.values())]


async def used_memories(
    services: MemoryServices, ref: CubeRef, text: str, near: Sequence[WorkingMemory]
) -> list[WorkingMemory]:
    """Those that an answer repeats, by words or by meaning; the model is asked instead if that is set."""
    if not near:
        return []
    if services.llm is not None and services.settings.llm_judges_use:
        from memsched.llm.errors import LLMError
        from memsched.llm.judge import used

        try:
            chosen = await used(services.llm, text, [each.said for each in near])
            return [near[number] for number in sorted(chosen)]
        except LLMError as error:
            services.llm.counters.fell_back("used", error)
    words = set(stems(text))
    texts = [set(stems(each.text)) for each in near]
    counts = await services.terms.counts(ref, sorted(words.union(*texts)))
    here = TermCounts(len(near), Counter(stem for theirs in texts for stem in theirs))
    vectors = await services.embedder.embed_documents([text, *(each.text for each in near)])
    likeness = [_cosine(vectors[0], vector) for vector in vectors[1:]]
    alike = max(_ALIKE, max(likeness) - _ABOUT_AS_ALIKE)
    found = []
    for each, theirs, like in zip(near, texts, likeness, strict=True):
        weights = {stem: idf * here.idf(stem) for stem, idf in counts.idfs(theirs).items()}
        total = sum(weights.values())
        common = theirs & words
        share = sum(weights[stem] for stem in common) / total if total else 0.0
        enough = len(common) >= min(_FEWEST_COMMON, len(theirs))
        if (share >= _LEXICAL_SHARE and enough) or like >= alike:
            found.append(each)
    return found


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return dot / lengths if lengths else 0.0
