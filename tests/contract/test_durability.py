"""A server that may drop what it accepted is refused where a worker begins, and told of while one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.servers import RedisServer

from memsched import AsyncMemScheduler
from memsched.broker.client import Server
from memsched.broker.durability import Durability
from memsched.errors import SettingsError

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture
def evicting(any_server: RedisServer) -> Iterator[Callable[[str], RedisServer]]:
    """The server with an eviction policy, and a limit that makes it one."""

    def set_policy(policy: str) -> RedisServer:
        any_server.client.config_set("maxmemory-policy", policy)
        any_server.client.config_set("maxmemory", "1gb")
        return any_server

    yield set_policy
    any_server.client.config_set("maxmemory", 0)
    any_server.client.config_set("maxmemory-policy", "noeviction")


async def start(scheduler: AsyncMemScheduler) -> list[dict[str, Any]]:
    """What is logged of the server when the worker begins."""

    async def handle(messages: Any) -> None:
        pass

    scheduler.register_handlers({"task": handle})
    with capture_logs() as logs:
        await scheduler.start()
    return [row for row in logs if row["action"].startswith("server.")]


async def test_a_worker_refuses_a_server_that_drops_messages_and_says_what_to_set(
    evicting: Callable[[str], RedisServer], schedulers_at: MakeScheduler
) -> None:
    url = evicting("allkeys-lru").url

    with pytest.raises(SettingsError, match="allkeys-lru.* to noeviction, or MEMSCHED_ALLOW_EVICTION=true"):
        await start(schedulers_at(url))
    (row,) = await start(schedulers_at(url, allow_eviction=True))
    assert (row["action"], row["log_level"], row["policy"]) == ("server.evicts", "error", "allkeys-lru")


async def test_a_server_that_forgets_only_what_has_finished_is_warned_of(
    evicting: Callable[[str], RedisServer], schedulers_at: MakeScheduler
) -> None:
    (row,) = await start(schedulers_at(evicting("volatile-ttl").url))

    assert (row["action"], row["log_level"]) == ("server.evicts", "warning")


async def test_a_policy_without_a_limit_of_memory_does_nothing(
    any_server: RedisServer, evicting: Callable[[str], RedisServer], schedulers_at: MakeScheduler
) -> None:
    evicting("allkeys-random")
    any_server.client.config_set("maxmemory", 0)

    assert await start(schedulers_at(any_server.url)) == []


async def test_a_server_that_changes_while_a_worker_runs_is_told_of_once(
    any_server: RedisServer, evicting: Callable[[str], RedisServer], settings_at: Callable[..., Any]
) -> None:
    server = await Server.connect(settings_at(any_server.url))
    durability = Durability(server, allow_eviction=False)
    try:
        with capture_logs() as logs:
            await durability.check()
            evicting("allkeys-lfu")
            await durability.look_again()
            await durability.look_again()
        assert [row["action"] for row in logs] == ["server.evicts"]
    finally:
        await server.aclose()


async def test_a_server_that_does_not_tell_is_used(any_server: RedisServer, schedulers_at: MakeScheduler) -> None:
    any_server.client.execute_command("ACL SETUSER shy on nopass ~* &* +@all -info")
    scheduler = schedulers_at(any_server.url.replace("unix://", "unix://shy:x@"))
    try:
        rows = await start(scheduler)
        await scheduler.stop(grace_seconds=0)
    finally:
        any_server.client.execute_command("ACL DELUSER shy")

    assert [row["action"] for row in rows if row["log_level"] == "info"] == ["server.eviction_unknown"]


async def test_a_server_that_writes_nothing_at_once_is_named(
    any_server: RedisServer, schedulers_at: MakeScheduler
) -> None:
    any_server.client.config_set("appendonly", "no")
    try:
        (row,) = await start(schedulers_at(any_server.url))
    finally:
        any_server.client.config_set("appendonly", "yes")

    assert (row["action"], row["log_level"]) == ("server.not_durable", "info")
