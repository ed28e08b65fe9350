"""One producer for all who look at a topic; none for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memsched.memory.access.api_keys import Principal, Role
from memsched.memory.access.reading_as import roles_now
from memsched.service.dashboard import frames
from memsched.service.dashboard.frames import Frames

WHO = Principal("k", Role.ADMIN)
SCOPE = {"type": "http"}


class Producer:
    """Counts what it makes."""

    def __init__(self) -> None:
        self.made = 0
        self.failure: Exception | None = None
        self.roles: frozenset[str] | None = None

    async def __call__(self) -> str:
        self.made += 1
        self.roles = roles_now()
        if self.failure:
            raise self.failure
        return f"<p>{self.made}</p>\n<p>of it</p>"


async def test_lines_that_are_indented_or_empty_come_as_they_are() -> None:
    async def produce() -> str:
        return '<pre>{\n  "a": 1,\n\n  "b": 2\n}</pre>'

    looking, client = Frames(asyncio.Event(), str), Client()
    stream = asyncio.create_task(looking.stream(WHO, "layout", produce=produce)(SCOPE, client.receive, client.send))
    await client.until(1)
    client.leaves.set()
    await stream

    assert client.got[0].decode().replace("data: ", "") == await produce() + "\n\n"


class Client:
    """Takes frames as an ASGI server does."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.came = asyncio.Event()
        self.leaves = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self.takes.wait()
            self.got.append(message["body"])
            self.came.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self.came.clear()
                await self.came.wait()


def look(all_of: Frames, produce: Producer, client: Client, who: Principal = WHO) -> asyncio.Task[None]:
    answer = all_of.stream(who, "queue", produce=produce, seconds=0.01)
    return asyncio.create_task(answer(SCOPE, client.receive, client.send))


def frames_of(stopping: asyncio.Event | None = None) -> Frames:
    return Frames(stopping or asyncio.Event(), lambda error: f"<p>away: {error}</p>")


def producers() -> int:
    return sum(task.get_name() == "memsched-frames" for task in asyncio.all_tasks())


async def test_two_hundred_who_look_have_one_producer_and_nobody_has_none() -> None:
    all_of, produce, clients = frames_of(), Producer(), [Client() for _ in range(200)]
    looking = [look(all_of, produce, client) for client in clients]
    for client in clients:
        await client.until(3)
    assert producers() == 1
    assert list(all_of.topics.values()) == [200]
    first = [client.got[0] for client in clients]
    assert first == [b"data: <p>1</p>\ndata: <p>of it</p>\n\n"] * 200
    for client in clients:
        client.leaves.set()
    await asyncio.gather(*looking)
    await asyncio.sleep(0)
    assert producers() == 0
    assert all_of.topics == {}
    made = produce.made
    await asyncio.sleep(0.05)
    assert produce.made == made


async def test_who_is_slow_gets_the_newest_frame() -> None:
    all_of, produce, quick, slow = frames_of(), Producer(), Client(), Client()
    looking = [look(all_of, produce, quick), look(all_of, produce, slow)]
    await slow.until(1)
    slow.takes.clear()
    await quick.until(len(quick.got) + 10)
    slow.takes.set()
    await slow.until(3)
    taken = [int(each.split(b">")[1].split(b"<")[0]) for each in slow.got[:3]]
    assert taken[2] - taken[0] >= 9
    for client in (quick, slow):
        client.leaves.set()
    await asyncio.gather(*looking)


async def test_who_takes_nothing_for_long_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_LEAVES_AFTER_SECONDS", 0.05)
    all_of, client = frames_of(), Client()
    client.takes.clear()
    async with asyncio.timeout(5):
        await look(all_of, Producer(), client)
    await asyncio.sleep(0)
    assert producers() == 0


async def test_those_who_look_are_told_that_a_server_is_away_and_that_it_is_back() -> None:
    all_of, produce, client = frames_of(), Producer(), Client()
    looking = look(all_of, produce, client)
    await client.until(1)
    produce.failure = RuntimeError("no answer")
    async with asyncio.timeout(5):
        while b"away" not in client.got[-1]:
            await client.until(len(client.got) + 1)
    assert client.got[-1] == b"data: <p>away: no answer</p>\n\n"
    count = len(client.got)
    await asyncio.sleep(0.05)
    assert len(client.got) == count, "what does not change is not said again at once"
    produce.failure = None
    await client.until(count + 1)
    assert b"of it" in client.got[-1]
    client.leaves.set()
    await looking


async def test_streams_end_with_the_service() -> None:
    stopping = asyncio.Event()
    all_of, client = frames_of(stopping), Client()
    looking = look(all_of, Producer(), client)
    await client.until(1)
    stopping.set()
    async with asyncio.timeout(5):
        await looking
    assert client.got[-1] == b""
    assert producers() == 0


async def test_what_one_may_read_is_shown_to_nobody_who_reads_in_other_roles() -> None:
    all_of, nurse, doctor = frames_of(), Client(), Client()
    produce, other = Producer(), Producer()
    looking = [
        look(all_of, produce, nurse, Principal("n", Role.ADMIN, reading_as=frozenset({"nurse"}))),
        look(all_of, other, doctor, Principal("d", Role.ADMIN, reading_as=frozenset({"doctor"}))),
    ]
    for client in (nurse, doctor):
        await client.until(1)
    assert (produce.roles, other.roles) == ({"nurse"}, {"doctor"})
    for client in (nurse, doctor):
        client.leaves.set()
    await asyncio.gather(*looking)
