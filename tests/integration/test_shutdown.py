"""SIGTERM to real worker processes: what runs may end, the rest is handed back, and nobody pays for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until, wait_until
from support.crew import Crew, Member
from support.messages import message, messages
from support.servers import RedisServer

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.broker.keys import GROUP, NOBODY, Lane

pytestmark = pytest.mark.alone

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture
def crew(real_redis: RedisServer, crews: Callable[..., Crew]) -> Crew:
    return crews(real_redis.url, min_idle_ms=60_000, concurrency=4, prefetch_ms=0, grace_seconds=30)


@pytest.fixture
def scheduler(real_redis: RedisServer, schedulers_at: MakeScheduler) -> AsyncMemScheduler:
    return schedulers_at(real_redis.url)


def lane_of(scheduler: AsyncMemScheduler, label: str = "task") -> Lane:
    return scheduler.keys.lane(label, "", "")


def pending(server: RedisServer, lane: Lane) -> list[dict[str, Any]]:
    return list(server.client.xpending_range(lane.stream, GROUP, "-", "+", 1000))


async def running(scheduler: AsyncMemScheduler, count: int) -> bool:
    return (await scheduler.read_status()).total.running == count


def gated(gate: Path, count: int, label: str = "task") -> list[ScheduleMessageItem]:
    return messages(count, label=label, info={"gate": str(gate)})


@pytest.mark.parametrize("label", ["task", "threaded"])
async def test_what_runs_at_sigterm_may_end_within_the_grace_time(
    crew: Crew, scheduler: AsyncMemScheduler, tmp_path: Path, label: str
) -> None:
    worker = crew.start()
    await scheduler.submit_messages(gated(tmp_path / "gate", 4, label))
    await until(lambda: len(crew.record.lines("begin")) == 4)

    worker.terminate()
    await until(lambda: worker.said("worker.stopping"))
    (tmp_path / "gate").touch()

    assert worker.wait() == 0
    assert len(crew.record.lines("end")) == 4
    status = await scheduler.get_tasks_status()
    assert (status["labels"][label]["backlog"], status["labels"]["effect"]["backlog"]) == (0, 4)
    assert status["workers"] == []


@pytest.mark.parametrize("label", ["task", "threaded"])
async def test_the_rest_is_handed_back_without_using_up_an_attempt(
    crew: Crew, scheduler: AsyncMemScheduler, real_redis: RedisServer, tmp_path: Path, label: str
) -> None:
    worker = crew.start(grace_seconds=0.2, concurrency=4, prefetch_max=100)
    items = gated(tmp_path / "gate", 10, label)
    await scheduler.submit_messages(items)
    await until(lambda: len(crew.record.lines("begin")) == 4)

    begun = time.monotonic()
    worker.terminate()
    code = worker.wait()
    took = time.monotonic() - begun

    assert code == 0
    assert took < 4
    rows = pending(real_redis, lane_of(scheduler, label))
    assert {row["consumer"] for row in rows} <= {NOBODY}
    assert all(row["times_delivered"] == 1 for row in rows)
    assert len(rows) >= 4
    status = await scheduler.get_tasks_status()
    assert {name: status[name] for name in ("backlog", "remaining", "running", "orphaned", "delayed", "dead")} == {
        "backlog": 10,
        "remaining": 10,
        "running": 0,
        "orphaned": 0,
        "delayed": 0,
        "dead": 0,
    }
    consumers = real_redis.client.xinfo_consumers(lane_of(scheduler, label).stream, GROUP)
    assert {row["name"] for row in consumers} <= {NOBODY}

    (tmp_path / "gate").touch()
    crew.start()
    await until(lambda: done(scheduler, label))
    assert crew.record.ids("end") == {item.item_id for item in items}
    assert real_redis.client.xlen(lane_of(scheduler, "effect").stream) == 10


async def done(scheduler: AsyncMemScheduler, label: str) -> bool:
    return (await scheduler.read_status()).labels[label].backlog == 0


async def test_many_shutdowns_never_make_a_dead_letter(
    crew: Crew, scheduler: AsyncMemScheduler, real_redis: RedisServer, tmp_path: Path
) -> None:
    await scheduler.submit_messages(gated(tmp_path / "gate", 1))
    for number in range(1, 5):
        worker = crew.start(grace_seconds=0)
        await until(lambda wanted=number: len(crew.record.lines("begin")) == wanted)
        worker.terminate()
        assert worker.wait() == 0

    ((row),) = pending(real_redis, lane_of(scheduler))

    assert (row["consumer"], row["times_delivered"]) == (NOBODY, 1)
    assert (await scheduler.get_tasks_status())["dead"] == 0


async def test_handed_back_messages_are_taken_at_once_by_a_worker_that_is_there(
    crew: Crew, scheduler: AsyncMemScheduler, tmp_path: Path
) -> None:
    leaving = crew.start(grace_seconds=0)
    await scheduler.submit_messages(gated(tmp_path / "gate", 3))
    await until(lambda: len(crew.record.lines("begin")) == 3)
    staying = crew.start()
    await until(lambda: workers(scheduler, 2))

    leaving.terminate()
    leaving.wait()
    handed_back = time.monotonic()
    await until(lambda: len([line for line in crew.record.lines("begin") if line.pid == staying.pid]) == 3)

    assert time.monotonic() - handed_back < 1.0, "its min idle is a minute"


async def workers(scheduler: AsyncMemScheduler, count: int) -> bool:
    return len((await scheduler.get_tasks_status())["workers"]) == count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_hurries(
    crew: Crew, scheduler: AsyncMemScheduler, real_redis: RedisServer, tmp_path: Path, number: int
) -> None:
    worker = crew.start(grace_seconds=60)
    await scheduler.submit_messages(gated(tmp_path / "gate", 2))
    await until(lambda: len(crew.record.lines("begin")) == 2)

    worker.signal(number)
    await until(lambda: worker.said("worker.stopping"))
    begun = time.monotonic()
    await until(lambda: ended_after(worker, number), "the worker to end")

    assert worker.wait() == 0
    assert time.monotonic() - begun < 4
    assert all(row["times_delivered"] == 1 for row in pending(real_redis, lane_of(scheduler)))


def ended_after(member: Member, number: int) -> bool:
    """Whether it ended; it is signalled until it does, for signals close together count as one."""
    if not member.said("worker.stopped"):
        member.signal(number)
    return not member.running


def told(supervisor: Member, times: int) -> bool:
    if len(supervisor.said("supervisor.told")) >= times:
        return True
    supervisor.terminate()
    return False


async def test_a_second_signal_to_the_supervisor_hurries_its_workers_and_costs_nothing(
    crew: Crew, scheduler: AsyncMemScheduler, real_redis: RedisServer, tmp_path: Path
) -> None:
    supervisor = crew.supervise(2, grace_seconds=60)
    await scheduler.submit_messages(gated(tmp_path / "gate", 4))
    await until(lambda: len(crew.record.lines("begin")) == 4)
    await until(lambda: len(crew.workers()) == 2, "both workers to be there: one may run all four messages")

    supervisor.terminate()
    await until(lambda: len(supervisor.said("worker.stopping")) == 2)
    begun = time.monotonic()
    await until(lambda: told(supervisor, 2), "the supervisor to be told again")

    assert supervisor.wait() == 0
    assert time.monotonic() - begun < 5
    rows = pending(real_redis, lane_of(scheduler))
    assert [(row["consumer"], row["times_delivered"]) for row in rows] == [(NOBODY, 1)] * 4


async def test_a_third_signal_to_the_supervisor_kills(crew: Crew, scheduler: AsyncMemScheduler, tmp_path: Path) -> None:
    supervisor = crew.supervise(1, grace_seconds=60)
    await until(lambda: workers(scheduler, 1))
    (child,) = supervisor.children()
    child.suspend()  # it hears no signal

    await until(lambda: told(supervisor, 3), "the supervisor to be told a third time")

    supervisor.wait(10)
    assert not child.is_running()


async def test_a_worker_that_waits_for_work_stops_at_once(crew: Crew, scheduler: AsyncMemScheduler) -> None:
    worker = crew.start()
    await until(lambda: workers(scheduler, 1))

    begun = time.monotonic()
    worker.terminate()

    assert worker.wait() == 0
    assert time.monotonic() - begun < 2
    assert (await scheduler.get_tasks_status())["workers"] == []


async def test_what_a_waiting_read_was_given_at_the_last_moment_is_not_stranded(
    crew: Crew, scheduler: AsyncMemScheduler, real_redis: RedisServer
) -> None:
    for _ in range(3):
        worker = crew.start()
        await until(lambda: workers(scheduler, 1))
        worker.terminate()
        while worker.running:
            await scheduler.submit_messages(message())
        assert all(row["consumer"] == NOBODY for row in pending(real_redis, lane_of(scheduler)))

    assert (await scheduler.get_tasks_status())["orphaned"] == 0


def test_the_server_may_be_gone_when_a_worker_stops(own_redis: RedisServer, crews: Callable[..., Crew]) -> None:
    worker = _started(crews(own_redis.url, grace_seconds=1))
    own_redis.kill()

    begun = time.monotonic()
    worker.terminate()

    assert worker.wait(20) == 0
    assert time.monotonic() - begun < 12


def _started(crew: Crew) -> Member:
    worker = crew.start()
    wait_until(lambda: worker.said("worker.started"))
    return worker
