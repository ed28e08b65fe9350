"""The transport to the vector process: what becomes of a request when the other side behaves, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from memsched.embedded.unix_transport import UnixTransport

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n"


class Peer:
    """A server on a unix socket that answers each request with ``answer``."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = str(path)
        self._answer = answer
        self.connections = 0
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.requests.append(head + body)
                await self._answer(reader, writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def echo(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(OK + body.ljust(11)[:11])


def client_at(path: str, connect_seconds: float = 0.0, **given: float) -> httpx.AsyncClient:
    transport = UnixTransport(path, connect_seconds=connect_seconds)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **given)


async def test_requests_one_after_another_share_a_connection(tmp_path: Path) -> None:
    async with Peer(tmp_path / "s", echo) as peer, client_at(peer.path) as client:
        for number in range(5):
            answer = await client.post("/a?b=c", content=f"n{number}", headers={"x-own": "yes"})
            assert answer.status_code == 200
            assert answer.text.strip() == f"n{number}"
        assert peer.connections == 1
        assert peer.requests[0].startswith(b"POST /a?b=c HTTP/1.1\r\n")
        assert b"x-own: yes\r\n" in peer.requests[0]


async def test_requests_at_once_do_not_mix_their_answers(tmp_path: Path) -> None:
    async def slow_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        await asyncio.sleep(0.001 * (int(body) % 5))
        await echo(reader, writer, body)

    async with Peer(tmp_path / "s", slow_echo) as peer, client_at(peer.path) as client:
        answers = await asyncio.gather(*(client.post("/", content=str(number)) for number in range(50)))
        assert [int(answer.text) for answer in answers] == list(range(50))


async def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        for byte in OK + b"hello world":
            writer.write(bytes([byte]))
            await writer.drain()

    async with Peer(tmp_path / "s", drip) as peer, client_at(peer.path) as client:
        assert (await client.post("/", content="x")).text == "hello world"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf", b"no http at all\r\n\r\n"])
async def test_a_connection_that_breaks_is_an_error_and_the_next_request_gets_a_new_one(
    tmp_path: Path, said: bytes
) -> None:
    broken = True

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        if broken:
            writer.write(said)
            await writer.drain()
            writer.close()
        else:
            await echo(reader, writer, body)

    async with Peer(tmp_path / "s", answer) as peer, client_at(peer.path) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/", content="x")
        broken = False
        assert (await client.post("/", content="again")).text.strip() == "again"
        assert len(peer.requests) == 2


async def test_an_answer_that_comes_after_the_time_limit_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        if body == b"late":
            await asyncio.sleep(0.2)
        await echo(reader, writer, body)

    async with Peer(tmp_path / "s", late) as peer, client_at(peer.path, timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/", content="late")
        assert (await client.post("/", content="next")).text.strip() == "next"


async def test_a_request_that_was_cancelled_leaves_no_answer_behind(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        if body == b"late":
            arrived.set()
            await asyncio.sleep(0.05)
        await echo(reader, writer, body)

    async with Peer(tmp_path / "s", late) as peer, client_at(peer.path) as client:
        task = asyncio.create_task(client.post("/", content="late"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.post("/", content="next")).text.strip() == "next"


async def test_a_server_that_asks_for_it_gets_a_new_connection_each_time(tmp_path: Path) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")

    async with Peer(tmp_path / "s", close) as peer, client_at(peer.path) as client:
        await client.post("/", content="x")
        await client.post("/", content="x")
        assert peer.connections == 2


async def test_a_server_that_comes_a_little_later_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with client_at(str(path), connect_seconds=5.0) as client:
        asked = asyncio.create_task(client.post("/", content="x"))
        await asyncio.sleep(0.02)
        async with Peer(path, echo):
            assert (await asked).status_code == 200


async def test_no_server_is_a_connect_error_that_names_the_socket(tmp_path: Path) -> None:
    async with client_at(str(tmp_path / "nobody")) as client:
        with pytest.raises(httpx.ConnectError, match="nobody"):
            await client.get("/")


def test_it_works_on_uvloop_too(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def talk() -> str:
        async with Peer(tmp_path / "s", echo) as peer, client_at(peer.path) as client:
            return (await client.post("/", content="fast")).text.strip()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(talk()) == "fast"
