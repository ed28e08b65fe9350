"""The server refuses: no message is blamed, one label's trouble stays in it, and nobody says done who cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.conditions import until
from support.messages import message, messages
from support.outcome import dead_letters
from support.servers import RedisServer

from memsched import AsyncMemScheduler, Handler, HandlerContext, ScheduleMessageItem
from memsched.errors import MessagesLost, ServerRefused

MakeScheduler = Callable[..., AsyncMemScheduler]


async def test_a_key_of_the_wrong_type_keeps_only_its_own_label_out(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.content for item in batch)

    scheduler, client = schedulers_at(real_redis.url), real_redis.client
    scheduler.register_handlers(dict.fromkeys(("good", "bad", "other"), handle))
    await scheduler.start()
    key = scheduler.keys.lane("bad", "", "").stream
    client.delete(key)
    client.set(key, "another program's")
    await asyncio.sleep(0.3)
    for number in range(20):
        await scheduler.submit_messages(message(str(number), label="good"))
        await asyncio.wait_for(until(lambda number=number: str(number) in done), 2)

    status = await scheduler.read_status()
    assert "WRONGTYPE" in status.unknown["bad"]
    with pytest.raises(ServerRefused, match="bad"):
        await scheduler.wait(timeout=5)
    late = schedulers_at(real_redis.url)
    late.register_handlers(dict.fromkeys(("good", "bad"), handle))
    await late.start()

    client.delete(key)
    await scheduler.submit_messages(message("again", label="bad"))
    await until(lambda: "again" in done, "the label to come back by itself")
    await scheduler.wait(timeout=10)


async def test_a_server_that_is_full_blames_no_message(own_redis: RedisServer, schedulers_at: MakeScheduler) -> None:
    done: list[str] = []

    async def slow(batch: list[Any]) -> None:
        await asyncio.sleep(30)

    async def quick(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.item_id for item in batch)

    given = {"retry_base_ms": 1, "max_errors": 0}
    leaving, staying = schedulers_at(own_redis.url, **given), schedulers_at(own_redis.url, **given)
    leaving.register_handlers({"task": Handler(slow)})
    staying.register_handlers({"task": Handler(quick)})
    await leaving.start()
    sent = messages(8)
    await leaving.submit_messages(sent)
    await until(lambda: len(leaving._worker.cycle.dispatcher.running()) == 8)  # type: ignore[union-attr]
    await staying.start()
    own_redis.client.config_set("maxmemory", "1mb")
    await leaving.stop(0)
    await asyncio.sleep(1)
    own_redis.client.config_set("maxmemory", 0)
    await staying.wait(timeout=30)

    assert sorted(done) == sorted(item.item_id for item in sent)
    assert not await dead_letters(staying)


async def test_a_server_that_is_full_tells_its_status(own_redis: RedisServer, schedulers_at: MakeScheduler) -> None:
    scheduler = schedulers_at(own_redis.url)
    await scheduler.submit_messages(messages(3))
    own_redis.client.config_set("maxmemory", "1mb")

    with pytest.raises(ServerRefused):
        await scheduler.submit_messages(message("one more"))
    assert (await scheduler.read_status()).total.ready == 3
    assert (await scheduler.scaling())["ready"] == 3


async def test_an_emptied_server_knows_its_labels_again_at_once(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        await asyncio.sleep(0.3)
        done.extend(item.content for item in batch)

    worker, producer = schedulers_at(real_redis.url), schedulers_at(real_redis.url)
    worker.register_handlers({"task": handle})
    await worker.start()
    await producer.submit_messages(message("before"))
    await producer.wait(timeout=10)
    real_redis.client.flushall()
    await producer.submit_messages(message("after"))
    await producer.wait(timeout=20)
    assert done == ["before", "after"]


async def test_wait_does_not_say_done_when_the_server_was_emptied(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(real_redis.url)
    await scheduler.submit_messages([message("lost"), message("lost too")])
    real_redis.client.flushall()

    with pytest.raises(MessagesLost):
        await scheduler.wait(user_id="u", timeout=5)

    await scheduler.submit_messages(message("lost as well"))
    real_redis.client.flushall()
    await scheduler.submit_messages(message("kept"))
    await scheduler.clear()
    with pytest.raises(MessagesLost):
        await scheduler.wait(timeout=5)
    await scheduler.wait(timeout=5)


@pytest.mark.parametrize("command", ["hset", "hincrby", "sadd", "rpush", "zadd", "xadd"])
async def test_what_was_refused_in_the_middle_is_submitted_again_and_runs_once(
    real_redis: RedisServer, schedulers_at: MakeScheduler, command: str
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.item_id for item in batch)

    scheduler, client = schedulers_at(real_redis.url, max_per_user=2), real_redis.client
    scheduler.register_handlers({"task": handle})
    at_once, later = messages(6), messages(2)
    client.execute_command("ACL", "SETUSER", "default", f"-{command}")
    try:
        for _ in range(3):
            for sent, delay in ((at_once, 0.0), (later, 0.1)):
                with suppress(ServerRefused):
                    await scheduler.submit_messages(sent, delay=delay)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    await scheduler.submit_messages(at_once)
    await scheduler.submit_messages(later, delay=0.1)
    await scheduler.start()
    await scheduler.wait(timeout=10)

    assert sorted(done) == sorted(item.item_id for item in [*at_once, *later])


@pytest.mark.parametrize("commands", ["-hset", "-ltrim -lpop"])
async def test_a_worker_that_is_refused_in_the_middle_does_nothing_twice(
    real_redis: RedisServer, schedulers_at: MakeScheduler, commands: str
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
        done.extend(item.item_id for item in batch)
        await asyncio.sleep(0.05)
        context.submit([message("", label="next", item_id=f"{item.item_id}-next") for item in batch])

    async def follow(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.item_id for item in batch)

    scheduler, client = schedulers_at(real_redis.url, max_per_user=2, max_errors=0), real_redis.client
    scheduler.register_handlers({"task": handle, "next": follow})
    sent = messages(12)
    await scheduler.submit_messages(sent[:9])
    await scheduler.submit_messages(sent[9:], delay=0.15)
    await scheduler.start()
    await until(lambda: len(done) >= 2)
    client.execute_command("ACL", "SETUSER", "default", *commands.split())
    await asyncio.sleep(0.5)
    client.execute_command("ACL", "SETUSER", "default", "+@all")
    await scheduler.wait(timeout=20)

    ids = [item.item_id for item in sent]
    assert sorted(done) == sorted([*ids, *(f"{item_id}-next" for item_id in ids)])


async def test_a_parked_message_whose_record_is_another_key_holds_up_no_other(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.item_id for item in batch)

    scheduler, client = schedulers_at(real_redis.url, max_per_user=2), real_redis.client
    scheduler.register_handlers({"task": handle})
    sent, later = messages(8), messages(2)
    await scheduler.submit_messages(sent)
    await scheduler.submit_messages(later, delay=0.1)
    for spoilt in (sent[4], later[0]):
        (key,) = client.scan_iter(f"*:task:*/{spoilt.item_id}")
        client.delete(key)
        client.set(key, "somebody else's")
    await scheduler.start()
    await scheduler.wait(timeout=10)

    assert sorted(done) == sorted(item.item_id for item in [*sent, *later] if item not in (sent[4], later[0]))
    letters = await dead_letters(scheduler)
    assert sorted(letter.item_id for letter in letters) == sorted([sent[4].item_id, later[0].item_id])


@pytest.mark.parametrize("decision", ["retry", "fail"])
async def test_follow_ups_of_a_call_that_also_decides_about_a_message_survive_a_refusal(
    real_redis: RedisServer, schedulers_at: MakeScheduler, decision: str
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
        done.append("parent")
        if done == ["parent"]:
            context.submit([message(str(number), label="next") for number in range(3)])
            if decision == "retry":
                context.retry(batch[0], 0.1)
            else:
                context.fail(batch[0], "no")

    async def follow(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.content for item in batch)

    scheduler, client = schedulers_at(real_redis.url), real_redis.client
    scheduler.register_handlers({"task": handle, "next": follow})
    await scheduler.start()
    target = scheduler.keys.lane("next", "", "").delayed
    client.set(target, "another program's")
    await scheduler.submit_messages(message("parent"))
    await until(lambda: "parent" in done)
    await asyncio.sleep(0.3)
    client.delete(target)
    await scheduler.wait(timeout=20)

    assert sorted(done) == ["0", "1", "2", *["parent"] * (2 if decision == "retry" else 1)]


async def test_a_follow_up_that_its_lane_refuses_holds_up_only_its_parent_and_no_lease(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    calls: list[str] = []

    async def handle(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
        calls.append(batch[0].content)
        if batch[0].content == "leads on":
            context.submit(message("x", label="next"))
        elif batch[0].content == "long":
            await asyncio.sleep(4)

    workers, client = [schedulers_at(real_redis.url) for _ in range(2)], real_redis.client
    for worker in workers:
        worker.register_handlers({"task": Handler(handle, min_idle_ms=1000)})
        await worker.start()
    lane, target = (workers[0].keys.lane(label, "", "") for label in ("task", "next"))
    client.set(target.stream, "another program's")
    await workers[0].submit_messages([message("long", user=f"u{number}") for number in range(4)])
    with capture_logs() as logs:
        await workers[0].submit_messages([message("leads on", user=f"v{number}") for number in range(2)])
        await until(lambda: calls.count("leads on") == 2)
        await asyncio.sleep(1)
    assert {line["label"] for line in logs if line["action"] == "command.refused"} == {"next"}
    begun = asyncio.get_running_loop().time()
    for number in range(30):
        await workers[0].submit_messages(message("quick", user=f"w{number}"))
    await until(lambda: client.xlen(lane.stream) == 6, "the quick ones to be acknowledged")
    assert asyncio.get_running_loop().time() - begun < 1
    await until(lambda: client.xlen(lane.stream) == 2, "the long ones to be done")
    client.delete(target.stream)
    await until(lambda: client.xlen(lane.stream) == 0)

    assert len(calls) == 36, "nothing ran twice"


async def test_a_message_whose_record_is_another_key_keeps_no_neighbour_from_being_acknowledged(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    async def handle(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
        await asyncio.sleep(0.1)  # so that it is marked as running
        for item in batch:
            if item.content == "fail":
                context.fail(item, "no")
            elif item.content == "retry":
                context.retry(item, 0.01)

    scheduler, client = schedulers_at(real_redis.url), real_redis.client
    scheduler.register_handlers({"task": Handler(handle, batch_size=10)})
    lane = scheduler.keys.lane("task", "", "")
    for content in ("done", "fail", "retry"):
        client.set(lane.task("u", content), "another program's")
        client.xadd(lane.stream, {"item_id": content, "user_id": "u", "mem_cube_id": "c", "content": content})
    await scheduler.submit_messages(messages(20))
    begun = asyncio.get_running_loop().time()
    await scheduler.start()
    await scheduler.wait(timeout=10)

    assert asyncio.get_running_loop().time() - begun < 4
    assert sorted(letter.item_id for letter in await dead_letters(scheduler)) == ["fail", "retry"]
    assert client.get(lane.task("u", "done"))
    assert client.ttl(lane.task("u", "done")) == -1


async def test_what_runs_stays_in_its_workers_hands_while_nobody_may_ask_who_owns_it(
    real_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    calls: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        calls.extend(item.item_id for item in batch)
        await asyncio.sleep(0.3)

    scheduler, client = schedulers_at(real_redis.url), real_redis.client
    scheduler.register_handlers({"task": Handler(handle, min_idle_ms=1000)})
    await scheduler.start()
    sent = messages(10)
    await scheduler.submit_messages(sent)
    await until(lambda: len(calls) == 10)
    client.execute_command("ACL", "SETUSER", "default", "-xpending")
    try:
        await asyncio.sleep(1)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    await scheduler.wait(timeout=10)

    assert sorted(calls) == sorted(item.item_id for item in sent)


@pytest.mark.parametrize("key", ["deaths", "parked:v"])
async def test_a_spoilt_key_of_a_lane_slows_nobody_who_does_not_need_it(
    real_redis: RedisServer, schedulers_at: MakeScheduler, key: str
) -> None:
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        done.extend(item.item_id for item in batch)

    scheduler, client = schedulers_at(real_redis.url), real_redis.client
    scheduler.register_handlers({"task": handle})
    lane = scheduler.keys.lane("task", "", "")
    spoilt = lane.deaths if key == "deaths" else lane.parked_of("v")
    client.set(spoilt, "another program's")
    if key != "deaths":
        client.hset(lane.parked, "v", 1)
    await scheduler.start()
    await asyncio.sleep(0.5)
    begun = asyncio.get_running_loop().time()
    await scheduler.submit_messages([message("", user=f"u{number % 10}") for number in range(150)])
    await until(lambda: len(done) == 150 and client.xlen(lane.stream) == 0)

    assert asyncio.get_running_loop().time() - begun < 2
