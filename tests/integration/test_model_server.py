"""The embedded model server, with a model of random weights: who starts and shares it, what survives, when it goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.tiny_gguf import Shape, write_adapter, write_model
from memsched.embedded import model_server as subject
from memsched.embedded.model_server import (
    ensure_model_server,
    model_server_pid,
    release_model_server,
    restart_model_server,
)
from memsched.embedded.teardown import end_servers
from memsched.errors import EmbeddedServerError, SettingsError
from memsched.llm.client import LLM
from memsched.llm.errors import LLMRefused
from memsched.llm.prompts import Message
from memsched.llm.servers.base import CacheHint, Caching, Step
from memsched.parameters.gate import Figures
from memsched.parameters.registry import Registry
from memsched.policy.salt import salt_for
from memsched.settings import Settings
from tests.support.conditions import wait_until
from tests.support.embedded import IMPATIENT, processes_of, use_changed_watchdog, watchdogs_of

pytestmark = pytest.mark.timeout(60)
pytest.importorskip("xllamacpp")

MODEL = "random.gguf"
SMALL = Shape(width=32, layers=1, heads=2, kv_heads=1, feed_forward=64, context=1024)
CLIENT = """
import sys
from memsched.embedded.model_server import ensure_model_server, model_server_pid
print(ensure_model_server(sys.argv[1], "random.gguf").url, model_server_pid(sys.argv[1], "random.gguf"), flush=True)
sys.stdin.readline()
"""


def ready(folder: Path) -> subject.ModelServer:
    return ensure_model_server(folder, MODEL, context=512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a model; nothing of it is left running."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / MODEL, SMALL)
    yield folder
    release_model_server(folder, MODEL)
    end_servers(folder)
    wait_until(lambda: not processes_of(folder), "all processes of the folder have gone")


def settings_for(folder: Path, **more: Any) -> Settings:
    given = {"llm_base_url": f"embedded://{folder}", "llm_model": MODEL, "llm_context_tokens": 1024} | more
    return Settings.load(redis_url="memory://models", **given)


def asked(url: str, key: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_server_is_on_loopback_and_wants_its_key(folder: Path) -> None:
    server = ready(folder)

    assert server.url.startswith("http://127.0.0.1:")
    assert asked(f"{server.url}/v1/models")[0] == 401
    assert asked(f"{server.url}/v1/models", server.key)[0] == 200
    pid = model_server_pid(folder, MODEL)
    listening = {each.laddr.ip for each in psutil.Process(pid).net_connections("inet") if each.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    assert not any(server.key in part for each in processes_of(folder) for part in each.cmdline())
    assert server.key not in repr(server)
    assert (server.folder / "endpoint.json").stat().st_mode & 0o077 == 0


def test_processes_share_one_server(folder: Path) -> None:
    server = ready(folder)
    with subprocess.Popen([sys.executable, "-c", CLIENT, str(folder)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().split() == [server.url, str(model_server_pid(folder, MODEL))]
        other.communicate("\n")


async def test_a_model_of_our_own_answers_and_its_server_is_started_by_the_first_question(folder: Path) -> None:
    llm = LLM.from_settings(settings_for(folder))
    assert llm is not None
    assert llm.is_private
    try:
        told = await llm.complete([{"role": "user", "content": "hello"}], max_tokens=4)
        pieces = [each async for each in llm.stream([{"role": "user", "content": "hello"}], max_tokens=4)]
        assert "".join(pieces) == told
    finally:
        await llm.aclose()


async def test_a_question_waits_for_a_server_that_was_killed(folder: Path) -> None:
    server = ready(folder)
    llm = LLM.from_settings(settings_for(folder))
    assert llm is not None
    try:
        before = await llm.complete([{"role": "user", "content": "hello"}], max_tokens=4)
        pid = model_server_pid(folder, MODEL)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        after = await llm.complete([{"role": "user", "content": "hello"}], max_tokens=4)
    finally:
        await llm.aclose()

    assert after == before
    assert await asyncio.to_thread(ready, folder) == server, "the same port and key"
    assert model_server_pid(folder, MODEL) != pid


@pytest.mark.long
def test_adapters_are_loaded_at_a_restart_and_a_damaged_one_costs_no_chat(folder: Path) -> None:
    server = ready(folder)
    write_adapter(server.adapters / "a.gguf", SMALL)
    restart_model_server(folder, MODEL)
    _, loaded = asked(f"{server.url}/lora-adapters", server.key)
    assert b"a.gguf" in loaded
    assert b'"scale":0.0' in loaded

    (server.adapters / "b.gguf").write_bytes(b"GGUF and nothing more")
    restart_model_server(folder, MODEL)
    _, loaded = asked(f"{server.url}/lora-adapters", server.key)
    assert b"a.gguf" in loaded, "the damaged one costs the others nothing"
    assert b"b.gguf" not in loaded
    assert "left out: b.gguf\n" in (server.folder / "server.log").read_text()
    for each in server.adapters.iterdir():
        each.unlink()


@pytest.mark.long
def test_the_server_ends_after_its_last_user_and_when_its_watchdog_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_changed_watchdog(monkeypatch, tmp_path, *IMPATIENT)
    folder = tmp_path / "data"
    folder.mkdir()
    write_model(folder / MODEL, SMALL)
    command = [sys.executable, "-c", CLIENT, str(folder)]
    ready(folder)
    release_model_server(folder, MODEL)
    wait_until(lambda: not processes_of(folder), "the server has gone with its last user")

    ready(folder)
    for each in watchdogs_of(folder):
        each.kill()
    wait_until(lambda: not processes_of(folder), "the server has gone with its watchdog")
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        other.kill()
    release_model_server(folder, MODEL)
    with contextlib.suppress(psutil.NoSuchProcess):
        wait_until(lambda: not processes_of(folder), "the server has gone with a user that was killed", seconds=20)


def test_what_cannot_start_says_what_to_do(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"MEMSCHED_LLM_BASE_URL: embedded:// needs a folder"):
        LLM.from_settings(Settings.load(llm_base_url="embedded://", llm_model=MODEL))
    (folder / "page.gguf").write_bytes(b"<html>404</html>")
    (folder / "cut.gguf").write_bytes((folder / MODEL).read_bytes()[:5000])
    with pytest.raises(SettingsError, match=r"MEMSCHED_LLM_BASE_URL=embedded://.*There is no file .*none.gguf"):
        LLM.from_settings(settings_for(folder, llm_model="none.gguf"))
    with pytest.raises(SettingsError, match=r"page.gguf is no GGUF file"):
        LLM.from_settings(settings_for(folder, llm_model="page.gguf"))
    with pytest.raises(EmbeddedServerError, match=r"cut.gguf is damaged, or of a kind .*Get the file again"):
        ensure_model_server(folder, "cut.gguf")
    monkeypatch.setattr(subject.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"Not installed: xllamacpp.*pip install 'memsched\[local\]'"):
        LLM.from_settings(settings_for(folder))


@pytest.mark.long
async def test_an_adapter_answers_by_its_name_until_it_is_unloaded(folder: Path, tmp_path: Path) -> None:
    measured = {"held_out": 1, "answer_tokens": 1, "controls_refused": 1}
    measured |= {"replay_loss_before": 1, "replay_loss_after": 1}
    figures = Figures.model_validate({**measured, "weights": "adapter.gguf", "gguf": "adapter.gguf"})
    write_adapter(tmp_path / "adapter.gguf", SMALL, weight=3.0)
    llm = LLM.from_settings(settings_for(folder))
    assert llm is not None
    registry = Registry(llm, llm.own_server)

    async def says(adapter: str | None) -> str:
        head = salt_for("0123456789abcdef", adapter)
        asking = Caching(CacheHint(head, "salt", "key", adapter), Step.ONCE)
        messages: list[Message] = [{"role": "system", "content": head}, {"role": "user", "content": "hello"}]
        return await llm.complete(messages, max_tokens=12, caching=asking)

    try:
        plain = await says(None)
        with pytest.raises(LLMRefused, match="does not have the adapter memsched-1"):
            await says("memsched-1")
        await registry.load("memsched-1", tmp_path, figures)
        adapted = await says("memsched-1")
        assert adapted != plain
        assert [await says(None), await says("memsched-1"), await says(None)] == [plain, adapted, plain]
        await registry.unload("memsched-1")
        with pytest.raises(LLMRefused):
            await says("memsched-1")
        assert await says(None) == plain
        assert not list((await llm.own_server.adapters()).iterdir())
    finally:
        await llm.aclose()
