"""A worker is stopped beyond its min idle and goes on: what it does with its message must not count."""

from __future__ import annotations

import signal

import pytest
from support.chaos_handlers import COUNTED
from support.conditions import until
from support.crew import Crew
from support.messages import message
from support.servers import RedisServer

from memsched import TaskState


@pytest.mark.parametrize("deed", ["ack", "retry", "checkpoint", "submit"])
async def test_a_zombie_changes_nothing(deed: str, make_crew, schedulers_at, own_redis: RedisServer) -> None:
    # given a worker that is stopped in the middle of a call, and another that has taken the message over
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    (first,) = crew.start()
    await crew.ready(1)
    sent = message(deed, label="zombie")
    await scheduler.submit_messages(sent)
    await until((crew.folder / "first.started").exists, "the first worker to run it")
    first.send_signal(signal.SIGSTOP)
    crew.start()
    await until((crew.folder / "second.started").exists, "the second worker to take it over")

    # when the first one goes on, and its handler does its deed
    (crew.folder / "go").touch()
    first.send_signal(signal.SIGCONT)
    await until(lambda: crew.actions("message.lost"), "the zombie to be told")

    # then the message is still the second one's, as it was
    status = (await scheduler.read_status()).labels["zombie"]
    assert (status.backlog, status.running, status.delayed, status.dead) == (1, 1, 0, 0)
    assert own_redis.client.xlen(f"memsched:{{{COUNTED}}}:stream") == 0
    task = own_redis.client.hgetall(f"memsched:{{zombie}}:task:{sent.item_id}")
    assert task["state"] == TaskState.IN_PROGRESS
    assert "checkpoint" not in task
    ((_, owner),) = [(row["message_id"], row["consumer"]) for row in own_redis.client.xpending_range(
        "memsched:{zombie}:stream", "memsched", "-", "+", 10)]  # fmt: skip
    assert f"-{first.pid}-" not in owner

    # and what the second one does counts, once
    (crew.folder / "finish").touch()
    await until(lambda: own_redis.client.xlen("memsched:{zombie}:stream") == 0, "the second worker to finish it")
    assert own_redis.client.xlen(f"memsched:{{{COUNTED}}}:stream") == 1
    finished = await scheduler.get_task_status(sent)
    assert finished is not None
    assert finished.state is TaskState.COMPLETED
    assert crew.lines("zombie")  # it did go on
    assert crew.lines("second.started") == ["null"]
