"""What happened to a cube's memories has a log of its own: no other cube pushes it out, and deletions reach it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.memories import idle, memories_of, said

from memsched import AsyncMemScheduler
from memsched.broker.scripting import as_texts
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import Permission
from memsched.messages import ScheduleLogForWebItem
from memsched.queue.events import append_event

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
SECRET, OTHER = "The code of the safe is quixotic seven.", "I live in Lisbon."


async def raw(scheduler: AsyncMemScheduler, key: str) -> list[str]:
    reply = await (await scheduler.server()).execute("XRANGE", key, "-", "+")
    return [" ".join(as_texts(fields)) for _, fields in reply]


def events_of(scheduler: AsyncMemScheduler, user_id: str = "alice", name: str = "home") -> str:
    return scheduler.keys.cube(user_id, name).events


async def started(quick_schedulers: Callable[..., AsyncMemScheduler], **settings: Any) -> AsyncMemScheduler:
    scheduler = quick_schedulers(**settings)
    await scheduler.start()
    return scheduler


async def test_a_busy_cube_pushes_no_other_cubes_past_out(quick_schedulers: Callable[..., AsyncMemScheduler]) -> None:
    scheduler = await started(quick_schedulers, events_maxlen=1, cube_events_maxlen=300)
    for minute, label, text in ((0, "add", OTHER), (1, "query", "Where do I live?"), (2, "answer", OTHER)):
        await scheduler.submit_messages(said(text, minute, label))
        await idle(scheduler)
    (mine,) = await memories_of(scheduler)
    before = await scheduler.history("alice", "home", mine.memory_id)
    server = await scheduler.server()
    for number in range(250):
        theirs = ScheduleLogForWebItem(
            user_id="mallory",
            mem_cube_id="m",
            label="add",
            from_memory_type="a",
            to_memory_type="b",
            log_content=str(number),
        )
        await append_event(server, scheduler.keys, scheduler.settings, ("mallory", "m"), theirs)

    assert {"used", "moved"} <= {each.what for each in before}
    assert not any("alice" in each for each in await raw(scheduler, scheduler.keys.events))
    assert await scheduler.history("alice", "home", mine.memory_id) == before
    days = int(await server.execute("TTL", events_of(scheduler))) / 86_400
    assert scheduler.settings.cube_events_days - 1 < days <= scheduler.settings.cube_events_days


async def test_a_guests_events_are_the_cubes_and_a_deletion_reaches_them(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = await started(quick_schedulers)
    await scheduler.submit_messages(said(OTHER))
    await idle(scheduler)
    cubes = Cubes(await scheduler.server(), scheduler.keys, scheduler.settings)
    await cubes.share("alice", "home", "bob", Permission.WRITE, name="hers", accepted=True)
    await scheduler.submit_messages(said(SECRET, 1, user_id="bob", mem_cube_id="hers"))
    await idle(scheduler)
    services = await scheduler.memory()
    ref = await services.reading("alice", "home")
    secret = next(each for each in await memories_of(scheduler) if each.text == SECRET)
    assert any("quixotic" in each for each in await raw(scheduler, events_of(scheduler)))
    assert await raw(scheduler, events_of(scheduler, "bob", "hers")) == []

    await services.deletion.delete(ref, [secret], user_id="alice", name="home")

    left = await raw(scheduler, events_of(scheduler))
    assert not any("quixotic" in each for each in left)
    assert any("Lisbon" in each for each in left)

    await services.deletion.delete_all(ref, user_id="alice", name="home")
    assert [("All memories were deleted" in each) for each in await raw(scheduler, events_of(scheduler))] == [True]
