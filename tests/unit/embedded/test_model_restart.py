"""The embedded model server begins anew between calls, and without what it cannot load."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from memsched.embedded import model_process, model_server
from memsched.errors import EmbeddedServerError

BUSY, IDLE, SILENT = [{"is_processing": True}], [{"is_processing": False}], "silent"


class Server(ThreadingHTTPServer):
    """llama.cpp's: what it answers about its slots, one after the other, the last for good; and who ended it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.slots: list[Any] = [IDLE]
        self.loaded: list[str] = []
        self.asked = 0
        self.pid = 4711
        self.ended_after: list[int] = []

    def end(self, pid: int, _: int) -> None:
        assert pid == self.pid
        self.pid += 1
        self.ended_after.append(self.asked)


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        told: Any = [{"path": each} for each in self.server.loaded]
        if self.path == "/slots":
            told = self.server.slots[min(self.server.asked, len(self.server.slots) - 1)]
            self.server.asked += 1
        if told == SILENT:
            time.sleep(0.2)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def server(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        model_server.write_endpoint(place, server.server_port, "key")
        monkeypatch.setattr(model_server, "_ASK_SECONDS", 0.05)
        monkeypatch.setattr(model_server, "_pid_at", lambda _: server.pid)
        monkeypatch.setattr(model_server, "place_of", lambda *_: place)
        monkeypatch.setattr(model_server, "ensure_model_server", lambda *_, **__: None)
        monkeypatch.setattr(model_server.os, "kill", server.end)
        yield server
        server.shutdown()


@pytest.mark.parametrize("busy", [BUSY, SILENT], ids=str)
def test_a_server_that_works_or_is_too_busy_to_answer_is_waited_for(server: Server, place: Path, busy: Any) -> None:
    server.slots = [busy, busy, IDLE]

    model_server.restart_model_server(place, "m.gguf", timeout_seconds=10)

    assert server.ended_after == [3]


def test_no_call_is_broken_off_when_it_takes_too_long(server: Server, place: Path) -> None:
    server.slots = [SILENT]

    with pytest.raises(EmbeddedServerError, match="works without a pause"):
        model_server.restart_model_server(place, "m.gguf", timeout_seconds=0.1)

    assert server.ended_after == []


def test_only_a_server_that_loaded_an_adapter_begins_anew_without_it(server: Server, place: Path) -> None:
    server.loaded = ["/somewhere/adapters/other.gguf"]
    model_server.unload_adapter(place, "memsched-1")
    assert server.ended_after == []

    server.loaded.append("/somewhere/adapters/memsched-1.gguf")
    model_server.unload_adapter(place, "memsched-1")
    assert server.ended_after == [1]


def test_where_no_server_runs_none_is_ended(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "_pid_at", lambda _: None)
    server.loaded = ["memsched-1.gguf"]
    (place / "adapters").mkdir()
    for name in ("memsched-1", "another"):
        (place / "adapters" / f"{name}.gguf").touch()

    model_server.unload_adapter(place, "memsched-1")

    assert server.ended_after == []
    assert [each.name for each in (place / "adapters").iterdir()] == ["another.gguf"]


@pytest.mark.parametrize("is_named", [True, False])
def test_a_damaged_adapter_is_left_out_and_the_others_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_named: bool
) -> None:
    adapters = [tmp_path / f"{name}.gguf" for name in ("a", "b", "c", "d")]
    damaged = {tmp_path / "b.gguf", tmp_path / "d.gguf"}

    def start(_: Any, __: Any, given: list[Path]) -> list[str]:
        for each in given:
            if each in damaged:
                if is_named:
                    os.write(log, f"E cmn  common_init_: failed to load lora adapter '{each}'\n".encode())
                raise RuntimeError("Failed to init server, please check the input params.")
        return [each.stem for each in given]

    monkeypatch.setattr(model_process, "start", start)
    monkeypatch.setattr(model_process, "_LOG_SECONDS", 0.0)
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        loaded = model_process.started({}, {"port": 0}, adapters, log)
    finally:
        os.close(log)

    assert loaded == (["a", "c"] if is_named else [])
    said = capsys.readouterr().err
    assert ("b.gguf\n" in said, "d.gguf\n" in said) == (is_named, True)


def test_a_model_that_cannot_be_loaded_is_no_adapters_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries: list[int] = []

    def start(_: Any, __: Any, given: list[Path]) -> None:
        tries.append(len(given))
        raise RuntimeError

    monkeypatch.setattr(model_process, "start", start)
    with (tmp_path / "log").open("w+") as log, pytest.raises(RuntimeError):
        model_process.started({}, {"port": 0}, [tmp_path / "a.gguf"], log.fileno())

    assert tries == [1, 0]
