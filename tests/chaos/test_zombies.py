"""A worker is stopped beyond its min idle and goes on: what it does with its message must not count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew, Member
from support.messages import message
from support.outcome import effect_count, effects
from support.servers import RedisServer

from memsched import AsyncMemScheduler, ScheduleMessageItem, TaskState
from memsched.broker.keys import GROUP, Lane

DEEDS = ["ack", "raise", "retry", "fail", "submit", "checkpoint", "renew"]
LABELS = ["afterwards", "afterwards in a thread"]
LONG = {(deed, LABELS[1]) for deed in ("raise", "retry", "fail", "submit", "ack")} | {
    (deed, LABELS[0]) for deed in ("raise", "fail", "checkpoint", "renew")
}
"""Ways to end that others like them stand for in `make test`."""


@dataclass
class Scene:
    """The zombie is stopped; another worker has its message and waits in the middle of its own call."""

    crew: Crew
    zombie: Member
    owner: Member
    sent: ScheduleMessageItem
    lane: Lane
    gate: Path
    client: Any

    def open_gate_of(self, member: Member) -> None:
        Path(f"{self.gate}.{member.pid}").touch()

    def server_says(self) -> dict[str, Any]:
        """All that a zombie might change. Not the idle time, which the owner renews."""
        task = self.client.hgetall(self.lane.task(self.sent.user_id, self.sent.item_id))
        (row,) = self.client.xpending_range(self.lane.stream, GROUP, "-", "+", 10)
        return {
            "task": task,
            "owner": row["consumer"],
            "claims": row["times_delivered"],
            "entries": self.client.xrange(self.lane.stream),
            "delayed": self.client.zcard(self.lane.delayed),
            "dead": self.client.xlen(self.lane.dead),
            "effects": effect_count(self.client),
        }


@pytest.fixture
def set_scene(
    make_crew: Callable[..., Crew], scheduler: AsyncMemScheduler, own_redis: RedisServer, tmp_path: Path
) -> Callable[..., Any]:
    async def make(deed: str, label: str) -> Scene:
        crew, gate = make_crew(block_ms=200), tmp_path / "gate"
        zombie = crew.start()
        sent = message(label=label, info={"gate": str(gate), "then": deed})
        await scheduler.submit_messages(sent)
        await until(lambda: crew.record.lines("begin"), "the first worker to run it")
        zombie.pause()
        owner = crew.start()
        await until(lambda: len(crew.record.lines("begin")) == 2, "the second worker to take it over")
        assert crew.record.lines("begin")[1].pid == owner.pid
        return Scene(crew, zombie, owner, sent, scheduler.keys.lane(label, "", ""), gate, own_redis.client)

    return make


@pytest.mark.parametrize(
    ("deed", "label"),
    [
        pytest.param(deed, label, marks=[pytest.mark.long] * ((deed, label) in LONG))
        for label in LABELS
        for deed in DEEDS
    ],
)
async def test_a_zombie_changes_nothing(
    deed: str, label: str, set_scene: Callable[..., Any], scheduler: AsyncMemScheduler
) -> None:
    # given a worker that was stopped in the middle of a call, and another that has taken the message over
    scene: Scene = await set_scene(deed, label)
    before = scene.server_says()

    # when the first one goes on, and its handler does its deed (if it is not cancelled before)
    scene.open_gate_of(scene.zombie)
    scene.zombie.resume()
    await until(lambda: scene.zombie.said("message.lost"), "the zombie to be told")
    if label == "afterwards in a thread":
        await until(lambda: scene.crew.record.lines("acts"), "the zombie's handler to go on")
    if deed in ("checkpoint", "renew") and label == "afterwards in a thread":
        await until(lambda: scene.crew.record.lines("refused"), "the zombie's handler to be refused")

    # then the message is the second one's, as it was, and the zombie holds nothing
    assert scene.server_says() == before
    assert before["owner"] == scene.owner.name
    assert before["task"]["state"] == TaskState.IN_PROGRESS
    assert scene.crew.record.lines("kept") == []
    counts = (await scheduler.read_status()).labels[label]
    assert (counts.backlog, counts.running, counts.delayed, counts.dead) == (1, 1, 0, 0)

    # and what the second one does counts, once
    await finish(scene, deed, scheduler)


async def finish(scene: Scene, deed: str, scheduler: AsyncMemScheduler) -> None:
    scene.open_gate_of(scene.owner)
    scene.gate.touch()  # for those who run it again
    done = {"fail": TaskState.FAILED, "raise": TaskState.FAILED, "retry": TaskState.WAITING}

    async def settled() -> bool:
        status = await scheduler.get_task_status(scene.sent)
        return status is not None and status.state is done.get(deed, TaskState.COMPLETED)

    await until(settled, "the second worker's deed to count")
    assert effects(scene.client)[scene.sent.item_id] == (1 if deed == "submit" else 0)
    assert scene.client.xlen(scene.lane.dead) == (1 if deed in ("fail", "raise") else 0)
    assert scene.client.zcard(scene.lane.delayed) == (1 if deed == "retry" else 0)
    assert [line.more for line in scene.crew.record.lines("begin")[:2]] == ["None", "None"]


@pytest.mark.parametrize("label", LABELS)
async def test_a_zombie_that_comes_back_works_on_as_if_nothing_had_happened(
    label: str, set_scene: Callable[..., Any], scheduler: AsyncMemScheduler
) -> None:
    scene: Scene = await set_scene("submit", label)
    scene.gate.touch()
    scene.zombie.resume()
    await until(lambda: scene.zombie.said("message.lost"), "the zombie to be told")
    scene.owner.kill()
    later = [message(str(number), label=label, cube=str(number), info={"then": "submit"}) for number in range(5)]
    await scheduler.submit_messages(later)

    async def all_done() -> bool:
        return (await scheduler.read_status()).labels[label].backlog == 0

    await until(all_done, "the former zombie to do the work")
    assert set(effects(scene.client)) == {scene.sent.item_id, *(item.item_id for item in later)}
    assert max(effects(scene.client).values()) == 1


async def test_a_paused_worker_that_nobody_replaced_finishes_what_it_had(
    make_crew: Callable[..., Crew], scheduler: AsyncMemScheduler, own_redis: RedisServer, tmp_path: Path
) -> None:
    crew, gate = make_crew(), tmp_path / "gate"
    worker = crew.start()
    sent = message(label="afterwards", info={"gate": str(gate), "then": "submit"})
    await scheduler.submit_messages(sent)
    await until(lambda: crew.record.lines("begin"))
    worker.pause()

    async def orphaned() -> bool:
        return (await scheduler.read_status()).total.orphaned == 1

    await until(orphaned, "its silence to be noticed")
    gate.touch()
    worker.resume()

    async def done() -> bool:
        status = await scheduler.get_task_status(sent)
        return status is not None and status.state is TaskState.COMPLETED

    await until(done)
    assert len(crew.record.lines("begin")) == 1
    assert effects(own_redis.client) == {sent.item_id: 1}
