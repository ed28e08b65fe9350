"""A master that dies, or is demoted, under Sentinel: work goes on at its successor, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.certificates import Certificates
from support.conditions import until
from support.crew import Crew
from support.handlers import EFFECT
from support.messages import message, messages
from support.sentinels import WatchedServers
from support.servers import server_programs

from memsched import AsyncMemScheduler
from memsched.errors import ServerUnusable

MakeScheduler = Callable[..., AsyncMemScheduler]


def program() -> str:
    if "redis" not in server_programs():
        pytest.skip("no redis-server on PATH (apt-get install redis-server)")
    return server_programs()["redis"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServers]:
    servers = WatchedServers(program(), tmp_path_factory.mktemp("sentinels"), password="secret")
    try:
        yield servers.start()
    finally:
        servers.remove()


@pytest.fixture
def servers_with_tls(tmp_path: Path) -> Iterator[WatchedServers]:
    servers = WatchedServers(program(), tmp_path, tls=Certificates(tmp_path), password="secret")
    try:
        yield servers.start()
    finally:
        servers.remove()


async def work_goes_on(
    servers: WatchedServers, crew: Crew, scheduler: AsyncMemScheduler, fail: Callable[[], None]
) -> None:
    """With a supervisor and two workers of ``crew``, while ``fail`` makes the replica the master."""
    supervisor = crew.supervise(2)
    await until(lambda: len(supervisor.said("worker.started")) == 2)
    before = messages(100, info={"sleep": 0.02})
    await scheduler.submit_messages(before)
    await until(servers.replicated)
    old = servers.master

    fail()
    during = [message(f"during-{number}") for number in range(50)]
    for item in during:
        await scheduler.submit_messages(item)
        await asyncio.sleep(0.02)

    async def all_are_done() -> bool:
        labels = (await scheduler.get_tasks_status())["labels"]
        return bool(labels["task"]["backlog"] == 0 and labels[EFFECT]["backlog"] == len(before + during))

    await until(lambda: servers.master is not old, "the Sentinels to name another master")
    await until(all_are_done, "every message to have its one follow-up")
    assert {item.item_id for item in before + during} == crew.record.ids("begin")
    assert (await scheduler.read_status()).total.dead == 0
    assert supervisor.running
    assert supervisor.said("worker.died") == []


QUICK = {"min_idle_ms": 1000, "beat_seconds": 0.2, "worker_ttl_seconds": 2, "block_ms": 200}


async def test_what_the_sentinels_say_is_told(servers: WatchedServers, schedulers_at: MakeScheduler) -> None:
    with pytest.raises(ServerUnusable, match="the Sentinels know no service 'other'; they know main"):
        await schedulers_at(servers.url.replace("/main/", "/other/")).submit_messages(message())
    with pytest.raises(ServerUnusable, match="it refuses the user name or the password"):
        await schedulers_at(servers.url.replace("secret", "guess")).submit_messages(message())


async def test_work_goes_on_when_a_master_is_demoted(
    servers: WatchedServers, crews: Callable[..., Crew], schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(servers.url, connect_timeout_seconds=30)
    await work_goes_on(servers, crews(servers.url, **QUICK), scheduler, servers.fail_over)


@pytest.mark.long
async def test_work_goes_on_when_a_master_is_killed_where_all_speak_tls(
    servers_with_tls: WatchedServers, crews: Callable[..., Crew], schedulers_at: MakeScheduler
) -> None:
    servers = servers_with_tls
    scheduler = schedulers_at(servers.url, connect_timeout_seconds=30)
    await work_goes_on(servers, crews(servers.url, **QUICK), scheduler, lambda: servers.master.kill())
