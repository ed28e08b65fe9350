"""Heads on disk, with a real llama.cpp server and a model of random weights: saved, restored, damaged, forgotten."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tiny_gguf import Shape, write_adapter, write_model
from memsched import AsyncMOS
from memsched.activation.files import SlotFiles, file_of
from memsched.activation.kept import KeptSlots
from memsched.activation.place import files_of
from memsched.embedded.model_server import ensure_model_server, model_server_pid, release_model_server
from memsched.embedded.teardown import end_servers
from memsched.llm.client import LLM
from memsched.llm.servers.base import CacheHint, Caching, Step
from memsched.memory.access.permissions import CubeRef
from memsched.memory_prompt import hint_of
from memsched.policy.block import ActivationBlock, Member
from memsched.settings import Settings
from tests.support.llm import FakeLLM, says_json

pytestmark = pytest.mark.timeout(120)
pytest.importorskip("xllamacpp")

MODEL = "random.gguf"
SHAPE = Shape(width=32, layers=1, heads=2, kv_heads=1, feed_forward=64, context=2048)
REF = CubeRef("ann", "home")
BLOCK = ActivationBlock.of(
    [Member.of("m", "My dog Max loves peanut butter, and Ann lives in Rome.")], "0123456789abcdef"
)
OTHER = ActivationBlock.of(
    [Member.of("m", "My dog Max loves peanut butter, and Ann lives in Bonn.")], "fedcba9876543210"
)
HINT = hint_of(BLOCK)
WORKER = """
import asyncio, os, sys
from tests.integration.test_kept_slots import BLOCK, REF, settings_for
from memsched.activation.kept import KeptSlots
from memsched.llm.client import LLM
from memsched.llm.servers.base import Caching, Step
from memsched.memory_prompt import hint_of
async def die():
    os.kill(os.getpid(), 9)
settings = settings_for(sys.argv[1])
kept = KeptSlots(settings, LLM.from_settings(settings))
asyncio.run(kept.warm(REF, Caching(hint_of(BLOCK), Step.ONCE), [], die))
"""


def settings_for(folder: Path | str, **more: Any) -> Settings:
    given = {"llm_base_url": f"embedded://{folder}", "llm_model": MODEL, "llm_context_tokens": 2048} | more
    return Settings.load(redis_url="memory://kept", llm_concurrency=2, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / MODEL, SHAPE)
    yield folder
    release_model_server(folder, MODEL)
    end_servers(folder)


@pytest.fixture
def files(folder: Path) -> Iterator[SlotFiles]:
    found = files_of(settings_for(folder))
    assert found is not None
    yield found
    for each in found.folder.glob("*"):
        each.unlink()


@pytest.fixture
async def llm(folder: Path, files: SlotFiles) -> AsyncIterator[LLM]:
    llm = LLM.from_settings(settings_for(folder))
    assert llm is not None
    await asyncio.to_thread(ensure_model_server, folder, MODEL, context=2048)
    yield llm
    await llm.aclose()


async def yes() -> bool:
    return True


async def warm(
    kept: KeptSlots, hint: CacheHint = HINT, holds: Callable[[], Awaitable[bool]] = yes, ref: CubeRef = REF
) -> Caching:
    caching = Caching(hint, Step.ONCE)
    await kept.warm(ref, caching, [1.0], holds)
    return caching


async def ask(llm: LLM, hint: CacheHint = HINT) -> tuple[str, int]:
    """The answer, and how many tokens of the prompt were cached."""
    caching = Caching(hint, Step.ONCE)
    messages: Any = [{"role": "system", "content": f"{hint.head} today"}, {"role": "user", "content": "what?"}]
    said = await llm.complete(messages, max_tokens=6, caching=caching)
    assert caching.use.cached is not None
    return said, caching.use.cached


def kill(folder: Path) -> None:
    pid = model_server_pid(folder, MODEL)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_after_a_restart_the_head_is_read_from_disk_once(folder: Path, llm: LLM, files: SlotFiles) -> None:
    settings = settings_for(folder)
    warmed = await warm(KeptSlots(settings, llm))
    (saved,) = files.all()
    assert saved.tokens == warmed.prompt_tokens
    before, cached = await ask(llm)
    assert cached > 0.9 * saved.tokens

    kill(folder)
    kept = KeptSlots(settings, llm)
    assert await kept.restore(HINT) == saved.tokens
    after, cached = await ask(llm)
    assert after == before
    assert cached > 0.9 * saved.tokens
    (restored,) = files.all()
    assert restored.instance != saved.instance
    assert await warm(KeptSlots(settings, llm)) == Caching(HINT, Step.ONCE, warmed_use(saved.tokens), saved.tokens)
    (again,) = files.all()
    assert again == replace(restored, touched_at=again.touched_at, slot=again.slot), "it was read, and not saved again"


def warmed_use(tokens: int) -> Any:
    from memsched.llm.servers.base import CacheUse

    return CacheUse(cached=tokens)


async def test_a_damaged_file_never_reaches_the_server(folder: Path, llm: LLM, files: SlotFiles) -> None:
    kept = KeptSlots(settings_for(folder), llm)
    await warm(kept)
    before, _ = await ask(llm)
    (saved,) = files.all()
    path = files.folder / file_of(saved.name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    kill(folder)
    assert await kept.restore(HINT) == 0
    assert await ask(llm) == (before, 0)
    assert list(files.folder.iterdir()) == []


async def test_what_another_request_left_in_the_slot_is_not_saved(
    folder: Path, llm: LLM, files: SlotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, asked = KeptSlots(settings_for(folder), llm), llm.warm

    async def with_another_behind(caching: Caching) -> None:
        await asked(caching)
        await asked(Caching(CacheHint(hint_of(OTHER).head, "", "", slot=caching.hint.slot), Step.ONCE))

    monkeypatch.setattr(llm, "warm", with_another_behind)
    await warm(kept)

    assert list(files.folder.iterdir()) == []


async def test_of_a_cube_that_changed_meanwhile_nothing_is_saved(folder: Path, llm: LLM, files: SlotFiles) -> None:
    kept = KeptSlots(settings_for(folder), llm)

    async def no() -> bool:
        return False

    await warm(kept, holds=no)
    assert list(files.folder.iterdir()) == []

    async def forgotten() -> bool:
        await kept.forget(REF)
        return True

    await warm(kept, holds=forgotten)
    assert list(files.folder.iterdir()) == []


async def test_what_is_forgotten_is_gone_from_the_disk_and_from_the_slot(
    folder: Path, llm: LLM, files: SlotFiles
) -> None:
    kept = KeptSlots(settings_for(folder), llm)
    await warm(kept)
    await warm(kept, hint_of(OTHER), ref=CubeRef("bob", "home"))
    (saved,) = [each for each in files.all() if each.key == files.all()[0].key][:1]

    await kept.forget(REF)

    (left,) = files.all()
    assert left.name != saved.name or left.cube == saved.cube
    slots = await llm.manage("GET", "/slots")
    assert len([each for each in slots if each.get("n_prompt_tokens")]) <= 1
    await kept.forget(CubeRef("bob", "home"))
    assert list(files.folder.iterdir()) == []


@pytest.mark.long
async def test_a_worker_that_dies_before_it_kept_leaves_nothing_that_counts(
    folder: Path, llm: LLM, files: SlotFiles
) -> None:
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", WORKER, str(folder)])
    assert died.returncode == -signal.SIGKILL
    assert [each.suffix for each in files.folder.iterdir()] == [".part"]
    kill(folder)

    kept = KeptSlots(settings_for(folder), llm)
    assert await kept.restore(HINT) == 0
    await warm(kept)
    assert len(files.all()) == 1
    await kept.forget(REF)
    assert list(files.folder.iterdir()) == []


@pytest.mark.long
async def test_a_server_that_dies_while_it_saves_leaves_nothing_that_counts(
    folder: Path, llm: LLM, files: SlotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, manage = KeptSlots(settings_for(folder), llm), llm.manage

    async def killed(method: str, path: str, body: Any) -> Any:
        answer = await manage(method, path, body)
        if "action=save" in path:
            kill(folder)
        return answer

    monkeypatch.setattr(kept._slots, "_manage", killed)
    await warm(kept)

    assert [each.suffix for each in files.folder.iterdir()] in ([], [".json", ".kv"])
    monkeypatch.undo()
    assert (await ask(llm))[0] == (await ask(llm))[0]


@pytest.mark.long
async def test_an_adapter_and_none_never_answer_from_each_others_cache_after_a_restore(
    folder: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / MODEL, SHAPE)
    settings = settings_for(tmp_path)
    server = await asyncio.to_thread(ensure_model_server, tmp_path, MODEL, context=2048)
    write_adapter(server.adapters / "a.gguf", SHAPE)
    kill(tmp_path)
    llm = LLM.from_settings(settings)
    assert llm is not None
    try:
        kept = KeptSlots(settings, llm)
        plain, adapted = HINT, hint_of(BLOCK, "a")
        told = {hint.adapter: (await ask(llm, hint))[0] for hint in (plain, adapted)}
        assert told[None] != told["a"]
        for hint in (plain, adapted):
            await warm(kept, hint)
        kill(tmp_path)
        await ask(llm, CacheHint("another head " * 20, "", "", adapter="a"))
        for hint in (plain, adapted, plain):
            assert await kept.restore(hint) > 0
            said, cached = await ask(llm, hint)
            assert said == told[hint.adapter]
            assert cached > 0 or hint is not adapted
    finally:
        await llm.aclose()
        await asyncio.to_thread(end_servers, tmp_path)


@pytest.mark.long
async def test_a_chat_goes_on_from_disk_after_a_kill_and_a_deletion_leaves_no_file(folder: Path) -> None:
    with FakeLLM(says_json({"memories": []})) as reader:
        mos = AsyncMOS(
            **settings_for(folder, llm_context_tokens=4096).model_dump(include={"llm_base_url", "llm_model"}),
            redis_url="memory://kept-mos",
            user_id="alice",
            session_id="s",
            max_tokens=6,
            activation_interval_seconds=0,
            reader_model="r",
            reader_base_url=reader.url,
            reader_api_key="k",
        )
        files = files_of(mos.mem_scheduler.settings)
        assert files is not None
        for text in ("My dog Max loves peanut butter.", "My sister Ann is allergic to nuts."):
            await mos.add(memory_content=text, mem_cube_id="home", wait=True, timeout=60)
        await mos.wait(timeout=60)
        (saved,) = files.all()
        await asyncio.to_thread(kill, folder)

        await mos.chat("Who is allergic?", mem_cube_id="home")
        await mos.wait(timeout=60)
        assert saved.instance not in {each.instance for each in files.all()}

        services = await mos._services()
        salt = (await services.states.load(CubeRef("alice", "home"))).salt
        memories = (await mos.get_all(mem_cube_id="home"))["text_mem"][0]["memories"]
        (ann,) = [each for each in memories if "nuts" in each.indexed_text]
        await mos.delete(ann.memory_id, mem_cube_id="home")

        assert list(files.folder.iterdir()) == []
        assert (await services.states.load(CubeRef("alice", "home"))).salt != salt
        await mos.stop()
