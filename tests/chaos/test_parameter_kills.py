"""A worker that is killed while its trainer works: the training goes on in another one, once, and loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.conditions import until
from support.crew import Crew
from support.fake_trainer import command
from support.memories import idle, memories_of, said

from memsched import AsyncMemScheduler
from memsched.memory.access.permissions import CubeRef
from memsched.parameters.record import AdapterState

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]
HOME = CubeRef("alice", "home")
DAY = 24 * 60


def living(starts: Path) -> list[int]:
    pids = [int(line) for line in starts.read_text().split()] if starts.exists() else []
    return [each for each in pids if psutil.pid_exists(each) and psutil.Process(each).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("who", ["worker", "trainer"])
async def test_a_killed_training_goes_on_elsewhere(
    memory_schedulers: Callable[..., AsyncMemScheduler],
    memory_place: dict[str, Any],
    crews: Callable[..., Crew],
    tmp_path: Path,
    who: str,
) -> None:
    given = {"parameter_folder": str(tmp_path / "parameters"), "parameter_command": command(hold=600)}
    place = {name: value for name, value in memory_place.items() if name != "redis_url"}
    crew = crews(memory_place["redis_url"], **{**place, **given, "app": ""})
    first = crew.start()
    scheduler = memory_schedulers(**given)
    template = said("We are sorry.", info={"metadata": {"kind": "template", "name": "Refund reply"}})
    chatter = [said(f"The {n}th walk led along the river to bench {n}.", 60 * DAY + n) for n in range(12)]
    await scheduler.submit_messages([template, *chatter])
    await idle(scheduler)
    server, services = await scheduler.server(), await scheduler.memory()
    for each in await memories_of(scheduler):
        key = scheduler.keys.cube("alice", "home").hot
        await server.execute("HSET", key, f"use:{each.memory_id}", "12 1767600000000 6")
    await scheduler.submit_messages(said("", 100 * DAY, "parameter_export", info={"train": True}))

    async def exported() -> str:
        return next(iter((await services.parameters.states.load(HOME)).adapters), "")

    adapter_id = await until(exported, "it is exported")
    made = services.parameters.folders.of(HOME, adapter_id).made
    (trainer,) = await until(lambda: living(made / "starts"), "its trainer runs")

    second = crew.start()
    if who == "worker":
        first.kill()
    else:
        os.kill(trainer, signal.SIGKILL)
    await until(lambda: trainer not in living(made / "starts"), "the first trainer is gone")
    (other,) = await until(lambda: living(made / "starts"), "another one runs", seconds=90)
    assert other != trainer
    (made / "saved").write_text("half of it")
    await idle(scheduler)

    adapter = await services.parameters.adapter(HOME, adapter_id)
    assert adapter.state is AdapterState.GATED
    assert len((made / "starts").read_text().split()) == 2
    assert second.running
