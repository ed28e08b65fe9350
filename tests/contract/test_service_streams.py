"""Event streams through a real server: who leaves, and whose key ends, frees what worked for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from support.service import Serving, serving

from memsched import ScheduleMessageItem
from memsched.memory.access.api_keys import Role
from memsched.service import app, callers, connections
from memsched.service.connections import Connection

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
STREAMS = [
    "GET /v1/scheduler/events",
    "GET /v1/cubes/home/events?user_id=ada",
    "GET /v1/scheduler/wait/stream?user_id=ada",
    "GET /product/scheduler/wait/stream?user_name=ada&poll_interval=60",
    "GET /ui/frames/queue",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder, worker=False) as found:
        await found.service.mos.create_cube_for_user("home", "ada")
        await found.service.scheduler.memory()
        message = ScheduleMessageItem(user_id="ada", mem_cube_id="c", label="add", content="later")
        await found.service.scheduler.submit_messages(message, delay=600)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(service: Serving) -> AsyncIterator[tuple[str, int]]:
    """Of uvicorn, in this process and on a socket."""
    config = uvicorn.Config(service.app, port=0, lifespan="off", log_config=None, ws="none", http=Connection)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server._serve([listener]))
        yield listener.getsockname()
        server.should_exit = server.force_exit = True
        await running


async def ask(address: tuple[str, int], what: str, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{what} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_stream_of_a_cube_ends_when_it_is_shared_no_more(service: Serving, address: tuple[str, int]) -> None:
    token, _ = await service.service.api_keys.create(Role.USER, user_id="bob")
    await service.service.mos.share_cube_with_user("home", "bob", user_id="ada")
    await service.service.mos.accept_cube("ada/home", "bob")
    reader, writer = await ask(address, "GET /v1/cubes/ada%2Fhome/events", token)
    await service.service.mos.revoke_cube_from_user("home", "bob", "ada")
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
    writer.close()


def tasks() -> int:
    return len(asyncio.all_tasks())


async def as_few_as(count: int, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while tasks() > count:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("what", STREAMS)
async def test_a_lost_client_frees_its_task(service: Serving, address: tuple[str, int], what: str) -> None:
    token, _ = await service.service.api_keys.create(Role.ADMIN)
    before = tasks()
    _, writer = await ask(address, what, token)
    assert tasks() > before
    writer.close()
    await as_few_as(before, 20)


@pytest.mark.parametrize("what", STREAMS)
@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_stream_ends_with_its_key(
    service: Serving, address: tuple[str, int], what: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_LOOK_AGAIN_SECONDS", 0.1)
    ttl = timedelta(seconds=0.5) if how == "expired" else None
    token, made = await service.service.api_keys.create(Role.ADMIN, ttl=ttl)
    before = tasks()
    reader, writer = await ask(address, what, token)
    if how == "revoked":
        assert await service.service.api_keys.revoke(made.key_id)
    async with asyncio.timeout(10):
        rest = await reader.readuntil(b"0\r\n\r\n")  # whole: no broken transfer
    writer.close()
    await as_few_as(before, 5)
    assert b"error" not in rest


WAITS = [
    "GET /v1/scheduler/wait?user_id=ada&timeout=60",
    "POST /product/scheduler/wait?user_name=ada&timeout_seconds=600",
]


async def wait_for_answer(
    address: tuple[str, int], what: str, token: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    before = tasks()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"{what} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        while tasks() < before + 2:
            await asyncio.sleep(0.05)
    return reader, writer


@pytest.mark.parametrize("what", WAITS)
async def test_who_hangs_up_waits_for_nothing(service: Serving, address: tuple[str, int], what: str) -> None:
    token, _ = await service.service.api_keys.create(Role.ADMIN)
    before = tasks()
    _, writer = await wait_for_answer(address, what, token)
    writer.close()
    await as_few_as(before, 20)


@pytest.mark.parametrize("what", WAITS)
async def test_a_wait_ends_with_its_key(
    service: Serving, address: tuple[str, int], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_LOOK_AGAIN_SECONDS", 0.1)
    token, made = await service.service.api_keys.create(Role.ADMIN)
    reader, writer = await wait_for_answer(address, what, token)
    assert await service.service.api_keys.revoke(made.key_id)
    async with asyncio.timeout(10):
        assert b" 401 " in await reader.readline()
    writer.close()


POST = b"POST /v1/prompt HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def trickle(address: tuple[str, int], begin: bytes, more: bytes, size: int = 1) -> bytes:
    """What is answered to a request that begins so, and then goes on until it is refused."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(begin)
    answer = bytearray()

    async def hear() -> None:
        with suppress(ConnectionResetError):  # what was written to a closed connection
            while piece := await reader.read(4_096):
                answer.extend(piece)

    hearing = asyncio.create_task(hear())
    async with asyncio.timeout(15):
        while b"HTTP/1.1 4" not in answer:
            writer.write(more * size)
            await asyncio.sleep(0.05)
        await hearing
    writer.close()
    return bytes(answer)


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"", b""), (POST, b"X-A: b\r\n"), (GOOD, b"\r\n"), (CHUNKED, b"1\r\n \r\n")],
    ids=["nothing", "headers", "behind a request", "body"],
)
async def test_who_trickles_a_request_is_sent_away(
    service: Serving, address: tuple[str, int], begin: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    token, _ = await service.service.api_keys.create(Role.ADMIN)
    begin = begin.replace(b"Content-Type", b"Authorization: Bearer " + token.encode() + b"\r\nContent-Type")

    answers = (await trickle(address, begin, more)).split(b"HTTP/1.1 ")[1:]

    assert [each[:3] for each in answers] == [b"200", b"408"][-1 - (begin == GOOD) :]
    assert b"connection: close" in answers[-1].lower()


async def test_headers_that_come_at_once_have_a_limit_too(service: Serving) -> None:
    few, many = {"X-A": "a" * 50_000}, {"X-A": "a" * 50_000, "X-B": "b" * 20_000}

    assert (await service.client.get("/healthz", headers=few)).status_code == 200
    assert (await service.client.get("/healthz", headers=many)).status_code == 431


async def test_headers_without_an_end_are_not_kept(service: Serving, address: tuple[str, int]) -> None:
    assert b" 431 " in await trickle(address, POST, b"X-A: b\r\n", size=2_000)
