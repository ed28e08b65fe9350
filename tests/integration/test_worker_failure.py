"""A worker of which a part fails ends as a whole, and is replaced; a worker whose log cannot be written goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew
from support.messages import message
from support.outcome import all_finished, effects
from support.servers import RedisServer

from memsched import AsyncMemScheduler
from memsched.errors import WorkerFailed

MakeScheduler = Callable[..., AsyncMemScheduler]


async def test_a_worker_whose_tasks_are_cancelled_is_replaced(
    real_redis: RedisServer, schedulers_at: MakeScheduler, tmp_path: Path
) -> None:
    crew = Crew(tmp_path, real_redis.url)
    try:
        supervisor = crew.supervise(1)
        await until(crew.workers, "a worker")
        (first,) = crew.workers()
        scheduler = schedulers_at(real_redis.url)
        await scheduler.submit_messages(bad := message("bad", info={"cancel_all": True, "sleep": 0.5}))
        await until(lambda: crew.record.runs()[bad.item_id] == 1, "it to run")
        await until(lambda: [pid for pid in crew.workers() if pid != first], "another worker")
        failed = [line["worker_id"] for line in supervisor.said("worker.failed")]
        assert len(failed) == len(set(failed)) >= 1, "each says so once; the next one may have met the message by now"
        real_redis.client.delete(scheduler.keys.lane("task", "", "").stream)  # or it does it again
        await scheduler.submit_messages(good := message("good"))
        await until(lambda: effects(real_redis.client)[good.item_id] == 1, "the other one to be done")
        supervisor.terminate()
        assert supervisor.wait() == 0
    finally:
        crew.end()


async def test_a_scheduler_whose_worker_failed_says_so_and_can_be_started_again(
    real_redis: RedisServer, schedulers_at: MakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def handle(batch: list[Any]) -> None:
        done.extend(item.content for item in batch)

    class Boom(BaseException):
        pass

    scheduler = schedulers_at(real_redis.url)
    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    worker = scheduler._worker
    assert worker is not None
    assert worker.running

    async def fails() -> bool:
        raise Boom("inside")

    with monkeypatch.context() as broken:
        broken.setattr(worker.cycle, "_turn", fails)
        await scheduler.submit_messages(message("one"))
        worker.cycle.wake()
        await until(lambda: not worker.running, "the failure to be seen")
        await until(lambda: not real_redis.client.zcard(scheduler.keys.workers), "the goodbye")
    await scheduler.submit_messages(message("two"))
    with pytest.raises(WorkerFailed, match=r"2 unfinished; call start\(\)"):
        await scheduler.wait(timeout=10)
    await scheduler.start()
    await scheduler.wait(timeout=10)
    assert sorted(done) == ["one", "two"]


@pytest.mark.parametrize("log", ["that has no reader", "on a full disk"])
async def test_a_worker_goes_on_and_can_be_stopped_with_a_log(
    real_redis: RedisServer, schedulers_at: MakeScheduler, tmp_path: Path, log: str
) -> None:
    crew = Crew(tmp_path, real_redis.url, max_errors=0)
    reader, writer = (os.open("/dev/full", os.O_WRONLY),) * 2 if log == "on a full disk" else os.pipe()
    output = writer if log == "on a full disk" else None
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers"),
            env=crew.environment(processes=1, log_format="console"),
            stdout=output,
            stderr=writer,
        )
        if reader != writer:
            os.close(writer)
        scheduler = schedulers_at(real_redis.url)
        await until(lambda: real_redis.client.zcard(scheduler.keys.workers), "a worker")
        os.close(reader)
        bad = [message(str(number), cube=str(number), info={"fail": True}) for number in range(3)]
        await scheduler.submit_messages(bad)
        await scheduler.submit_messages(good := message("good", cube="good"))
        await all_finished(scheduler)
        assert effects(real_redis.client)[good.item_id] == 1
        assert (await scheduler.read_status()).total.dead == 3
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        crew.end()
        if process.returncode is None:
            process.kill()
