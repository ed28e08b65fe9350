"""``answer``: the agent answered. Which memories did it use? That, and not what was retrieved, is use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from memsched.errors import InvalidMessage
from memsched.handlers.activation_update import keep_warm
from memsched.handlers.follow_ups import MOST_NAMED, upkeep_after
from memsched.handlers.mem_update import LONGEST_TALK_CHARACTERS, described, thread_of
from memsched.handlers.memory_events import event, shown
from memsched.handlers.services import MemoryServices
from memsched.lexicon import stems
from memsched.llm.errors import LLMError
from memsched.llm.judge import used
from memsched.logs import get_logger, log_fields
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import clamped, id_within, to_ms
from memsched.memory.search.bm25 import TermCounts
from memsched.messages import LONG_TERM_MEMORY_TYPE, WORKING_MEMORY_TYPE, ScheduleMessageItem
from memsched.policy.talk import TalkEvent
from memsched.tiers.hot_state import HotState, Use, WorkingMemory, mark_of
from memsched.worker.context import HandlerContext

log = get_logger(__name__)

_LEXICAL_SHARE = 0.5
"""Share of a memory's words, by weight, that occur in an answer which used it. What all memories near by have in common
tells nothing of which of them was used.
"""
_ALIKE = 0.55
"""Cosine similarity from which an answer says what a memory says, in other words."""
_ABOUT_AS_ALIKE = 0.1
"""So much less than the memory that is most alike, another one may have been used as well."""
_FEWEST_COMMON = 2
_PREFERENCES = 10


async def answer(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Record what each answer used, once, however often the message comes.

    Two things are kept. The log, which values memories, credits two of those that its question's search found. The
    count of uses, which people see, is of those that the answer repeats, out of the working set, what
    ``info.memory_ids`` names (the memories that the prompt held), and the newest preferences.
    """
    for message in messages:
        if message.content.strip():
            try:
                await _record_use(services, cube, message, ctx)
            except InvalidMessage as error:
                ctx.fail(message, error)


async def _record_use(
    services: MemoryServices, cube: CubeView, message: ScheduleMessageItem, ctx: HandlerContext
) -> None:
    ref = cube.ref
    text, at = message.content.strip()[:LONGEST_TALK_CHARACTERS], to_ms(clamped(message.timestamp))
    name = id_within(ref, message.user_id, message.item_id)
    said = TalkEvent(event_id=name, kind="answer", at=at, text=text, thread=thread_of(message))
    state = await services.states.load(ref)
    near = await _near(services, ref, message, state)
    used_ones = await used_memories(services, ref, message.content, near)
    ids = [memory.memory_id for memory in used_ones]

    async def compute(state: HotState, _: set[str]) -> HotState:
        if state.emptied != cube.emptied:  # since it was admitted: what it says is over
            return await services.working_sets.recompute(ref, state)
        before = await services.states.uses(ref, ids)
        uses = {memory_id: before.get(memory_id, Use(0, 0)).again(at) for memory_id in ids}
        return await services.working_sets.recompute(ref, state.with_talk([said]).model_copy(update={"uses": uses}))

    before, state = await services.states.change(ref, [mark_of(message.label, name)], compute)
    counted = await services.states.uses(ref, ids)
    state = await services.working_sets.with_upkeep(ref, before, state.model_copy(update={"uses": counted}))
    if state.upkeep:
        ctx.submit(upkeep_after(message, state.upkeep))
    await services.store.patch(
        ref, {memory_id: {"use_count": use.count, "last_used_at": use.last} for memory_id, use in counted.items()}
    )
    await keep_warm(services, ref, state, message, ctx)
    sizes, capacity = {"working_memory_size": len(state.working_set)}, services.settings.working_set_size
    if change := described(before, state):
        ctx.log(
            event(
                message,
                change["said"],
                from_type=LONG_TERM_MEMORY_TYPE,
                to_type=WORKING_MEMORY_TYPE,
                sizes=sizes,
                capacity=capacity,
                metadata=change,
            )
        )
    ctx.log(
        event(
            message,
            f"The answer used {len(used_ones)} of {len(near)} memories: {shown(message.content)}",
            from_type=WORKING_MEMORY_TYPE,
            to_type=WORKING_MEMORY_TYPE,
            sizes=sizes,
            capacity=capacity,
            metadata=[{"memory_id": each.memory_id, "text": shown(each.said)} for each in used_ones],
        )
    )


async def _near(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, state: HotState
) -> list[WorkingMemory]:
    """The memories that the answer may have used: also preferences that are not near.

    What is named and is no memory of the cube is left out. Raises InvalidMessage if ``info.memory_ids`` is no list.
    """
    named = _named(message)
    known = {memory.memory_id: memory for memory in state.working_set}
    ids = list(named)
    members = (await services.working_sets.members(ref)).values()
    ids += [each.memory_id for each in members if each.kind == "preference" and each.available][-_PREFERENCES:]
    fetched = await services.store.get(ref, [memory_id for memory_id in ids if memory_id not in known])
    if unknown := set(named) - known.keys() - fetched.keys():
        log.info(
            "an answer names memories that the cube does not have; they are left out",
            action="answer.unknown_memories",
            count=len(unknown),
            **log_fields(message),
        )
    return [*known.values(), *(WorkingMemory.of(memory, 0.0, {}) for memory in fetched.values())]


def _named(message: ScheduleMessageItem) -> list[str]:
    given = (message.info or {}).get("memory_ids")
    if given is None:
        return []
    if not isinstance(given, list):
        raise InvalidMessage(f"info.memory_ids must be a list of ids, not {type(given).__name__}")
    return [str(each) for each in given[:MOST_NAMED]]


async def used_memories(
    services: MemoryServices, ref: CubeRef, text: str, near: Sequence[WorkingMemory]
) -> list[WorkingMemory]:
    """Those that an answer repeats, by words or by meaning; the model is asked instead if that is set."""
    if not near:
        return []
    if services.llm is not None and services.settings.llm_judges_use:
        try:
            chosen = await used(services.llm, text, [each.said for each in near])
            return [near[number] for number in sorted(chosen)]
        except LLMError as error:
            services.llm.counters.fell_back("used", error)
    by_words = await _repeated_in_words(services, ref, text, near)
    by_meaning = await _repeated_in_meaning(services, text, near)
    return [each for number, each in enumerate(near) if number in by_words or number in by_meaning]


async def _repeated_in_words(
    services: MemoryServices, ref: CubeRef, text: str, near: Sequence[WorkingMemory]
) -> set[int]:
    """Of which memories the answer repeats enough words, by their place in ``near``."""
    words = set(stems(text))
    texts = [set(stems(each.text)) for each in near]
    counts = await services.terms.counts(ref, sorted(words.union(*texts)))
    here = TermCounts(len(near), Counter(stem for theirs in texts for stem in theirs))
    found = set()
    for number, theirs in enumerate(texts):
        weights = {stem: idf * here.idf(stem) for stem, idf in counts.idfs(theirs).items()}
        total = sum(weights.values())
        common = theirs & words
        share = sum(weights[stem] for stem in common) / total if total else 0.0
        if share >= _LEXICAL_SHARE and len(common) >= min(_FEWEST_COMMON, len(theirs)):
            found.add(number)
    return found


async def _repeated_in_meaning(services: MemoryServices, text: str, near: Sequence[WorkingMemory]) -> set[int]:
    """Which memories the answer says in other words, by their place in ``near``."""
    vectors = np.array(await services.embedder.embed_documents([text, *(each.text for each in near)]))
    likeness = vectors[1:] @ vectors[0]  # of length 1, or of none
    enough = max(_ALIKE, float(likeness.max()) - _ABOUT_AS_ALIKE)
    return set(np.flatnonzero(likeness >= enough).tolist())
