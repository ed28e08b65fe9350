"""Lists of messages by where they are: what the status counts stands in them, each message once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.servers import RedisServer

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.queue.dead_letters import DeadFilter, kind_of_error
from memsched.queue.listing import (
    PLACES,
    Listed,
    ListFilter,
    Whereabouts,
    count_of_user,
    find_listed,
    list_messages,
)
from memsched.queue.statistics import read_minutes
from memsched.worker.handlers import Handler

ADA, EVE = "ada/ä", "eve"


def message(user: str, number: int, label: str = "job") -> ScheduleMessageItem:
    return ScheduleMessageItem(
        user_id=user, mem_cube_id="c", label=label, content=f"{user} {number}", item_id=f"{user}-{number}"
    )


async def all_pages(scheduler: AsyncMemScheduler, limit: int = 3, **given: Any) -> list[Listed]:
    found: list[Listed] = []
    after, server = "", await scheduler.server()
    while True:
        which = ListFilter(**given)
        page = await list_messages(server, scheduler.keys, scheduler.settings, which, after=after, limit=limit)
        found += page.messages
        if not page.after:
            return found
        after = page.after


@pytest.mark.parametrize("partitions", [1, 3])
async def test_each_message_stands_once_where_the_status_counts_it(make_scheduler: Any, partitions: int) -> None:
    scheduler = make_scheduler(max_per_user=7, partitions=partitions)
    running, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def handle(messages: list[ScheduleMessageItem]) -> None:
        running.release()
        await go_on.wait()

    scheduler.register_handlers({"job": Handler(handle, concurrency=1, batch_size=1)})
    await scheduler.start()
    for user in (ADA, EVE):
        await scheduler.submit_messages([message(user, number) for number in range(10)])
        await scheduler.submit_messages([message(user, number) for number in range(10, 14)], delay=600)
    await scheduler.submit_messages(message(EVE, 99, "other"))
    await running.acquire()
    await scheduler.pause("job")

    counts = (await scheduler.read_status()).labels["job"]
    waiting = counts.remaining - counts.orphaned - counts.delayed - counts.parked
    expected = {"waiting": waiting, "running": counts.running, "parked": counts.parked, "delayed": 8, "orphaned": 0}
    assert counts.running
    assert counts.parked == 6
    everything: list[str] = []
    for state in PLACES:
        found = await all_pages(scheduler, states=(state,), label="job")
        assert len(found) == expected[state], state
        assert {one.state for one in found} <= {state}
        everything += [one.item_id for one in found]
        of_eve = await all_pages(scheduler, states=(state,), label="job", user_id=EVE)
        assert [one.item_id for one in of_eve] == [one.item_id for one in found if one.user_id == EVE]
    assert sorted(everything) == sorted(f"{user}-{number}" for user in (ADA, EVE) for number in range(14))
    assert len(await all_pages(scheduler, limit=2)) == 29
    await _each_is_found(scheduler)
    own = await count_of_user(await scheduler.server(), scheduler.keys, EVE)
    assert (own["job"].unfinished, own["job"].parked, own["job"].delayed, own["other"].unfinished) == (14, 3, 4, 1)
    assert await count_of_user(await scheduler.server(), scheduler.keys, "nobody") == {}
    go_on.set()
    await scheduler.stop()


async def _each_is_found(scheduler: AsyncMemScheduler) -> None:
    """By its record, with what it says."""
    server = await scheduler.server()
    states: set[Whereabouts] = set()
    for one in await all_pages(scheduler, user_id=ADA):
        (task,) = await scheduler.find_tasks(ADA, one.item_id)
        found = await find_listed(server, scheduler.keys, scheduler.settings, task)
        assert found is not None
        assert (found.state, found.item_id, found.fields["content"]) == (one.state, one.item_id, one.fields["content"])
        states.add(found.state)
    assert {"waiting", "parked", "delayed"} <= states


async def test_what_a_dead_worker_holds_is_orphaned_and_what_was_handed_back_waits(any_server: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=any_server.url, memory=False)
    try:
        await scheduler.submit_messages([message(ADA, number) for number in range(3)])
        lane, server = scheduler.keys.lane("job", ADA, "c"), await scheduler.server()
        await server.execute("XGROUP", "CREATE", lane.stream, "memsched", "0")
        for consumer in ("gone", "~"):
            await server.execute("XREADGROUP", "GROUP", "memsched", consumer, "COUNT", 1, "STREAMS", lane.stream, ">")
        for given in ({}, {"user_id": ADA}):
            found = {one.item_id: (one.state, one.worker) for one in await all_pages(scheduler, **given)}
            assert found == {
                f"{ADA}-0": ("orphaned", "gone"),
                f"{ADA}-1": ("waiting", ""),
                f"{ADA}-2": ("waiting", ""),
            }
        assert [one.item_id for one in await all_pages(scheduler, worker="gone")] == [f"{ADA}-0"]
    finally:
        await scheduler.stop()


async def test_the_minutes_of_a_label_add_up_to_its_totals(make_scheduler: Any) -> None:
    scheduler = make_scheduler()
    await scheduler.submit_messages([message(ADA, number) for number in range(3)])
    await scheduler.submit_messages(message(ADA, 9, "other"))
    server = await scheduler.server()
    of_one, of_all = await read_minutes(server, scheduler.keys, 5, "job"), await read_minutes(server, scheduler.keys, 5)
    assert len(of_one) == 5
    assert sum(each.submitted for each in of_one.values()) == 3
    assert sum(each.submitted for each in of_all.values()) == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("KeyError: 'x17'\nTraceback", "KeyError: '…'"),
        ("no answer from 10.0.0.7:6333 after 3.25 s", "no answer from … after … s"),
        ("  item 6f1de0c4-3f0a-5d3c-8b69-0d7c6f3a52c1 is gone", "item … is gone"),
        ("ValueError: bad", "ValueError: bad"),
        ("", ""),
    ],
)
def test_errors_that_differ_in_numbers_only_are_of_one_kind(error: str, kind: str) -> None:
    assert kind_of_error(error) == kind


async def test_dead_letters_are_found_by_the_kind_of_their_error(make_scheduler: Any) -> None:
    scheduler = make_scheduler(max_errors=0)

    async def handle(messages: list[ScheduleMessageItem]) -> None:
        raise ValueError(f"no {messages[0].item_id}" if messages[0].user_id == EVE else "another thing")

    scheduler.register_handlers({"job": Handler(handle, batch_size=1)})
    await scheduler.start()
    await scheduler.submit_messages([message(user, number) for user in (ADA, EVE) for number in range(2)])
    await scheduler.wait(timeout=20)
    letters = await scheduler.dead_letters()
    kinds = {letter.kind_of_error async for letter in letters.letters()}
    assert len(kinds) == 2
    (of_eve,) = [kind for kind in kinds if "another" not in kind]
    assert [letter.user_id async for letter in letters.letters(DeadFilter(error=of_eve))] == [EVE, EVE]
    await scheduler.stop()
