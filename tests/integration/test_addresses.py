"""What is said when a server cannot be used as the address says; TLS, on real servers."""

from __future__ import annotations

import asyncio
import http.server
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.certificates import Certificates
from support.conditions import until, wait_until
from support.messages import message
from support.servers import RedisServer, server_programs

from memsched import AsyncMemScheduler, Settings
from memsched.broker.client import Server
from memsched.errors import ServerUnreachable, ServerUnusable, SettingsError

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def start(certificates: Certificates) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers that are gone after the module."""
    if "redis" not in server_programs():
        pytest.skip("no redis-server on PATH (apt-get install redis-server)")
    started: list[RedisServer] = []

    def begin(**given: Any) -> RedisServer:
        started.append(RedisServer(server_programs()["redis"], **given))
        return started[-1].start()

    yield begin
    for server in started:
        server.remove()


@pytest.fixture(scope="module")
def plain(start: Callable[..., RedisServer]) -> RedisServer:
    return start(port=True)


@pytest.fixture(scope="module")
def locked(start: Callable[..., RedisServer]) -> RedisServer:
    server = start(port=True)
    server.client.execute_command("ACL SETUSER default on resetpass >secret ~* &* +@all")
    return server


@pytest.fixture(scope="module")
def secure(start: Callable[..., RedisServer], certificates: Certificates) -> RedisServer:
    return start(tls=certificates)


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def ports(plain: RedisServer, locked: RedisServer, secure: RedisServer, web: int) -> dict[str, int]:
    return {"plain": plain.port, "locked": locked.port, "secure": secure.port, "web": web}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost:{locked}/0", "it asks for a password, and the address has none"),
        ("redis://:guess@localhost:{locked}/0", "it refuses the user name or the password"),
        ("redis://me:guess@localhost:{locked}/0", "it refuses the user name or the password"),
        ("redis+cluster://:guess@localhost:{locked}", "it refuses the user name or the password"),
        ("redis://:guess@localhost:{plain}/0", "it has no password, and the address gives one"),
        ("redis://localhost:{plain}/99", "it has no database of this number"),
        ("redis://localhost:{web}/0", "what answers there is no Redis server"),
        ("rediss://localhost:{web}/0", "it does not speak TLS: use redis://"),
        ("redis://localhost:{secure}/0", "it speaks TLS: use rediss://"),
        ("rediss://localhost:{secure}/0", "its TLS certificate is not trusted (self-signed certificate"),
        ("redis+cluster://localhost:{plain}", "it is no node of a Cluster: use redis://"),
        ("redis+sentinel://localhost:{plain}/main", "it is a server and no Sentinel: use redis://"),
    ],
)
async def test_a_server_that_cannot_be_used_is_told_at_once_as_what_it_is(
    ports: dict[str, int], url: str, said: str
) -> None:
    begun = time.monotonic()

    with pytest.raises(ServerUnusable) as caught:
        await Server.connect(Settings(redis_url=url.format(**ports), connect_timeout_seconds=60))

    assert said in str(caught.value)
    assert "does not answer" not in str(caught.value)
    assert "guess" not in str(caught.value)
    assert time.monotonic() - begun < 20


async def test_plain_redis_where_tls_is_asked_for_says_nothing_and_is_found_out(
    ports: dict[str, int], certificates: Certificates
) -> None:
    url = f"rediss://localhost:{ports['plain']}/0?ssl_ca_certs={certificates.authority}&socket_connect_timeout=0.5"

    with pytest.raises(ServerUnusable, match=re.escape("it does not speak TLS: use redis://")):
        await Server.connect(Settings(redis_url=url))


async def test_a_host_that_cannot_be_resolved_is_waited_for_and_told_as_that() -> None:
    with pytest.raises(ServerUnusable, match="the name of the host cannot be resolved"):
        await Server.connect(Settings(redis_url="redis://no-such-host.invalid:1/0", connect_timeout_seconds=0.1))


async def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(ServerUnreachable, match="does not answer"):
        await Server.connect(Settings(redis_url="redis://localhost:1/0", connect_timeout_seconds=0.1))


async def test_a_time_out_below_the_block_time_is_refused_naming_both(plain: RedisServer) -> None:
    with pytest.raises(SettingsError, match=r"socket_timeout=1 is shorter .* MEMSCHED_BLOCK_MS=3000"):
        await Server.connect(Settings(redis_url=f"{plain.url}?socket_timeout=1", block_ms=3000))


async def test_a_login_that_stops_to_be_right_is_no_end_of_a_worker(
    locked: RedisServer, schedulers_at: MakeScheduler
) -> None:
    scheduler = schedulers_at(f"redis://:secret@localhost:{locked.port}/0", block_ms=100)
    handled = asyncio.Event()

    async def handle(messages: Any) -> None:
        handled.set()

    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    locked.client.execute_command("AUTH secret")
    locked.client.execute_command("ACL SETUSER default resetpass >other")
    locked.client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.3)
    locked.client.execute_command("ACL SETUSER default resetpass >secret")

    await scheduler.submit_messages(message())
    assert await asyncio.wait_for(handled.wait(), 10)


async def test_a_user_without_a_right_to_the_channel_works_by_the_clock(
    plain: RedisServer, schedulers_at: MakeScheduler
) -> None:
    plain.client.execute_command("ACL SETUSER quiet on nopass ~* resetchannels +@all")
    scheduler = schedulers_at(f"redis://quiet:x@localhost:{plain.port}/0", block_ms=100)
    handled: list[str] = []

    async def handle(messages: Any) -> None:
        handled.extend(item.content for item in messages)

    scheduler.register_handlers({"task": handle})
    with capture_logs() as logs:
        await scheduler.start()
        await until(lambda: any(row["action"] == "hints.refused" for row in logs))
        await scheduler.submit_messages(message("after"))
        assert await until(lambda: handled == ["after"])


async def test_max_connections_makes_calls_wait_for_each_other(plain: RedisServer) -> None:
    server = await Server.connect(Settings(redis_url=f"{plain.url}?max_connections=2"))
    try:
        before = len(plain.client.client_list())
        await asyncio.gather(*(server.execute("PING") for _ in range(50)))
        assert len(plain.client.client_list()) - before <= 1
    finally:
        await server.aclose()


# -- TLS ---------------------------------------------------------------------------------------------------------------


async def run_one(scheduler: AsyncMemScheduler) -> None:
    handled = asyncio.Event()

    async def handle(messages: Any) -> None:
        handled.set()

    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    await scheduler.submit_messages(message())
    assert await asyncio.wait_for(handled.wait(), 20)
    await scheduler.wait(timeout=10)


async def test_a_server_with_tls(secure: RedisServer, schedulers_at: MakeScheduler) -> None:
    await run_one(schedulers_at(secure.url))


async def test_a_tls_connection_that_was_closed_twice_is_one_that_was_lost(secure: RedisServer) -> None:
    server = await Server.connect(Settings(redis_url=secure.url))
    try:
        await server.execute("PING")
        assert server._pool is not None
        (connection, _), *_ = server._pool._idle
        for _ in range(2):  # by a time-out and by who gave up: asyncio then forgets its TLS protocol
            connection._writer.close()
        assert await server.persistently(lambda: server.execute("PING")) == b"PONG"
    finally:
        await server.aclose()


async def test_every_node_of_a_cluster_is_reached_by_tls(
    start: Callable[..., RedisServer],
    certificates: Certificates,
    schedulers_at: MakeScheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]
    first, second = (start(tls=certificates, options=options) for _ in range(2))
    first.client.execute_command("CLUSTER ADDSLOTSRANGE 0 8000")
    second.client.execute_command("CLUSTER ADDSLOTSRANGE 8001 16383")
    first.client.execute_command(f"CLUSTER MEET 127.0.0.1 {second.port}")
    for node in (first, second):
        wait_until(lambda node=node: node.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")

    make, made = ssl.create_default_context, []

    def counted() -> ssl.SSLContext:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    url = f"rediss+cluster://localhost:{first.port}?ssl_ca_certs={certificates.authority}"
    await run_one(schedulers_at(url, partitions=8))
    assert len(made) <= 1, "each takes tens of milliseconds, and there are many connections"
