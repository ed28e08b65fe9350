"""What happens when a handler fails: the budgets, the dead letters, and the neighbours that go on."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, contents, message, messages
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, Handler, HandlerContext, ScheduleMessageItem, TaskState
from memsched.errors import InvalidArgument
from memsched.queue.dead_letters import DeadFilter, DeadLetter, drop_old_letters

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


async def started(make_scheduler: MakeScheduler, handlers: dict[str, Any], **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers(handlers)
    await scheduler.start()
    return scheduler


async def test_a_handler_that_always_fails_is_tried_six_times_and_then_a_dead_letter(
    make_scheduler: MakeScheduler,
) -> None:
    tries: list[str] = []

    async def handle(batch: Messages) -> None:
        tries.append(batch[0].item_id)
        raise ValueError("it never works")

    scheduler = await started(make_scheduler, {LABEL: handle})
    sent = message("doomed", info={"keep": "me"})
    await scheduler.submit_messages(sent)
    await scheduler.wait(timeout=30)

    (letter,) = await dead_letters(scheduler)
    assert tries == [sent.item_id] * 6
    assert (letter.reason, letter.error) == ("errors", "ValueError: it never works")
    assert letter.attempts == {"errors": 6, "timeouts": 0, "crashes": 0, "deferrals": 0}
    assert letter.item_id == sent.item_id
    assert letter.fields["info"] == '{"keep":"me"}'
    assert 0 < letter.first_ms <= letter.last_ms
    assert letter.worker
    status = await scheduler.get_task_status(sent)
    assert status is not None
    assert (status.state, status.error) == (TaskState.FAILED, "ValueError: it never works")


async def test_a_failure_delays_the_message_and_not_its_neighbours(make_scheduler: MakeScheduler) -> None:
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        if batch[0].content == "bad" and "bad" not in done:
            done.append("bad")
            raise ValueError("once")
        done.extend(contents(batch))

    scheduler = await started(make_scheduler, {LABEL: handle}, retry_base_ms=60_000)
    await scheduler.submit_messages([message("bad"), message("next")])
    await until(lambda: "next" in done)
    await until(lambda: _delayed(scheduler))

    status = await scheduler.get_tasks_status()
    assert (status["delayed"], status["backlog"], status["running"]) == (1, 1, 0)


async def _delayed(scheduler: AsyncMemScheduler) -> int:
    return int((await scheduler.get_tasks_status())["delayed"])


async def test_an_exception_means_the_whole_batch_again_each_for_itself(make_scheduler: MakeScheduler) -> None:
    calls: list[list[str]] = []

    async def handle(batch: Messages) -> None:
        calls.append(contents(batch))
        if len(batch) > 1:
            raise ValueError("together we fail")

    producer = make_scheduler()
    await producer.submit_messages(messages(3, cubes=1))
    await started(make_scheduler, {LABEL: Handler(handle, batch_size=32)})
    await producer.wait(timeout=30)

    assert calls[0] == ["0", "1", "2"]
    assert sorted(calls[1:]) == [["0"], ["1"], ["2"]]


async def test_a_retry_bears_its_history(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None:
        raise ValueError("no")

    scheduler = await started(make_scheduler, {LABEL: handle}, retry_base_ms=60_000)
    sent = message()
    await scheduler.submit_messages(sent)
    await until(lambda: _delayed(scheduler))

    status = await scheduler.get_task_status(sent)
    assert status is not None
    assert status.state is TaskState.WAITING
    assert status.error == "ValueError: no"
    assert status.due_ms >= status.submitted_ms


async def test_one_of_several_can_fail_alone(make_scheduler: MakeScheduler) -> None:
    tries: Counter[str] = Counter()

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            tries[item.content] += 1
            if item.content == "1":
                ctx.fail(item, "not this one")

    producer = make_scheduler()
    await producer.submit_messages(messages(3, cubes=1))
    scheduler = await started(make_scheduler, {LABEL: Handler(handle, batch_size=32)})
    await scheduler.wait(timeout=30)

    (letter,) = await dead_letters(scheduler)
    assert (letter.reason, letter.error, letter.fields["content"]) == ("rejected", "not this one", "1")
    assert tries == {"0": 1, "1": 1, "2": 1}


async def test_one_of_several_can_be_put_off_without_using_up_a_retry(make_scheduler: MakeScheduler) -> None:
    tries: Counter[str] = Counter()

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            tries[item.content] += 1
            if item.content == "1" and tries["1"] <= 8:
                ctx.retry(item, 0.005)

    producer = make_scheduler()
    await producer.submit_messages(messages(3, cubes=1))
    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    await scheduler.wait(timeout=30)

    assert tries == {"0": 1, "1": 9, "2": 1}
    assert (await scheduler.get_tasks_status())["dead"] == 0


async def test_decisions_hold_although_the_call_fails_afterwards(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            if item.content == "0":
                ctx.fail(item, "decided")
        raise ValueError("the rest")

    producer = make_scheduler()
    await producer.submit_messages(messages(2, cubes=1))
    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    await scheduler.wait(timeout=30)

    letters = {letter.fields["content"]: letter.reason for letter in await dead_letters(scheduler)}
    assert letters == {"0": "rejected", "1": "errors"}


async def test_follow_ups_go_with_what_succeeded_beside_a_failure(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        ctx.fail(batch[0], "no")
        ctx.submit(message(label="effect"))

    producer = make_scheduler()
    await producer.submit_messages(messages(3, cubes=1))
    scheduler = await started(make_scheduler, {LABEL: Handler(handle, batch_size=32)})
    await until(lambda: _label(scheduler, LABEL, backlog=0, dead=1))

    assert await _label(scheduler, "effect", backlog=1)


async def _label(scheduler: AsyncMemScheduler, label: str, **numbers: int) -> bool:
    found = (await scheduler.get_tasks_status())["labels"].get(label, {})
    return all(found.get(name) == number for name, number in numbers.items())


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_handler_that_runs_too_long_is_tried_three_times(make_scheduler: MakeScheduler, kind: str) -> None:
    tries: list[int] = []
    release = threading.Event()

    async def handle(batch: Messages) -> None:
        tries.append(1)
        await asyncio.sleep(60)

    def handle_in_thread(batch: Messages) -> None:
        tries.append(1)
        release.wait(0.3)

    function = handle if kind == "async" else handle_in_thread
    scheduler = await started(make_scheduler, {LABEL: Handler(function, timeout_seconds=0.05)})
    await scheduler.submit_messages(message())
    await scheduler.wait(timeout=30)

    (letter,) = await dead_letters(scheduler)
    assert len(tries) == 3
    assert letter.reason == "timeouts"
    assert "ran longer than it may" in letter.error
    assert letter.attempts["timeouts"] == 3
    assert letter.attempts["errors"] == 0


async def test_a_sync_handler_that_raises_stop_iteration_has_failed(make_scheduler: MakeScheduler) -> None:
    def handle(batch: Messages) -> None:
        next(iter([]))

    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    await scheduler.submit_messages(message())
    await scheduler.wait(timeout=30)

    (letter,) = await dead_letters(scheduler)
    assert "StopIteration" in letter.error


async def test_a_handler_that_cancels_itself_uses_up_its_retries(make_scheduler: MakeScheduler) -> None:
    tries: list[int] = []

    async def handle(batch: Messages) -> None:
        tries.append(1)
        raise asyncio.CancelledError

    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=2)
    await scheduler.submit_messages(message())
    await scheduler.wait(timeout=30)

    assert len(tries) == 3
    assert len(await dead_letters(scheduler, reason="errors")) == 1


MALFORMED: dict[str, tuple[Any, ...]] = {
    "no fields that are known": ("hello", "world"),
    "no user": ("mem_cube_id", "home", "content", "x"),
    "empty user": ("user_id", "", "mem_cube_id", "home", "content", "x"),
    "not UTF-8": ("user_id", b"\xff\xfe", "mem_cube_id", "home", "content", "x"),
    "bad JSON": ("user_id", "u", "mem_cube_id", "home", "content", "x", "info", "{"),
    "unknown version": ("v", "one", "user_id", "u", "mem_cube_id", "home", "content", "x"),
    "bad time": ("user_id", "u", "mem_cube_id", "home", "content", "x", "timestamp", "soon"),
}


async def test_what_is_no_message_goes_to_the_dead_letters_and_its_neighbours_run(
    make_scheduler: MakeScheduler,
) -> None:
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    scheduler = make_scheduler()
    server = await scheduler.server()
    stream = scheduler.keys.lane(LABEL, "", "").stream
    for number, fields in enumerate(MALFORMED.values()):
        await scheduler.submit_messages(message(str(number)))
        await server.execute("XADD", stream, "*", *fields)
    await started(make_scheduler, {LABEL: handle})
    await scheduler.wait(timeout=30)

    letters = await dead_letters(scheduler)
    assert done == [str(number) for number in range(len(MALFORMED))]
    assert len(letters) == len(MALFORMED)
    assert {letter.reason for letter in letters} == {"malformed"}
    assert all(letter.error for letter in letters)
    assert any("wire version 'one' is not known here" in letter.error for letter in letters)
    assert any("user_id: Field required" in letter.error for letter in letters)


async def test_a_malformed_delayed_member_goes_to_the_dead_letters(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    server = await scheduler.server()
    lane = scheduler.keys.lane(LABEL, "", "")
    await scheduler.submit_messages(message("good"), delay=0.01)
    for member in ("no json", "[]", "[1,2]", '{"a":1}', '["key","name",{}]', "null", '["a"]'):
        await server.execute("ZADD", lane.delayed, 1, member)
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, {LABEL: handle})
    await scheduler.wait(timeout=30)

    letters = await dead_letters(scheduler, reason="malformed")
    assert done == ["good"]
    assert sorted(letter.fields["raw"] for letter in letters)[:2] == ['["a"]', '["key","name",{}]']
    assert len(letters) == 7


# -- dead letters ------------------------------------------------------------------------------------------------------


async def with_dead_letters(make_scheduler: MakeScheduler, count: int, **fields: Any) -> AsyncMemScheduler:
    async def handle(batch: Messages) -> None:
        raise ValueError("no")

    scheduler = await started(make_scheduler, {LABEL: handle, "other": handle}, max_errors=0)
    await scheduler.submit_messages(messages(count, **fields))
    await scheduler.wait(timeout=30)
    await scheduler.stop()
    return make_scheduler()


async def test_redriven_messages_run_again_with_all_budgets_renewed(make_scheduler: MakeScheduler) -> None:
    scheduler = await with_dead_letters(make_scheduler, 3)
    before = {letter.item_id for letter in await dead_letters(scheduler)}
    done: Messages = []

    async def handle(batch: Messages) -> None:
        done.extend(batch)

    worker = await started(make_scheduler, {LABEL: handle})
    sent = await (await scheduler.dead_letters()).redrive(DeadFilter())
    await scheduler.wait(timeout=30)

    assert sent == 3
    assert {item.item_id for item in done} == before
    assert await dead_letters(scheduler) == []
    status = await worker.get_task_status(done[0])
    assert status is not None
    assert status.state is TaskState.COMPLETED


async def test_a_redriven_message_counts_as_its_users_again(make_scheduler: MakeScheduler) -> None:
    scheduler = await with_dead_letters(make_scheduler, 1)
    await (await scheduler.dead_letters()).redrive(DeadFilter())

    with pytest.raises(Exception, match="1 unfinished"):
        await scheduler.wait(user_id="alice", timeout=0.05)


async def test_redriving_can_be_filtered_and_limited(make_scheduler: MakeScheduler) -> None:
    scheduler = await with_dead_letters(make_scheduler, 5)
    letters = await scheduler.dead_letters()
    found = await dead_letters(scheduler)
    sent: list[DeadLetter] = []

    by_id = await letters.redrive(DeadFilter(ids=frozenset({found[0].item_id, found[1].dead_id})), on_sent=sent.append)
    none = await letters.redrive(DeadFilter(reason="crashes"))
    limited = await letters.redrive(DeadFilter(user_id="alice"), limit=2)

    assert (by_id, none, limited) == (2, 0, 2)
    assert {letter.item_id for letter in sent} == {found[0].item_id, found[1].item_id}
    assert len(await dead_letters(scheduler)) == 1


async def test_redriving_slowly_takes_its_time(make_scheduler: MakeScheduler) -> None:
    scheduler = await with_dead_letters(make_scheduler, 4)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    assert await (await scheduler.dead_letters()).redrive(DeadFilter(), per_second=20) == 4

    assert loop.time() - begun >= 0.15


async def test_nobody_waits_after_the_last_one_and_no_rate_is_for_ever(make_scheduler: MakeScheduler) -> None:
    letters = await (await with_dead_letters(make_scheduler, 1)).dead_letters()

    for rate in (0, -1, math.nan):
        with pytest.raises(InvalidArgument, match="above 0"):
            await letters.redrive(DeadFilter(), per_second=rate)
    async with asyncio.timeout(10):
        assert await letters.redrive(DeadFilter(), per_second=5e-324) == 1


async def test_purged_letters_are_gone(make_scheduler: MakeScheduler) -> None:
    scheduler = await with_dead_letters(make_scheduler, 250)
    letters = await scheduler.dead_letters()

    assert await letters.purge(DeadFilter(label="other")) == 0
    assert await letters.purge(DeadFilter(), limit=30) == 30
    assert await letters.purge(DeadFilter()) == 220
    assert (await scheduler.get_tasks_status())["dead"] == 0


async def test_a_foreign_message_keeps_its_identity_from_its_death_to_its_resurrection(
    make_scheduler: MakeScheduler,
) -> None:
    seen: Messages = []

    async def handle(batch: Messages) -> None:
        seen.extend(batch)
        if len(seen) == 1:
            raise ValueError("no")

    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    server = await scheduler.server()
    stream = scheduler.keys.lane(LABEL, "", "").stream
    await server.execute("XADD", stream, "*", "user_id", "u", "mem_cube_id", "c", "content", "x")
    await scheduler.wait(timeout=30)
    await until(lambda: dead_letters(scheduler))
    (letter,) = await dead_letters(scheduler)
    await (await scheduler.dead_letters()).redrive(DeadFilter())
    await scheduler.wait(timeout=30)

    assert letter.item_id == seen[0].item_id == seen[1].item_id
    assert seen[0].timestamp == seen[1].timestamp
    assert [len(await _tasks(server, scheduler)), len(await dead_letters(scheduler))] == [1, 0]


async def _tasks(server: Any, scheduler: AsyncMemScheduler) -> list[Any]:
    return list(await server.execute("KEYS", f"{scheduler.keys.lane(LABEL, '', '').task_prefix}*"))


async def test_dead_letters_are_kept_for_as_long_as_the_setting_says(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None: ...

    scheduler = await started(make_scheduler, {LABEL: handle})
    server, lane = await scheduler.server(), scheduler.keys.lane(LABEL, "", "")
    now = int((await server.execute("TIME"))[0])
    for days in (*[40] * 120, 31, 29, 1):
        await server.execute("XADD", lane.dead, f"{(now - days * 86_400) * 1000}-*", "content", days)

    assert await drop_old_letters(server, lane, 30) == 121

    assert [letter.fields["content"] for letter in await dead_letters(scheduler)] == ["29", "1"]
    assert await drop_old_letters(server, lane, 100_000) == 0, "so many days ago there was no time yet"


class Boom(BaseException):
    pass


class Hostile(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise Boom(name)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_exception_of_which_nothing_can_be_asked_fails_its_message_only(
    make_scheduler: MakeScheduler, kind: str
) -> None:
    def handle_in_thread(batch: Messages) -> None:
        if batch[0].content == "bad":
            raise Hostile

    async def handle(batch: Messages) -> None:
        handle_in_thread(batch)

    scheduler = make_scheduler(max_errors=0)
    scheduler.register_handlers({LABEL: handle if kind == "async" else handle_in_thread})
    await scheduler.start()
    await scheduler.submit_messages([bad := message("bad"), good := message("good", cube="other")])
    await scheduler.wait(timeout=30)

    states = [await scheduler.get_task_status(one) for one in (bad, good)]
    assert [one and one.state for one in states] == [TaskState.FAILED, TaskState.COMPLETED]
    assert scheduler.running
