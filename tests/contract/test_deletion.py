"""What is deleted is gone for whoever reads, and leaves nothing that tells, whoever dies over the deletion."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.memories import found, idle, memories_of, said, texts_of

from memsched import AsyncMemScheduler
from memsched.broker.client import Server
from memsched.errors import UnknownMemory
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.store import MemoryStore

pytestmark = pytest.mark.timeout(120)
SECRET = "My safe at the cabin opens with quixotic zyzzogeton."
LINES = ["The cabin is by the lake.", SECRET, "The ferry to the cabin leaves at nine."]


class Death(BaseException):
    """As if the process had been killed here."""


@pytest.fixture
async def scheduler(memory_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = memory_schedulers(working_set_size=4)
    await made.start()
    return made


async def filled(scheduler: AsyncMemScheduler, cube: str) -> tuple[CubeRef, Any]:
    """A cube that knows the secret in every place there is."""
    told = [said(text, minute, mem_cube_id=cube) for minute, text in enumerate(LINES)]
    asked = said("How does the safe at the cabin open?", 5, "query", mem_cube_id=cube)
    await scheduler.submit_messages([*told, asked])
    await idle(scheduler)
    await scheduler.submit_messages(said(SECRET, 6, "answer", mem_cube_id=cube))
    await idle(scheduler)
    secret = next(each for each in await memories_of(scheduler, cube=cube) if each.text == SECRET)
    await scheduler.pin("alice", cube, secret.memory_id)
    return CubeRef("alice", cube), secret


async def kept(scheduler: AsyncMemScheduler, cube: str) -> dict[str, str]:
    """All that Redis has of a cube."""
    server, keys = await scheduler.server(), scheduler.keys.cube("alice", cube)
    hot = await server.execute("HGETALL", keys.hot)
    terms = await server.execute("HGETALL", keys.terms)
    both = {**_texts(hot), **{f"term {name}": value for name, value in _texts(terms).items()}}
    said = await server.execute("ZRANGE", keys.talk, 0, -1)
    both |= {f"said {number}": each.decode() for number, each in enumerate(said)}
    return {name: value for name, value in both.items() if value not in ("[]", "")}


def _texts(reply: Any) -> dict[str, str]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def dies_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before its so many-th call to Redis or the vector store."""
    left = step

    def counted(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Death
            return await method(*args, **more)

        return call

    monkeypatch.setattr(Server, "persistently", counted(Server.persistently))
    monkeypatch.setattr(MemoryStore, "_call", counted(MemoryStore._call))


@pytest.mark.long
async def test_whoever_dies_over_a_deletion_leaves_it_undone_or_done_for_whoever_reads(
    scheduler: AsyncMemScheduler, memory_schedulers: Callable[..., AsyncMemScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting = memory_schedulers()
    undone = done = 0
    for step in range(40):
        cube = f"home{step}"
        ref, secret = await filled(scheduler, cube)
        services = await deleting.memory()
        await services.store.get(ref, [secret.memory_id])
        with monkeypatch.context() as patch:
            dies_before(step, patch)
            try:
                await services.deletion.delete(ref, [secret], user_id="alice", name=cube)
            except Death:
                died = True
            else:
                died = False
        near = await texts_of(scheduler, cube=cube)
        block = (await scheduler.activation("alice", cube)).text
        searched = await found(scheduler, "quixotic safe", cube=cube)
        if SECRET in near:
            undone += 1
            assert SECRET in searched
            assert "quixotic" in block
            continue
        done += 1
        assert "quixotic" not in block
        assert SECRET not in searched
        explained = await scheduler.explain("alice", cube)
        assert explained.pins == []
        with pytest.raises(UnknownMemory):
            await scheduler.explain("alice", cube, secret.memory_id)
        assert SECRET not in [each.text for each in await memories_of(scheduler, cube=cube)]
        await scheduler.pin("alice", cube, (await scheduler.working_set("alice", cube))[0].memory_id)
        left = json.dumps(await kept(scheduler, cube)).lower()
        for word in ("quixot", "zyzzogeton", secret.memory_id):
            assert word not in left, f"{word} after step {step}"
        if not died:
            break
    assert undone
    assert done > 3


async def test_nothing_is_left_of_a_cube_whose_memories_are_all_deleted(scheduler: AsyncMemScheduler) -> None:
    ref, secret = await filled(scheduler, "home")
    await scheduler.predict("alice", "home", "The safe is")
    services = await scheduler.memory()
    assert any(name.startswith("use:") for name in await kept(scheduler, "home"))

    assert await services.deletion.delete_all(ref, user_id="alice", name="home") == len(LINES)
    await idle(scheduler)

    left = await kept(scheduler, "home")
    assert {*left} <= {"version", "salt", "sent", "placement", "predicted", "asked", "emptied"}, left
    assert not {secret.memory_id, "quixot"} & {*json.dumps(left).split('"')}
    await scheduler.submit_messages(said("The boat is blue.", 9))
    await idle(scheduler)
    assert await texts_of(scheduler) == ["The boat is blue."]
