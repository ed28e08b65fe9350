"""How each kind of model server loads adapters, and lets go of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memsched.embedded.model_server import unload_adapter
from memsched.llm.server_errors import ServerError
from memsched.llm.servers import DIALECTS
from memsched.llm.servers.base import Dialect
from memsched.parameters.gate import Figures
from memsched.parameters.registry import AdapterNotLoaded, Registry

FIGURES = Figures(
    held_out=1,
    answer_tokens=1,
    replay_loss_before=1,
    replay_loss_after=1,
    controls_refused=1,
    weights="adapter.bin",
    gguf="adapter.gguf",
)
NAME = "memsched-0123456789abcdef"


class Server:
    """One of a kind, and what it was asked."""

    model = "base"

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.names: list[str] = []
        self.paths: list[Path] = []
        self.asked: list[tuple[str, str, Any]] = []

    async def dialect(self) -> Dialect:
        return DIALECTS[self._kind]

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        if method == "GET" and path == "/v1/models":
            return {"data": [{"id": each} for each in ("base", *self.names)]}
        if method == "GET" and path == "/lora-adapters":
            return [{"id": number, "path": str(each), "scale": 0} for number, each in enumerate(self.paths)]
        self.asked.append((method, path, body))
        given = body if isinstance(body, Mapping) else {}
        name = str(given.get("lora_name") or given.get("model") or "")
        if "unload" in path or method == "DELETE":
            self.names.remove(name)
        elif name:
            self.names.append(name)
        return None


class Own:
    """llama.cpp's server of our own."""

    def __init__(self, server: Server, folder: Path, damaged: str = "") -> None:
        self._server, self._folder, self._damaged = server, folder, damaged
        self.starts = 0

    async def adapters(self) -> Path:
        return self._folder

    async def restart(self) -> None:
        self.starts += 1
        found = sorted(self._folder.glob("*.gguf"))
        self._server.paths = [each for each in found if each.stem != self._damaged]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("adapter.bin", "adapter.gguf"):
        (folder / name).write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("kind", "load", "unload"),
    [
        ("vllm", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
        ("sglang", "/load_lora_adapter", "/unload_lora_adapter"),
    ],
)
async def test_those_that_load_while_they_run(made: Path, kind: str, load: str, unload: str) -> None:
    server = Server(kind)
    registry = Registry(server)

    for _ in range(2):
        await registry.load(NAME, made, FIGURES)
    for _ in range(2):
        await registry.unload(NAME)

    assert server.asked == [
        ("POST", load, {"lora_name": NAME, "lora_path": str(made)}),
        ("POST", unload, {"lora_name": NAME}),
    ]


async def test_ollama_makes_a_model_of_its_own(made: Path) -> None:
    server = Server("ollama")
    registry = Registry(server)

    await registry.load(NAME, made, FIGURES)
    await registry.unload(NAME)

    (_, blob, data), (_, create, body), (method, delete, gone) = server.asked
    assert data == b"weights"
    assert blob.startswith("/api/blobs/sha256:")
    assert (create, body["from"], body["adapters"]) == (
        "/api/create",
        "base",
        {f"{NAME}.gguf": blob.removeprefix("/api/blobs/")},
    )
    assert (method, delete, gone) == ("DELETE", "/api/delete", {"model": NAME})


async def test_a_server_of_our_own_is_started_anew_with_it_and_without_it(made: Path, tmp_path: Path) -> None:
    server = Server("llama_cpp")
    folder = tmp_path / "adapters"
    folder.mkdir()
    (folder / "another.gguf").write_bytes(b"weights")
    own = Own(server, folder)
    registry = Registry(server, own, lambda name: unload_adapter(tmp_path, name))

    for _ in range(2):
        await registry.load(NAME, made, FIGURES)
    assert await DIALECTS["llama_cpp"].called(NAME, server.manage) == "1"
    for _ in range(2):
        await registry.unload(NAME)

    assert own.starts == 2
    assert [each.name for each in folder.iterdir()] == ["another.gguf"]


async def test_one_that_it_cannot_load_costs_the_others_nothing(made: Path, tmp_path: Path) -> None:
    server, folder = Server("llama_cpp"), tmp_path / "adapters"
    folder.mkdir()
    (folder / "another.gguf").write_bytes(b"weights")
    own = Own(server, folder, damaged=NAME)
    registry = Registry(server, own)

    for _ in range(2):
        with pytest.raises(AdapterNotLoaded, match=rf"{NAME}\.gguf.*its log says why"):
            await registry.load(NAME, made, FIGURES)
        assert [each.name for each in server.paths] == ["another.gguf"]
        assert [each.name for each in folder.iterdir()] == ["another.gguf"]
    assert own.starts == 1, "it is not started anew for the same file"

    (made / "adapter.gguf").write_bytes(b"whole weights")
    own._damaged = ""
    await registry.load(NAME, made, FIGURES)
    assert own.starts == 2


@pytest.mark.parametrize("kind", ["llama_cpp", "ollama"])
async def test_weights_that_are_gone_are_told(made: Path, tmp_path: Path, kind: str) -> None:
    (made / "adapter.gguf").unlink()
    server = Server(kind)
    with pytest.raises(AdapterNotLoaded, match=r"adapter\.gguf is gone"):
        await Registry(server, Own(server, tmp_path)).load(NAME, made, FIGURES)


@pytest.mark.parametrize("kind", ["llama_cpp", "vllm", "openai", None])
async def test_what_is_unloaded_is_gone_from_servers_of_our_own_too(tmp_path: Path, kind: str | None) -> None:
    gone: list[str] = []

    await Registry(Server(kind) if kind else None, None, gone.append).unload(NAME)

    assert gone == [NAME]


async def test_what_somebody_who_died_left_half_copied_goes(made: Path, tmp_path: Path) -> None:
    server, folder = Server("llama_cpp"), tmp_path / "adapters"
    folder.mkdir()
    for name, age in (("old.part", 7200), ("new.part", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)

    await Registry(server, Own(server, folder)).load(NAME, made, FIGURES)

    assert sorted(each.name for each in folder.iterdir()) == [f"{NAME}.gguf", "new.part"]


async def test_somebody_elses_llama_cpp_has_to_be_told(made: Path) -> None:
    with pytest.raises(AdapterNotLoaded, match=rf"--lora .*{NAME}\.gguf"):
        await Registry(Server("llama_cpp")).load(NAME, made, FIGURES)


@pytest.mark.parametrize("kind", ["generic", "openai", "deepseek", "gateway"])
async def test_who_knows_no_adapters_is_told_by_name(made: Path, kind: str) -> None:
    with pytest.raises(AdapterNotLoaded, match=f"'{kind}' knows no adapters"):
        await Registry(Server(kind)).load(NAME, made, FIGURES)


async def test_what_needs_a_gguf_says_so(made: Path) -> None:
    with pytest.raises(AdapterNotLoaded, match="made no GGUF"):
        await Registry(Server("ollama")).load(NAME, made, FIGURES.model_copy(update={"gguf": ""}))


async def test_a_server_that_is_away_is_an_error_with_its_words(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("vllm")

    async def away(*_: Any) -> Any:
        raise ServerError("nobody answers there.", kind="unreachable")

    monkeypatch.setattr(server, "manage", away)
    for call in (Registry(server).load(NAME, made, FIGURES), Registry(server).unload(NAME)):
        with pytest.raises(AdapterNotLoaded, match="nobody answers there"):
            await call
