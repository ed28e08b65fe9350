"""A Redis Cluster of three nodes on this machine: every lane in a slot of its own, follow-ups through the outbox."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from conftest import MakeScheduler
from support.conditions import until, wait_until
from support.messages import message, messages
from support.servers import RedisServer, server_programs

from memsched import HandlerContext, ScheduleMessageItem


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
    await scheduler.wait(user_id="alice", timeout=10)

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
    await scheduler.wait(timeout=20)

    assert runs == ["later"] * 3
