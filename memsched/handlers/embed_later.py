"""Embed later: a text for which the embedding model gave no vector gets one when the model can give it.

Until then its words find it. The follow-up is a ``mem_update`` that names the memories, and waits longer each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memsched.backoff import backoff
from memsched.handlers.follow_ups import MOST_NAMED, follow_up
from memsched.handlers.services import MemoryServices
from memsched.logs import get_logger, log_fields
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.writer import Written
from memsched.messages import MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext

log = get_logger(__name__)

_FIRST_SECONDS = 60.0
_LONGEST_SECONDS = 86_400.0
_TRIES = 15
"""The last ones are a day apart."""


def embed_later(messages: Sequence[ScheduleMessageItem], written: Mapping[str, Written], ctx: HandlerContext) -> None:
    """Have what these messages left without a vector embedded another time."""
    for message in messages:
        if (result := written.get(message.item_id)) and result.without_vector:
            _again(message, result.without_vector, 0, ctx)


async def embed_again(
    services: MemoryServices, ref: CubeRef, messages: Sequence[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Embed what messages name that were left for later; what gets no vector now either is left again."""
    for message in messages:
        asked = (message.info or {}).get("embed")
        named = asked.get("memory_ids") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(named, list):
            continue
        there = await services.store.get(ref, [each for each in named[:MOST_NAMED] if isinstance(each, str)])
        vectors = await services.embedder.embed_documents([memory.indexed_text for memory in there.values()])
        found = dict(zip(there, vectors, strict=True))
        await services.store.set_dense({memory_id: vector for memory_id, vector in found.items() if any(vector)})
        tries = asked["tries"] if isinstance(asked.get("tries"), int) else _TRIES
        if left := [memory_id for memory_id, vector in found.items() if not any(vector)]:
            if tries < _TRIES:
                _again(message, left, tries, ctx)
            else:
                log.warning(
                    "the embedding model gives no vector for memories; only their words find them",
                    action="embedding.given_up",
                    memory_ids=left[:5],
                    **log_fields(message),
                )


def _again(message: ScheduleMessageItem, memory_ids: Sequence[str], tries: int, ctx: HandlerContext) -> None:
    info = {"embed": {"memory_ids": list(memory_ids[:MOST_NAMED]), "tries": tries + 1}}
    later = follow_up(message, MEM_UPDATE_TASK_LABEL, "", info, beside=["embed", str(tries)])
    delay = backoff(tries, base=_FIRST_SECONDS, cap=_LONGEST_SECONDS, least=0.5)
    ctx.submit(later, delay_ms=round(delay * 1000))
