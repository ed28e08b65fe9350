"""What must be true after any accident: nothing lost, no fenced effect twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.broker.keys import Keys
from memsched.queue.dead_letters import DeadFilter, DeadLetter
from support.conditions import until
from support.crew import Crew
from support.handlers import EFFECT


def effect_count(client: Any) -> int:
    lane = Keys().lane(EFFECT, "", "")
    return int(client.xlen(lane.stream)) + int(client.hget(lane.parked, "") or 0)


def effects(client: Any) -> Counter[str]:
    """How often each message left its fenced effect: in the stream of the follow-ups' lane, or parked there."""
    lane = Keys().lane(EFFECT, "", "")
    found = [fields["content"] for _, fields in client.xrange(lane.stream)]
    for user in client.hkeys(lane.parked):
        for member in client.lrange(f"{lane.parked}:{user}", 0, -1):
            _, *texts = json.loads(member)
            found.append(texts[texts.index("content") + 1])
    return Counter(found)


async def dead_letters(scheduler: AsyncMemScheduler, **which: Any) -> list[DeadLetter]:
    return [letter async for letter in (await scheduler.dead_letters()).letters(DeadFilter(**which))]


async def all_finished(scheduler: AsyncMemScheduler, label: str = "task", *, seconds: float = 60.0) -> None:
    """Until nothing of this label is left to do; of any label, if that is empty."""

    async def finished() -> bool:
        status = await scheduler.read_status()
        return (status.labels[label] if label else status.total).backlog == 0

    await until(finished, f"all {label} messages to be finished", seconds=seconds)


async def assert_nothing_lost_and_nothing_twice(
    crew: Crew, client: Any, scheduler: AsyncMemScheduler, sent: Iterable[ScheduleMessageItem]
) -> set[str]:
    """Every message ran, and either left exactly one effect or is a dead letter. Gives the dead ones' ids."""
    ids = {item.item_id for item in sent}
    left = effects(client)
    dead = {letter.item_id for letter in await dead_letters(scheduler)}
    assert set(crew.record.runs()) >= ids - dead, "some never ran"
    assert set(left) | dead == ids, "some were lost"
    assert set(left) & dead == set(), "some are both done and dead"
    assert max(left.values(), default=0) <= 1, "some were counted twice"
    return dead
