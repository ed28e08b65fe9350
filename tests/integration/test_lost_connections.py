"""Connections that something between here and the server has silently dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.messages import message
from support.processes import free_port
from support.proxy import Proxy
from support.servers import RedisServer

from memsched import AsyncMemScheduler

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture
async def proxy(real_redis: RedisServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(free_port(), lambda: f"{real_redis.folder}/s")
    await proxy.open()
    yield proxy
    await proxy.close()


async def test_a_call_on_a_dropped_connection_is_repeated_on_another_one(
    proxy: Proxy, schedulers_at: MakeScheduler
) -> None:
    url = f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=0.5"
    scheduler = schedulers_at(url, block_ms=100, connect_timeout_seconds=0.2)
    await scheduler.submit_messages(message())
    proxy.forget()

    await scheduler.submit_messages(message())

    assert (await scheduler.read_status()).total.backlog == 2


async def test_a_connection_that_was_idle_for_long_is_checked_before_it_is_used(
    proxy: Proxy, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=30&health_check_interval=1")
    await scheduler.submit_messages(message())
    proxy.forget()
    await asyncio.sleep(1.1)
    begun = time.monotonic()

    await scheduler.submit_messages(message())

    assert time.monotonic() - begun < 5


async def test_a_worker_reads_again_after_its_waiting_read_was_dropped(
    proxy: Proxy, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=0.5", block_ms=100)
    handled = asyncio.Event()

    async def handle(messages: Any) -> None:
        handled.set()

    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    proxy.forget()

    await scheduler.submit_messages(message())

    await asyncio.wait_for(handled.wait(), 5)
