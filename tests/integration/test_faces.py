"""What a script may do with the sync and the async face: threads, forks, event loops, Ctrl-C, stop at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.conditions import until, wait_until
from support.messages import message
from support.servers import RedisServer

from memsched import AsyncMemScheduler, MemScheduler, ScheduleMessageItem
from memsched.errors import (
    CalledFromOwnLoop,
    LeftInParent,
    MemschedError,
    OtherEventLoop,
    SchedulerStopped,
    WorkerFailed,
)
from memsched.queue.dead_letters import DeadFilter

MakeSync = Callable[..., MemScheduler]


@pytest.fixture
def sync_schedulers(real_redis: RedisServer) -> Iterator[MakeSync]:
    made: list[MemScheduler] = []

    def make(**settings: Any) -> MemScheduler:
        given = {"redis_url": real_redis.url, "memory": False, "grace_seconds": 1.0} | settings
        made.append(MemScheduler(**given))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.stop(0)


def in_threads(count: int, call: Callable[[], Any]) -> list[Any]:
    """What the calls returned or raised; all begin at once."""
    together = threading.Barrier(count)
    results: list[Any] = []

    def run() -> None:
        together.wait()
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def loop_threads() -> int:
    return sum(thread.name == "memsched" for thread in threading.enumerate())


def in_child(call: Callable[[], bool], seconds: float = 20.0) -> int:
    """The exit code of a forked child: 0 if the call said true, 1 if not, 2 if it raised; it is killed when late."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what is tried
        pid = os.fork()
    if pid == 0:
        signal.alarm(int(seconds))
        code = 2
        try:
            code = 0 if call() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- threads -----------------------------------------------------------------------------------------------------


def test_a_handlers_task_that_exits_ends_no_other_and_one_that_cancels_all_is_told(sync_schedulers: MakeSync) -> None:
    odd: list[str] = []
    done: list[str] = []

    async def exits() -> None:
        raise SystemExit(2)

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        what = batch[0].content
        if what not in ("other", *odd):
            odd.append(what)
            if what == "exits":
                await asyncio.wait_for(exits(), 5)
            await asyncio.sleep(0.1)  # until the call that submitted it has returned: it is a task here too
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        await asyncio.sleep(0.2)
        done.append(what)

    scheduler = sync_schedulers(retry_base_ms=1, retry_cap_ms=10)
    scheduler.register_handlers({"task": handle})
    scheduler.start()
    scheduler.submit_messages([message("exits"), message("other")])
    scheduler.wait(timeout=10)
    assert sorted(done) == ["exits", "other"]

    scheduler.submit_messages([message("cancels"), message("other")])
    with pytest.raises(WorkerFailed):
        scheduler.wait(timeout=10)
    assert scheduler.get_tasks_status()["backlog"] > 0
    scheduler.start()
    scheduler.wait(timeout=10)
    assert sorted(done) == ["cancels", "exits", "other", "other"]
    scheduler.stop()


def test_many_threads_that_use_it_first_at_once_share_one_loop(sync_schedulers: MakeSync) -> None:
    before = loop_threads()
    scheduler = sync_schedulers()

    results = in_threads(8, lambda: scheduler.submit_messages(message(label="nobody"))[0].accepted)

    assert results == [True] * 8
    assert loop_threads() == before + 1
    scheduler.stop()
    assert loop_threads() == before


def test_threads_that_start_and_stop_it_at_once_leave_it_stopped_or_running(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.register_handlers({"task": lambda messages: None})

    results = in_threads(6, scheduler.start) + in_threads(6, scheduler.stop)

    assert [error for error in results if error is not None and not isinstance(error, SchedulerStopped)] == []
    assert not scheduler.running
    scheduler.start()
    assert scheduler.running


def test_stop_in_one_thread_ends_the_wait_of_another(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.submit_messages(message(label="nobody"))
    told: list[BaseException] = []

    def wait() -> None:
        try:
            scheduler.wait()
        except MemschedError as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    time.sleep(0.1)
    scheduler.stop()

    waiting.join(10)
    assert [type(error) for error in told] == [SchedulerStopped]


async def test_stop_ends_the_wait_of_another_task(real_redis: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url, memory=False)
    await scheduler.submit_messages(message(label="nobody"))
    waiting = asyncio.create_task(scheduler.wait())
    await asyncio.sleep(0.05)

    await scheduler.stop()

    with pytest.raises(SchedulerStopped):
        await asyncio.wait_for(waiting, 5)


async def test_start_and_stop_at_once_end_in_the_order_in_which_they_were_called(real_redis: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url, memory=False)
    scheduler.register_handlers({"task": lambda messages: None})

    await asyncio.gather(scheduler.start(), scheduler.start(), scheduler.stop(0), scheduler.stop(0))
    assert not scheduler.running
    await asyncio.gather(scheduler.stop(0), scheduler.start())
    assert scheduler.running

    await scheduler.stop(0)


# -- dead letters ------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_redriven_and_purged_without_await(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.register_handlers({"task": lambda messages, context: context.fail(messages[0], "no")})
    scheduler.start()
    items = [message(content, label="task") for content in ("a", "b")]
    scheduler.submit_messages(items)
    scheduler.wait(timeout=10)

    letters = scheduler.dead_letters()
    assert {letter.item_id for letter in letters.letters(DeadFilter())} == {item.item_id for item in items}
    assert letters.redrive(DeadFilter(ids=frozenset({items[0].item_id}))) == 1
    scheduler.wait(timeout=10)
    assert letters.purge(DeadFilter()) == 2
    assert list(letters.letters(DeadFilter())) == []


# -- Ctrl-C ------------------------------------------------------------------------------------------------------


def test_ctrl_c_in_wait_then_stop(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.submit_messages(message(label="nobody"))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        scheduler.wait()

    begun = time.monotonic()
    scheduler.stop()
    assert time.monotonic() - begun < 5


def test_ctrl_c_in_stop_cuts_the_grace_time_short(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers(grace_seconds=60)
    begun, go = threading.Event(), threading.Event()

    def handle(messages: list[ScheduleMessageItem]) -> None:
        begun.set()
        go.wait(20)

    scheduler.register_handlers({"task": handle})
    scheduler.start()
    scheduler.submit_messages(message(label="task"))
    assert begun.wait(10)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scheduler.stop()
    assert time.monotonic() - at < 10
    go.set()

    counts = scheduler.get_tasks_status()["labels"]["task"]
    assert (counts["backlog"], counts["running"], counts["orphaned"]) == (1, 0, 0)


# -- forks -------------------------------------------------------------------------------------------------------


def test_a_forked_child_submits_on_connections_of_its_own(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.submit_messages(message(label="nobody"))

    assert in_child(lambda: scheduler.submit_messages(message(label="nobody"))[0].accepted) == 0

    assert scheduler.get_tasks_status()["backlog"] == 2


def test_a_scheduler_that_was_started_before_the_fork_runs_in_the_parent_only_and_says_so(
    sync_schedulers: MakeSync,
) -> None:
    ran: list[int] = []
    scheduler = sync_schedulers()
    scheduler.register_handlers({"task": lambda messages: ran.append(os.getpid())})
    scheduler.start()

    def child() -> bool:
        with capture_logs() as logs:
            was_running = scheduler.running
            scheduler.submit_messages(message(label="task"))
            scheduler.wait(timeout=10)
        told = [line["event"] for line in logs if line.get("action") == "scheduler.left"]
        return not was_running and not ran and len(told) == 1 and "before a fork" in told[0]

    assert in_child(child) == 0
    assert ran == [os.getpid()]
    scheduler.submit_messages(message(label="task"))
    scheduler.wait(timeout=10)
    assert len(ran) == 2


def test_a_child_may_start_what_its_parent_had_started(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    scheduler.register_handlers({"task": lambda messages: None})
    scheduler.start()

    def child() -> bool:
        scheduler.start()
        live = len(scheduler.get_tasks_status()["workers"])
        scheduler.stop()
        return live == 2 and not scheduler.running

    assert in_child(child) == 0
    assert scheduler.running


def test_a_fork_while_other_threads_call_does_not_hang_the_child(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    over = threading.Event()

    def submit() -> None:
        while not over.is_set():
            scheduler.submit_messages(message(label="nobody"))

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = [in_child(lambda: scheduler.submit_messages(message(label="nobody"))[0].accepted) for _ in range(5)]
    over.set()
    for thread in threads:
        thread.join(10)

    assert codes == [0] * 5


def test_a_queue_in_the_process_is_not_in_its_fork(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers(redis_url="memory://left-in-parent")
    scheduler.submit_messages(message(label="nobody"))

    def child() -> bool:
        with pytest.raises(LeftInParent, match="memory://"):
            scheduler.submit_messages(message(label="nobody"))
        return True

    assert in_child(child) == 0


# -- event loops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["server", "memory://second-loop"])
def test_asyncio_run_may_be_called_again_and_again(real_redis: RedisServer, url: str) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url if url == "server" else url, memory=False)

    for count in (1, 2, 3):
        asyncio.run(scheduler.submit_messages(message(label="nobody")))
        assert asyncio.run(scheduler.get_tasks_status())["backlog"] == count

    asyncio.run(scheduler.stop())


def test_a_loop_that_ends_without_stop_hands_back_what_runs(real_redis: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url, memory=False, concurrency=2)
    begun = 0

    async def handle(messages: list[ScheduleMessageItem]) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(60)

    scheduler.register_handlers({"task": handle})

    async def main() -> None:
        await scheduler.start()
        await scheduler.submit_messages([message(label="task", mem_cube_id=f"c{number}") for number in range(5)])
        await until(lambda: begun == 2)

    asyncio.run(main())

    assert not scheduler.running
    counts = asyncio.run(scheduler.get_tasks_status())
    assert (counts["backlog"], counts["running"], counts["orphaned"], counts["delayed"]) == (5, 0, 0, 0)
    assert counts["workers"] == []
    asyncio.run(scheduler.stop())


async def test_two_loops_at_once_are_refused_with_what_to_do(real_redis: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url, memory=False)
    await scheduler.submit_messages(message(label="nobody"))

    with pytest.raises(OtherEventLoop, match="MemScheduler for any number of threads"):
        await asyncio.to_thread(lambda: asyncio.run(scheduler.get_tasks_status()))

    await scheduler.stop()


async def test_the_sync_face_works_within_a_running_loop(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()

    assert scheduler.submit_messages(message(label="nobody"))[0].accepted
    scheduler.stop()


def test_an_async_handler_that_calls_the_sync_face_is_told_instead_of_hanging(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers(max_errors=0)
    told: list[BaseException] = []

    async def handle(messages: list[ScheduleMessageItem]) -> None:
        try:
            scheduler.submit_messages(message(label="nobody"))
        except MemschedError as error:
            told.append(error)

    scheduler.register_handlers({"task": handle})
    scheduler.start()
    scheduler.submit_messages(message(label="task"))
    scheduler.wait(timeout=10)

    assert [type(error) for error in told] == [CalledFromOwnLoop]


def test_a_sync_handler_may_use_the_scheduler_that_runs_it(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers()
    seen: list[str] = []

    def first(messages: list[ScheduleMessageItem]) -> None:
        scheduler.register_handlers({"second": second})
        scheduler.submit_messages(message(label="second"))

    def second(messages: list[ScheduleMessageItem]) -> None:
        seen.append(messages[0].label)

    scheduler.register_handlers({"first": first})
    scheduler.start()
    scheduler.submit_messages(message(label="first"))
    scheduler.wait(timeout=10)

    assert seen == ["second"]


# -- handlers that are registered while it runs --------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [32, 1])
def test_handlers_may_be_registered_while_it_runs_as_often_as_one_likes(
    sync_schedulers: MakeSync, real_redis: RedisServer, concurrency: int
) -> None:
    """A read waits at the server for each of them, however many there are for few places."""
    url = f"{real_redis.url}?socket_timeout=30"
    scheduler = sync_schedulers(redis_url=url, concurrency=concurrency, block_ms=30_000)
    seen: list[str] = []

    def handler(name: str) -> Callable[[list[ScheduleMessageItem]], None]:
        return lambda messages: seen.extend(name for _ in messages)

    labels = [f"new{number}" for number in range(40)]
    scheduler.register_handlers({"old": handler("old")})
    scheduler.start()
    for label in labels:
        scheduler.register_handlers({label: handler(label)})
        scheduler.submit_messages(message(label=label))
        scheduler.wait(timeout=10)
    for label in labels:
        scheduler.submit_messages(message(label=label))
    scheduler.wait(timeout=10)

    assert sorted(seen) == sorted(2 * labels)


def test_what_waiting_reads_bring_beyond_the_free_places_goes_to_another_worker(sync_schedulers: MakeSync) -> None:
    busy, idle = sync_schedulers(concurrency=1), sync_schedulers(concurrency=1)
    begun, end = threading.Event(), threading.Event()
    ran: list[tuple[str, MemScheduler]] = []

    def take_long(messages: list[ScheduleMessageItem]) -> None:
        begun.set()
        end.wait(30)

    def note(scheduler: MemScheduler) -> Callable[[list[ScheduleMessageItem]], None]:
        return lambda messages: ran.extend((item.content, scheduler) for item in messages)

    busy.register_handlers({"old": note(busy)})
    busy.start()
    for number in range(5):  # each gets a read of its own that waits
        busy.register_handlers({f"new{number}": note(busy)})
        busy.submit_messages(message(label=f"new{number}"))
        busy.wait(timeout=10)
    busy.register_handlers({"old": take_long})
    ran.clear()
    busy.submit_messages(message(label="old"))
    assert begun.wait(10)
    busy.submit_messages(message(str(number), label=f"new{number}") for number in range(5))
    idle.register_handlers({f"new{number}": note(idle) for number in range(5)})
    idle.start()
    wait_until(lambda: len(ran) == 5)
    end.set()

    assert sorted(ran, key=lambda one: one[0]) == [(str(number), idle) for number in range(5)]


def test_a_new_handler_of_a_label_gets_what_has_not_begun(sync_schedulers: MakeSync) -> None:
    scheduler = sync_schedulers(concurrency=1, batch_size=1)
    seen: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def old(messages: list[ScheduleMessageItem]) -> None:
        begun.set()
        go.wait(10)
        seen.append("old")

    scheduler.register_handlers({"task": old})
    scheduler.start()
    scheduler.submit_messages([message(label="task", mem_cube_id=f"c{number}") for number in range(3)])
    assert begun.wait(10)
    scheduler.register_handlers({"task": lambda messages: seen.append("new")})
    go.set()
    scheduler.wait(timeout=10)

    assert seen == ["old", "new", "new"]


async def test_the_async_face_may_register_while_it_runs_too(real_redis: RedisServer) -> None:
    scheduler = AsyncMemScheduler(redis_url=real_redis.url, memory=False)
    seen: list[str] = []
    scheduler.register_handlers({"old": lambda messages: seen.append("old")})
    await scheduler.start()

    scheduler.register_handlers({"new": lambda messages: seen.append("new")})
    await scheduler.submit_messages([message(label="new"), message(label="old")])
    await scheduler.wait(timeout=10)
    assert sorted(seen) == ["new", "old"]

    await scheduler.stop()
