"""Collects the evidence from the stores, when the talk is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memsched.demo.conversation import ALICE, ALLERGY, BOB, CUBES, MAX, PEANUT_BUTTER, TREAT, WHERE
from memsched.demo.evidence import Evidence, Found, Passage
from memsched.demo.worker_processes import Kill
from memsched.errors import CubeForbidden, UnknownCube
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, memory_id_for
from memsched.messages import ADD_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import TaskState

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

_SEARCHES = 40
_FOR_BOB = (MAX, TREAT, PEANUT_BUTTER, ALLERGY, WHERE)


async def collect_evidence(scheduler: AsyncMemScheduler, evidence: Evidence, stored: set[str]) -> None:
    """Fill in all that can be asked for.

    Args:
        stored: the ids of messages that were remembered when their worker died.
    """
    services = await scheduler.memory()
    memories: dict[str, Memory] = {}
    for user, cube in CUBES.items():
        evidence.by_user[user] = set()
        async for memory, _ in services.store.scan(CubeRef(user, cube)):
            memories[memory.memory_id] = memory
            evidence.by_user[user].add(memory.memory_id)
            for source, reference in memory.sources.items():
                evidence.sources[reference or source] += 1
                evidence.texts[reference or source] = memory.text
    for memory in memories.values():
        if memory.superseded_by is not None:
            correction = memories.get(memory.superseded_by)
            evidence.replaced[memory.text] = correction.text if correction else ""
    evidence.done = await _done(scheduler, evidence.messages)
    if evidence.kill is not None:
        evidence.passages = [await _passage(scheduler, each, evidence.kill, stored) for each in evidence.kill.held]
    evidence.where = await _search(scheduler, WHERE, ALICE)
    evidence.others = {query: await _search(scheduler, query, BOB) for query in _FOR_BOB}
    evidence.refused = await _is_refused(scheduler)
    evidence.search_ms = await _search_times(scheduler)


async def remembered(services: MemoryServices, messages: Sequence[ScheduleMessageItem]) -> set[str]:
    """The ids of those messages whose utterance is in the store."""
    found: set[str] = set()
    for user, cube in CUBES.items():
        ref = CubeRef(user, cube)
        ids = {
            memory_id_for(ref, message.item_id, 0, 0): message.item_id
            for message in messages
            if message.label == ADD_LABEL and message.user_id == user
        }
        found |= {ids[memory_id] for memory_id in await services.store.get(ref, list(ids))} if ids else set()
    return found


async def _done(scheduler: AsyncMemScheduler, messages: Sequence[ScheduleMessageItem]) -> int:
    """How many of them are completed, by the record that the server keeps of each."""
    statuses = [await scheduler.get_task_status(message) for message in messages]
    return sum(status is not None and status.state is TaskState.COMPLETED for status in statuses)


async def _passage(scheduler: AsyncMemScheduler, message: ScheduleMessageItem, kill: Kill, stored: set[str]) -> Passage:
    what = message.content if message.label == ADD_LABEL else f"{message.label} {message.content}".strip()
    status = await scheduler.get_task_status(message)
    if status is None or status.state is not TaskState.COMPLETED:
        return Passage(what, "", 0.0, 0.0, message.item_id in stored)
    # The server's clock is this machine's: it runs here.
    started, finished = (max(0.0, at - kill.at * 1000) for at in (status.started_ms, status.finished_ms))
    twice = message.item_id in stored and status.worker != kill.worker_id
    return Passage(what, status.worker or kill.worker_id, started, finished, twice)


async def _search(scheduler: AsyncMemScheduler, query: str, user: str) -> list[Found]:
    results = await scheduler.retriever.search(query, user, CUBES[user])
    return [Found(each.memory, each.id) for each in results]


async def _is_refused(scheduler: AsyncMemScheduler) -> bool:
    """Whether Bob gets nothing of Alice's cube under the name that it would have if she shared it."""
    try:
        return not await scheduler.retriever.search(MAX, BOB, f"{ALICE}/{CUBES[ALICE]}")
    except (CubeForbidden, UnknownCube):
        return True


async def _search_times(scheduler: AsyncMemScheduler) -> list[float]:
    queries = [(query, user) for user in CUBES for query in (TREAT, WHERE, "Where was there fried fish for supper?")]
    times = []
    for number in range(_SEARCHES):
        query, user = queries[number % len(queries)]
        began = time.perf_counter()
        await scheduler.retriever.search(query, user, CUBES[user])
        times.append((time.perf_counter() - began) * 1000)
    return times
