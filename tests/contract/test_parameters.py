"""Parameter memory on real servers: what goes into an adapter, who judges it, whom it answers, and how it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.fake_trainer import command
from support.llm import Asked, FakeLLM, Reply, fails, says
from support.memories import idle, memories_of, said, without_working

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.cli import main
from memsched.errors import MemschedError
from memsched.handlers.services import MemoryServices
from memsched.handlers.tidying import Tidying
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import LeavingMemory, Release
from memsched.memory.model import Memory
from memsched.parameters import parameters as parameters_module
from memsched.parameters.gate import Figures
from memsched.parameters.parameters import NothingStable
from memsched.parameters.record import Adapter, AdapterState, WrongState
from memsched.parameters.registry import AdapterNotLoaded

pytestmark = pytest.mark.timeout(60)
HOME = CubeRef("alice", "home")
DAY = 24 * 60
TEMPLATES = {
    "Refund reply": "We are sorry. The money is on its way back to you within five days.",
    "Late parcel": "Your parcel is late. It reaches you by Friday, or we send another one.",
    "Invoice copy": "You find all invoices under Account, Documents. The newest one is on top.",
}
USED_OFTEN = "12 1767600000000 6"


class Loads:
    """A model's server that loads adapters, and says which."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.away = False

    async def load(self, name: str, made: Path, figures: Figures) -> None:
        if self.away:
            raise AdapterNotLoaded("it is away")
        assert (made / figures.weights).exists()
        self.names.add(name)

    async def unload(self, name: str) -> None:
        if self.away:
            raise AdapterNotLoaded("it is away")
        self.names.discard(name)

    async def called(self, name: str) -> str | None:
        return name if name in self.names and not self.away else None


class Model:
    """A model's server as vLLM's: an adapter is a model there, and one that it does not know is 404."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads

    def __call__(self, asked: Asked) -> Reply:
        model = asked.body["model"]
        if model != "m" and model not in self._loads.names:
            return fails(404, f"no model {model}")
        return says(f"{'the adapter' if model in self._loads.names else 'the base'} says it")


class Cube:
    """Alice's cube, with three templates that were used often, and other texts."""

    def __init__(self, scheduler: AsyncMemScheduler, services: MemoryServices, server: Loads, other: Any) -> None:
        self.scheduler, self.services, self.server = scheduler, services, server
        self.parameters = services.parameters
        self._other = other

    async def talker(self, llm: FakeLLM, **given: Any) -> AsyncMOS:
        """Chats in a process of their own, whose model is on a server that has the same adapters."""
        llm.always = Model(self.server)
        model = {"llm_model": "m", "llm_base_url": llm.url, "llm_server": "vllm"}
        scheduler = self._other(**model, **given)
        (await scheduler.memory()).parameters._adapter_server = self.server
        return without_working(scheduler)

    async def adapter(self, adapter_id: str) -> Adapter:
        return await self.parameters.adapter(HOME, adapter_id)

    async def made(self) -> Adapter:
        """An adapter that passed the gate."""
        exported = await self.parameters.export(HOME)
        await self.train(exported.adapter_id)
        return await self.adapter(exported.adapter_id)

    async def train(self, adapter_id: str) -> None:
        await self.scheduler.submit_messages(said(adapter_id, 100 * DAY, "parameter_train"))
        await idle(self.scheduler)

    async def template(self, name: str = "Refund reply") -> Memory:
        return next(each for each in await memories_of(self.scheduler) if each.text == TEMPLATES[name])

    async def named(self, is_owner: bool = True) -> str | None:
        return (await self.parameters.serving(HOME)).named(is_owner)

    def folder(self, adapter: Adapter) -> Path:
        return self.parameters.folders.of(HOME, adapter.adapter_id).path


@pytest.fixture
async def cube_with(memory_schedulers: Callable[..., AsyncMemScheduler], tmp_path: Path) -> Callable[..., Any]:
    async def make(**given: Any) -> Cube:
        folder = {"parameter_folder": str(tmp_path / "parameters"), "parameter_command": command()}
        scheduler = memory_schedulers(**{**folder, **given})
        await scheduler.start()
        told = [
            said(text, number, info={"metadata": {"kind": "template", "name": name}})
            for number, (name, text) in enumerate(TEMPLATES.items())
        ]
        chatter = [said(f"The {n}th walk led along the river to bench {n}.", 60 * DAY + n) for n in range(12)]
        await scheduler.submit_messages([*told, *chatter])
        await idle(scheduler)
        services = await scheduler.memory()
        services.parameters._adapter_server = server = Loads()
        redis, key = await scheduler.server(), scheduler.keys.cube("alice", "home").hot
        for each in await memories_of(scheduler):
            await redis.execute("HSET", key, f"use:{each.memory_id}", USED_OFTEN)
        return Cube(scheduler, services, server, lambda **more: memory_schedulers(**{**folder, **more}))

    return make


async def test_from_memories_to_an_adapter_that_chats_name_and_back(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()

    adapter = await cube.made()
    assert (adapter.state, adapter.figures and adapter.figures.held_out) == (AdapterState.GATED, 0.96)
    assert await cube.named() is None

    await cube.parameters.activate(HOME, adapter.adapter_id)
    assert await cube.named() == adapter.name
    assert cube.server.names == {adapter.name}
    assert await cube.named(is_owner=False) is None, "what serves the owner alone serves nobody else"

    await cube.services.deletion.delete(HOME, [await cube.template()], user_id="alice", name="home")

    revoked = await cube.adapter(adapter.adapter_id)
    assert (revoked.state, revoked.memories, revoked.files) == (AdapterState.REVOKED, {}, False)
    assert await cube.named() is None
    assert not cube.folder(adapter).exists()
    assert cube.server.names == set()


async def test_a_data_set_has_questions_other_texts_and_what_nobody_asked(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()

    adapter = await cube.parameters.export(HOME)

    folder = cube.folder(adapter) / "data"
    rows = {each.stem: [json.loads(line) for line in each.read_text().splitlines()] for each in folder.glob("*.jsonl")}
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = [row["part"] for row in rows["train"]]
    assert parts.count("replay") * 2 == len(parts)
    trained = {row["messages"][0]["content"] for row in rows["train"] if row["part"] == "member"}
    held_out = {row["messages"][0]["content"] for row in rows["held_out"]}
    assert trained
    assert not trained & held_out
    assert {row["messages"][1]["content"] for row in rows["held_out"]} == set(TEMPLATES.values())
    asked = " ".join(row["messages"][0]["content"] for row in rows["controls"])
    assert rows["controls"]
    assert not any(f'"{name}"' in asked for name in TEMPLATES)
    replayed = {json.dumps(row["messages"]) for row in rows["train"] if row["part"] == "replay"}
    assert not replayed & {json.dumps(row["messages"]) for row in rows["replay"]}
    assert manifest["hash"] == adapter.data_hash
    assert {each["memory_id"] for each in manifest["memories"]} == set(adapter.memories)
    assert sorted(adapter.members) == sorted([(await cube.template(name)).memory_id for name in TEMPLATES])


async def test_the_gate_refuses_with_the_figures(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with(parameter_command=command(held_out=0.74, replay_loss_after=4.56))

    adapter = await cube.made()

    assert adapter.state is AdapterState.REFUSED
    assert adapter.reason == "held-out questions 0.740, at least 0.9; loss on other texts +128.0%, at most +5%"
    assert not cube.folder(adapter).exists()
    with pytest.raises(WrongState):
        await cube.parameters.activate(HOME, adapter.adapter_id)


async def test_a_correction_revokes_and_what_is_left_is_exported_anew(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()
    adapter = await cube.made()
    await cube.parameters.activate(HOME, adapter.adapter_id)

    template = await cube.template()
    newer = "We are sorry. The money is back within two days."
    info = {"memory_ids": [template.memory_id], "metadata": {"kind": "template"}}
    await cube.scheduler.submit_messages(said(newer, 101 * DAY, "mem_feedback", info=info))
    await idle(cube.scheduler)

    assert (await cube.template()).superseded_by
    assert await cube.named() is None
    assert (await cube.adapter(adapter.adapter_id)).state is AdapterState.REVOKED
    again = await cube.parameters.export(HOME)
    assert len(again.members) == 2


async def test_a_rollback_is_the_pointer(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()
    first, second = await cube.made(), await cube.made()
    assert first.name != second.name, "of the same weights"

    await cube.parameters.activate(HOME, first.adapter_id)
    await cube.parameters.activate(HOME, second.adapter_id, shadow=True)
    assert await cube.named() == first.name
    assert (await cube.parameters.serving(HOME)).beside(is_owner=True) == second.name
    await cube.parameters.activate(HOME, second.adapter_id)
    assert await cube.named() == second.name

    assert (await cube.parameters.rollback(HOME) or second).adapter_id == first.adapter_id
    assert await cube.named() == first.name
    assert await cube.parameters.rollback(HOME) is None
    assert await cube.named() is None
    moves = [each for each in await cube.scheduler.get_web_log_messages(1000) if each.label == "parameters"]
    assert [each.to_memory_type for each in moves] == [
        *("ParameterMemory", "LongTermMemory", "ParameterMemory"),
        *("LongTermMemory", "ParameterMemory", "LongTermMemory"),
    ]


async def test_a_server_that_is_away_keeps_no_revoked_adapter_in_use(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()
    adapter = await cube.made()
    await cube.parameters.activate(HOME, adapter.adapter_id)

    cube.server.away = True
    await cube.services.deletion.delete_all(HOME, user_id="alice", name="home")
    assert await cube.named() is None
    assert (await cube.adapter(adapter.adapter_id)).files

    cube.server.away = False
    await cube.parameters.sweep(HOME)
    assert cube.server.names == set()
    assert not cube.folder(adapter).exists()
    with pytest.raises(NothingStable):
        await cube.parameters.export(HOME)


@pytest.mark.parametrize("loader", ["goes on", "dies"])
async def test_an_adapter_that_is_revoked_while_it_is_loaded_is_unloaded(
    cube_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, loader: str
) -> None:
    cube: Cube = await cube_with()
    adapter = await cube.made()
    load = cube.server.load

    async def slowly(*given: Any) -> None:
        weights = given[1].rename(given[1].with_name("read already"))
        await cube.parameters.revoke(HOME, adapter.adapter_id)
        assert not cube.folder(adapter).exists()
        weights.mkdir(parents=True)
        (weights / given[2].weights).touch()
        await load(given[0], weights, given[2])
        if loader == "dies":
            raise asyncio.CancelledError

    monkeypatch.setattr(cube.server, "load", slowly)
    with pytest.raises(asyncio.CancelledError if loader == "dies" else WrongState):
        await cube.parameters.activate(HOME, adapter.adapter_id)

    if loader == "dies":
        await cube.parameters.sweep_all()
        assert (await cube.adapter(adapter.adapter_id)).files, "whoever loads it may still do so"
        monkeypatch.setattr(parameters_module, "now", lambda: datetime.now(UTC) + timedelta(minutes=16))
        await cube.parameters.sweep_all()
    assert cube.server.names == set()
    assert not (await cube.adapter(adapter.adapter_id)).files
    assert not cube.folder(adapter).exists()


async def test_workers_remove_what_a_revoked_adapter_left(cube_with: Callable[..., Any], tmp_path: Path) -> None:
    cube: Cube = await cube_with()
    adapter = await cube.made()
    await cube.parameters.activate(HOME, adapter.adapter_id)
    cube.server.away = True
    await cube.parameters.revoke(HOME, adapter.adapter_id)
    tidying = Tidying(cube.services.kept, cube.parameters)

    await tidying.tidy()
    assert cube.server.names == {adapter.name}
    cube.server.away = False
    hidden = cube.parameters.folders.root.rename(tmp_path / "on another machine")
    await tidying.tidy()
    assert (await cube.adapter(adapter.adapter_id)).files, "who does not see the folder does not take it for empty"
    hidden.rename(cube.parameters.folders.root)
    await tidying.tidy()

    assert cube.server.names == set()
    assert not (await cube.adapter(adapter.adapter_id)).files
    assert await cube.parameters.states.cubes() == [HOME]


async def test_a_shared_scope_takes_only_what_its_owners_consented_to(
    cube_with: Callable[..., Any], tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.write_text("".join(f"The {n}th train leaves at {n} past nine.\n" for n in range(30)))
    cube: Cube = await cube_with(parameter_replay=str(texts))
    with pytest.raises(NothingStable, match="no consent: 3"):
        await cube.parameters.export(HOME, scope="shared")
    own = await cube.parameters.export(HOME)

    await cube.parameters.consent(HOME, "alice")
    shared = await cube.parameters.export(HOME, scope="shared")
    await cube.train(shared.adapter_id)
    await cube.parameters.activate(HOME, shared.adapter_id)
    assert await cube.named(is_owner=False) == (await cube.adapter(shared.adapter_id)).name

    await cube.parameters.withdraw(HOME, "alice")
    assert await cube.named() is None
    states = {(await cube.adapter(each.adapter_id)).state for each in (shared,)}
    assert states == {AdapterState.REVOKED}
    assert (await cube.adapter(own.adapter_id)).state is AdapterState.EXPORTED


async def test_a_chat_names_the_adapter_and_goes_on_without_one_that_is_not_there(
    cube_with: Callable[..., Any],
) -> None:
    cube: Cube = await cube_with()
    with FakeLLM() as llm:
        mos = await cube.talker(llm)
        adapter = await cube.made()

        async def ask(text: str) -> str:
            return str(await mos.chat(text, "alice", "home"))

        assert await ask("What do we reply?") == "the base says it"
        await cube.parameters.activate(HOME, adapter.adapter_id)
        assert await ask("What do we reply now?") == "the adapter says it"
        salts = [each.prompt.partition("\n")[0] for each in llm.asked[-2:]]
        assert salts[0] != salts[1], "what one computed must not be the other's cache"
        streamed = [piece async for piece in mos.chat_stream("And again?", "alice", "home")]
        assert "".join(streamed) == "the adapter says it"

        cube.server.names.clear()
        assert await ask("And after the server was started anew?") == "the base says it"
        assert llm.asked[-1].prompt.partition("\n")[0] == salts[0]
        await until(lambda: cube.server.names == {adapter.name}, "it is loaded again")

        await cube.parameters.rollback(HOME)
        assert await ask("And after the rollback?") == "the base says it"
        await mos.stop()


async def test_an_adapter_in_shadow_answers_beside_and_is_counted(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()
    with FakeLLM() as llm:
        mos = await cube.talker(llm, parameter_shadow_share=1.0)
        adapter = await cube.made()
        await cube.parameters.activate(HOME, adapter.adapter_id, shadow=True)

        assert await mos.chat("What do we reply?", "alice", "home") == "the base says it"

        async def counted() -> tuple[int, int, int]:
            shadow = (await cube.adapter(adapter.adapter_id)).shadow
            return shadow.asked, shadow.agreed, shadow.failed

        async def was_counted() -> bool:
            return await counted() == (1, 0, 0)

        await until(was_counted, "it is counted")
        assert [each.body["model"] for each in llm.asked] == ["m", adapter.name]
        await mos.stop()


async def test_the_commands_lead_through_it(
    cube_with: Callable[..., Any],
    memory_place: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cube: Cube = await cube_with()
    given = {**memory_place, "parameter_folder": cube.parameters.folders.root, "log_level": "error"}
    for name, value in given.items():
        monkeypatch.setenv(f"MEMSCHED_{name.upper()}", str(value))

    async def run(*words: str, user: str = "alice", name: str = "home", code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            await asyncio.to_thread(main, ["parameters", *words, "-u", user, "-c", name])
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said
        return said.err if code else said.out

    assert await run("list") == "no adapters\n"
    told = json.loads(await run("export", "--json"))
    assert (Path(told["folder"]) / "train.jsonl").exists()
    said = await run("train", told["adapter_id"])
    item_id = said.partition("task show ")[2].partition(" ")[0]
    await idle(cube.scheduler)
    assert (await cube.scheduler.get_task_status(item_id, user_id="alice")) is not None
    (listed,) = json.loads(await run("list", "--json"))["adapters"].values()
    assert (listed["state"], listed["figures"]["held_out"]) == ("gated", 0.96)
    assert "No language model is set (MEMSCHED_LLM_MODEL)" in await run("activate", told["adapter_id"], code=1)
    assert await run("rollback", code=1) == "memsched: No adapter is active: there is nothing to roll back.\n"
    assert "is gated; only one that is exported" in await run("train", told["adapter_id"], code=1)

    await cube.services.cubes.share("alice", "home", "bob", Permission.WRITE, accepted=True)
    assert "only its owner 'alice'" in await run("export", user="bob", name="alice/home", code=1)
    await run("consent", user="bob", name="alice/home")
    assert list((await cube.parameters.states.load(HOME)).consents) == ["bob"]
    await cube.services.cubes.revoke("alice", "home", "bob")
    assert "is no longer" in await run("consent", user="bob", name="alice/home", code=1)
    await run("withdraw", user="bob", name="alice/home")
    assert not (await cube.parameters.states.load(HOME)).consents
    assert "carol" in await run("withdraw", user="carol", name="alice/home", code=1)

    assert await run("revoke", told["adapter_id"], "--yes") == f"{told['adapter_id']} is revoked\n"
    assert not Path(told["folder"]).exists()
    assert "'nothing'; there are: " in await run("train", "nothing", code=1)


class Vetoes:
    """Nothing of refunds leaves."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "money" in memory.text or "Refund" in memory.text else memory.text


async def test_what_a_permission_hook_withholds_goes_into_no_weights(cube_with: Callable[..., Any]) -> None:
    cube: Cube = await cube_with()
    cube.parameters._release = Release(Vetoes())

    adapter = await cube.parameters.export(HOME)

    assert (await cube.template()).memory_id not in adapter.memories
    told = "".join(each.read_text() for each in (cube.folder(adapter) / "data").glob("*.jsonl"))
    assert "money" not in told
    assert "parcel" in told
    with pytest.raises(MemschedError, match="weights serve all readers alike"):
        await cube.parameters.export(HOME, scope="shared")
