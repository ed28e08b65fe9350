"""A Redis Cluster of three nodes on this machine: every lane in a slot of its own, follow-ups through the outbox."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from support.conditions import until, wait_until
from support.crew import Crew
from support.handlers import EFFECT
from support.messages import message, messages
from support.servers import RedisServer, server_programs

from memsched import AsyncMemScheduler, Handler, HandlerContext, ScheduleMessageItem

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    if "redis" not in server_programs() or shutil.which("redis-cli") is None:
        pytest.skip("no redis-server and redis-cli on PATH (apt-get install redis-server)")
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]
    nodes = [RedisServer(server_programs()["redis"], port=True, options=options) for _ in range(3)]
    try:
        for node in nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        for node in nodes:
            wait_until(lambda node=node: node.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield f"redis+cluster://{','.join(addresses)}"
    finally:
        for node in nodes:
            node.remove()


async def test_messages_of_all_lanes_are_handled_and_the_status_is_exact(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(cluster_url, prefix="exact", partitions=8)
    handled: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        handled.extend(item.content for item in batch)

    sent = messages(200, cubes=50)
    await scheduler.submit_messages(sent)
    before = await scheduler.read_status()
    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    await scheduler.wait(timeout=30)

    assert before.total.backlog == 200
    assert sorted(handled) == sorted(item.content for item in sent)
    assert (await scheduler.read_status()).total.backlog == 0


@pytest.mark.parametrize("concurrency", [32, 1])
async def test_no_lane_waits_for_the_read_of_another(
    cluster_url: str, schedulers_at: MakeScheduler, concurrency: int
) -> None:
    """Each lane needs a blocked read of its own, and may be quiet for as long as one lasts."""
    url, prefix = f"{cluster_url}?socket_timeout=30", f"lanes{concurrency}"
    scheduler = schedulers_at(url, prefix=prefix, concurrency=concurrency, block_ms=30_000)
    labels, seen = [f"label-{number}" for number in range(24)], []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        seen.extend(item.label for item in batch)

    scheduler.register_handlers(dict.fromkeys(labels, handle))
    await scheduler.start()
    for label in labels:
        await scheduler.submit_messages(message(label=label))
        await scheduler.wait(timeout=10)
    for label in labels:
        await scheduler.submit_messages(message(label=label))
    await scheduler.wait(timeout=10)

    assert sorted(seen) == sorted(2 * labels)


async def test_reads_that_break_off_together_are_one_outage(cluster_url: str, schedulers_at: MakeScheduler) -> None:
    """As when nodes fail over: each outage in a row is waited for longer, and here is one for all lanes."""
    scheduler = schedulers_at(f"{cluster_url}?socket_timeout=30", prefix="breaks", block_ms=30_000)
    labels, seen = [f"label-{number}" for number in range(24)], []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        seen.extend(item.label for item in batch)

    scheduler.register_handlers(dict.fromkeys(labels, handle))
    await scheduler.start()
    nodes = [Redis.from_url(f"redis://{address}") for address in cluster_url.partition("://")[2].split(",")]
    await until(lambda: sum(node.info("clients")["blocked_clients"] for node in nodes) >= 24, "a read for each lane")
    for node in nodes:
        node.client_kill_filter(_type="normal", skipme=True)
        node.close()
    await scheduler.submit_messages([message(label=label) for label in labels])
    await scheduler.wait(timeout=10)

    assert sorted(seen) == sorted(labels)


async def test_follow_ups_reach_their_own_lane_through_the_outbox_once(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(cluster_url, prefix="outbox")
    ended: list[str] = []

    async def first(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        ctx.submit(message(item.content, label=f"second-{int(item.content) % 5}") for item in batch)

    async def second(batch: list[ScheduleMessageItem]) -> None:
        ended.extend(item.content for item in batch)

    scheduler.register_handlers({"task": first} | {f"second-{number}": second for number in range(5)})
    await scheduler.start()
    await scheduler.submit_messages(messages(100))
    await until(lambda: len(ended) >= 100, "all follow-ups to be handled")
    await scheduler.wait(user_id="alice", timeout=30)

    assert sorted(ended, key=int) == [str(number) for number in range(100)]


async def test_failures_are_retried_and_delays_are_kept(cluster_url: str, schedulers_at: MakeScheduler) -> None:
    scheduler = schedulers_at(cluster_url, prefix="retry")
    runs: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        runs.extend(item.content for item in batch)
        if len(runs) < 3:
            raise RuntimeError("not yet")

    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    await scheduler.submit_messages(message("later"), delay=0.1)
    await scheduler.wait(timeout=30)

    assert runs == ["later"] * 3


async def test_a_cubes_messages_stay_in_order_however_many_are_submitted_at_once(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(cluster_url, prefix="order")
    order: list[int] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        order.extend(int(item.content) for item in batch)

    await scheduler.submit_messages(messages(1500, cubes=1))
    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    await scheduler.wait(timeout=30)

    assert order == list(range(1500))


async def test_one_of_a_batch_can_fail_while_the_others_lead_to_follow_ups(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    calls: list[int] = []

    async def handle(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        calls.append(len(batch))
        ctx.fail(batch[0], "no")
        ctx.retry(batch[1], 3600)
        ctx.submit(message(label=EFFECT))

    scheduler = schedulers_at(cluster_url, prefix="mixed")
    await scheduler.submit_messages(messages(4, cubes=1))
    scheduler.register_handlers({"task": Handler(handle, batch_size=32)})
    await scheduler.start()

    async def settled() -> dict[str, Any]:
        labels = (await scheduler.get_tasks_status())["labels"]
        of_task = labels["task"]  # what its outbox still holds, though it was sent on, is its backlog too
        return labels if EFFECT in labels and of_task["running"] == 0 and of_task["backlog"] <= 1 else {}

    labels = await until(settled)

    assert calls == [4]
    assert (labels["task"]["dead"], labels["task"]["delayed"], labels["task"]["backlog"]) == (1, 1, 1)
    assert labels[EFFECT]["backlog"] == 1


async def test_follow_ups_of_a_worker_that_was_killed_are_sent_on_by_another_and_none_twice(
    cluster_url: str, schedulers_at: MakeScheduler, crews: Callable[..., Crew], tmp_path: Path
) -> None:
    pace = {"min_idle_ms": 1000, "beat_seconds": 0.3, "worker_ttl_seconds": 1.5, "max_crashes": 40}
    crew = crews(cluster_url, prefix="kills", max_per_user=0, **pace)
    scheduler = schedulers_at(cluster_url, prefix="kills", beat_seconds=0.3, worker_ttl_seconds=1.5)
    for _ in range(2):
        crew.start()
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(200, cubes=40, info={"sleep": 0.01})
    await scheduler.submit_messages(sent)
    for kills in (1, 2, 3):
        await until(lambda enough=40 * kills: len(crew.record.lines("end")) > enough, "the workers to be in the middle")
        crew.members[kills - 1].kill()
        crew.start()

    server = await scheduler.server()
    lane = scheduler.keys.lane("task", "", "")

    async def finished() -> bool:
        status = await scheduler.read_status()
        return status.labels["task"].backlog == 0 and await server.execute("HLEN", lane.outbox) == 0

    await until(finished, "all to be finished and sent on", seconds=30)
    rows = await server.execute("XRANGE", scheduler.keys.lane(EFFECT, "", "").stream, "-", "+")
    effects = [fields[fields.index(b"content") + 1].decode() for _, fields in rows]
    assert sorted(effects) == sorted(item.item_id for item in sent)
    assert set(crew.record.runs()) == {item.item_id for item in sent}


async def test_waiting_includes_what_is_on_its_way_through_an_outbox(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    handled: list[str] = []

    async def handle(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        handled.append(batch[0].label)
        if hops := int(batch[0].content):
            ctx.submit(message(str(hops - 1), label="b" if batch[0].label == "a" else "a"))

    scheduler = schedulers_at(cluster_url, prefix="hops")
    scheduler.register_handlers({"a": handle, "b": handle})
    await scheduler.start()
    for label in ("a", "b"):
        handled.clear()
        await scheduler.submit_messages(message("30", label=label))
        await scheduler.wait(user_id="alice", timeout=30)
        assert len(handled) == 31


async def test_a_users_burst_is_parked_in_its_lanes_slot_and_moves_in(
    cluster_url: str, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(cluster_url, prefix="fair", partitions=4, max_per_user=2)
    sent = [message(str(number), cube=f"c{number % 6}", user=user) for user in ("a:{b}", "zoë") for number in range(40)]
    await scheduler.submit_messages(sent)
    before = await scheduler.read_status()
    handled: list[str] = []

    async def handle(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        handled.extend(item.user_id + item.content for item in batch)
        if batch[0].content == "0":
            ctx.submit([message(f"late {number}", user=batch[0].user_id) for number in range(5)])

    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    await scheduler.wait(user_id="zoë", timeout=30)
    await scheduler.wait(timeout=30)

    assert (before.total.backlog, before.total.parked) == (80, 80 - 2 * sum(_lanes_of(scheduler, sent)))
    assert len(handled) == len(set(handled)) == 90


def _lanes_of(scheduler: AsyncMemScheduler, sent: list[ScheduleMessageItem]) -> list[int]:
    """How many lanes each user's messages are in."""
    lanes: dict[str, set[str]] = {}
    for item in sent:
        lanes.setdefault(item.user_id, set()).add(scheduler.keys.lane("task", item.user_id, item.mem_cube_id).name)
    return [len(names) for names in lanes.values()]
