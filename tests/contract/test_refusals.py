"""The server refuses: no message is blamed, one label's trouble stays in it, and nobody says done who cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
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
