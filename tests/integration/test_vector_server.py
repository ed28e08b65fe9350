"""The vector process, with real processes: who starts it and shares it, what survives, and when it goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from memsched.embedded import vector_server, watchdog
from memsched.embedded.redis_server import ensure_server, release_server
from memsched.embedded.teardown import end_servers
from memsched.embedded.vector_server import ensure_vector_server, release_vector_server, vector_server_pid
from memsched.embedded.vectors import __main__ as vectors_main
from memsched.embedded.vectors.catalogue import Catalogue
from memsched.errors import EmbeddedServerError
from tests.support.conditions import wait_until
from tests.support.embedded import IMPATIENT, processes_of, use_changed_watchdog, watchdogs_of
from tests.support.vectors import VECTORS, client_of, log_of, point

pytestmark = pytest.mark.timeout(60)

CLIENT = """
import sys
from memsched.embedded.vector_server import ensure_vector_server, vector_server_pid
print(ensure_vector_server(sys.argv[1]), vector_server_pid(sys.argv[1]), flush=True)
sys.stdin.readline()
"""

WRITER = """
import asyncio, sys
from qdrant_client import models
from memsched.embedded.vector_server import ensure_vector_server
from tests.support.vectors import client_of, point
async def write():
    client = client_of(ensure_vector_server(sys.argv[1]))
    number = int(sys.argv[2])
    while True:
        await client.upsert("c", [point(number + i, text="t") for i in range(5)])
        change = models.SetPayload(payload={"done": number}, points=[number])
        await client.batch_update_points("c", [models.SetPayloadOperation(set_payload=change)])
        number += 5
        print(number, flush=True)
asyncio.run(write())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a vector server; nothing of it is left running, or lying in the temporary directory."""
    folder = tmp_path / "data"
    yield folder
    release_vector_server(folder)
    release_server(folder)
    for process in watchdogs_of(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()  # it stops the server without the grace time
    wait_until(lambda: not processes_of(folder), "all processes of the folder have gone")
    assert not os.path.lexists(socket_directory(folder))


def socket_directory(folder: Path) -> str:
    state = watchdog.read_state(str(folder / "vectors"))
    return os.path.dirname(state["socket"]) if state else "/nonexistent"


@pytest.fixture
def impatient_watchdog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Servers that are not used stop at once."""
    use_changed_watchdog(monkeypatch, tmp_path, *IMPATIENT)


@contextlib.contextmanager
def running(code: str, folder: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, f"the client ended: {process.poll()}"
    return line


def on(folder: Path, what: Any) -> Any:
    """The result of `what(client)`, on a server that runs."""

    async def ask() -> Any:
        client = client_of(ensure_vector_server(folder))
        try:
            return await what(client)
        finally:
            await client.close()

    return asyncio.run(ask())


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: has_ended(pid), "it has died")


def has_ended(pid: int) -> bool:
    """With all of its threads: as long as one is there, its socket still takes connections that nobody will serve."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True


def test_it_starts_on_a_private_socket_beside_the_redis_server(folder: Path) -> None:
    socket_path = ensure_vector_server(folder)

    for private in (folder / "vectors", Path(socket_path).parent):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o700
    assert vector_server_pid(folder) in {process.pid for process in processes_of(folder)}
    assert len(processes_of(folder)) == 2, "a watchdog and a server"


def test_asking_again_is_cheap(folder: Path) -> None:
    socket_path = ensure_vector_server(folder)

    def seconds_of_a_call() -> float:
        begin = time.perf_counter()
        assert ensure_vector_server(folder) == socket_path
        return time.perf_counter() - begin

    assert min(seconds_of_a_call() for _ in range(100)) < 0.002


@pytest.mark.usefixtures("impatient_watchdog")
def test_processes_share_one_server_and_it_goes_after_the_last(folder: Path) -> None:
    socket_path = ensure_vector_server(folder)
    with running(CLIENT, folder) as other:
        assert hear(other) == f"{socket_path} {vector_server_pid(folder)}"
        on(folder, lambda client: client.create_collection("c", **VECTORS))
        release_vector_server(folder)
        time.sleep(0.5)  # it would have gone by now
        assert vector_server_pid(folder) is not None

    wait_until(lambda: not processes_of(folder), "the server has gone with its last user")

    assert not os.path.lexists(os.path.dirname(socket_path))
    assert on(folder, lambda client: client.collection_exists("c"))


@pytest.mark.usefixtures("impatient_watchdog")
def test_the_redis_server_of_the_same_folder_is_another(folder: Path) -> None:
    try:
        ensure_server(folder)
    except EmbeddedServerError:
        pytest.skip("no Redis or Valkey server on this machine")
    ensure_vector_server(folder)

    release_server(folder)

    wait_until(lambda: len(processes_of(folder)) == 2, "the Redis server and its watchdog have gone")
    assert vector_server_pid(folder) is not None


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(folder: Path) -> None:
    on(folder, lambda client: client.create_collection("c", **VECTORS))
    acknowledged = 0
    for _ in range(2):
        with running(WRITER, folder, acknowledged) as writer:
            for _ in range(30):
                acknowledged = max(acknowledged, int(hear(writer)))
            kill(vector_server_pid(folder))
            rest = writer.stdout.read() if writer.stdout is not None else ""  # it ends: its request failed
        acknowledged = max(acknowledged, *map(int, rest.split() or ["0"]))

        found = on(folder, lambda client: client.scroll("c", limit=100_000, with_vectors=True))[0]

        records = {record.id: record for record in found}
        assert set(range(acknowledged)) <= records.keys()
        for number in range(acknowledged):
            payload = {"text": "t", "done": number} if number % 5 == 0 else {"text": "t"}
            assert records[number].payload == payload
            assert records[number].vector.keys() == {"dense", "lexical"}


def test_a_server_that_died_is_started_again_by_the_watchdog(folder: Path) -> None:
    socket_path = ensure_vector_server(folder)
    on(folder, lambda client: client.create_collection("c", **VECTORS, metadata={"n": 1}))
    pid = vector_server_pid(folder)

    kill(pid)

    async def ask_with_one_client() -> Any:
        client = client_of(socket_path)
        try:
            return (await client.get_collection("c")).config.metadata
        finally:
            await client.close()

    assert asyncio.run(ask_with_one_client()) == {"n": 1}, "the client waits for the server"
    assert vector_server_pid(folder) != pid


def test_a_guard_that_was_killed_is_replaced_and_everything_is_there(folder: Path) -> None:
    async def write(client: Any) -> None:
        await client.create_collection("c", **VECTORS)
        await client.upsert("c", [point(1, text="t")])

    on(folder, write)

    [old_watchdog] = watchdogs_of(folder)
    kill(old_watchdog.pid)

    assert [record.id for record in on(folder, lambda client: client.retrieve("c", [1]))] == [1]
    assert len(processes_of(folder)) == 2


def test_a_stop_flushes_and_all_kinds_of_settings_come_back(folder: Path) -> None:
    async def write(client: Any) -> None:
        await client.create_collection("c", **VECTORS, metadata={"n": 1})
        await client.create_payload_index("c", "cube", models.KeywordIndexParams(type="keyword", is_tenant=True))
        alias = models.CreateAlias(collection_name="c", alias_name="current")
        await client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        await client.upsert("current", [point(number, cube="a") for number in range(10)])

    on(folder, write)
    end_servers(folder)

    info = on(folder, lambda client: client.get_collection("current"))

    assert info.points_count == 10
    assert info.config.metadata == {"n": 1}
    assert info.payload_schema["cube"].params.is_tenant


def test_a_damaged_collection_says_where_and_leaves_the_others_alone(folder: Path) -> None:
    async def write(client: Any) -> None:
        for name in ("good", "bad"):
            await client.create_collection(name, **VECTORS)

    on(folder, write)
    before = {each.name: each.folder for each in catalogue_of(folder)}
    kill(vector_server_pid(folder))
    shard = folder / "vectors" / before["bad"]
    for file in shard.rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")

    with pytest.raises(UnexpectedResponse) as caught:
        on(folder, lambda client: client.count("bad"))

    assert caught.value.status_code == 500
    assert str(shard) in caught.value.content.decode()
    assert on(folder, lambda client: client.count("good")).count == 0
    assert on(folder, lambda client: client.delete_collection("bad"))
    assert not shard.exists()


def catalogue_of(folder: Path) -> Catalogue:
    here = os.getcwd()
    os.chdir(folder / "vectors")
    try:
        return Catalogue()
    finally:
        os.chdir(here)


def test_a_catalogue_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "vectors").mkdir(parents=True)
    (folder / "vectors" / "collections.json").write_text("{")

    with pytest.raises(EmbeddedServerError) as caught:
        ensure_vector_server(folder)

    assert "collections.json cannot be understood" in str(caught.value)
    assert "embedded vector server" in str(caught.value)


def test_a_creation_that_was_interrupted_leaves_nothing(folder: Path) -> None:
    half_made = folder / "vectors" / "shards" / "0123"
    half_made.mkdir(parents=True)
    (half_made / "edge_config.json").write_text("{")
    (half_made.parent / "0123.unfinished").touch()

    ensure_vector_server(folder)

    assert not list(half_made.parent.iterdir())


def test_collections_without_their_catalogue_are_not_taken_for_rubbish(folder: Path) -> None:
    on(folder, lambda client: client.create_collection("c", **VECTORS))
    end_servers(folder)
    [shard] = (folder / "vectors" / "shards").iterdir()
    (folder / "vectors" / "collections.json").unlink()

    with pytest.raises(EmbeddedServerError) as caught:
        ensure_vector_server(folder)

    assert "collections.json is missing" in str(caught.value)
    assert shard.exists()


def test_what_is_missing_is_named_before_anything_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_server, "NEEDED", ("no_such_engine",))

    with pytest.raises(EmbeddedServerError) as caught:
        ensure_vector_server(folder)

    assert "no_such_engine" in str(caught.value)
    assert "pip install 'memsched[embedded]'" in str(caught.value)


def test_after_a_panic_of_the_engine_the_disk_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Panicking:
        def count(self, _: object) -> int:
            raise PanicException("index out of bounds")

        def close(self) -> None:
            raise PanicException("poisoned")

    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue()
    catalogue.create("c", {"vectors": {"dense": {"size": 4, "distance": "Cosine"}}})
    collection = catalogue.find("c")
    collection.upsert({"points": [{"id": 1, "vector": {"dense": [1, 2, 3, 4]}}]})
    collection.close()
    monkeypatch.setattr(collection, "_engine", Panicking())
    app = vectors_main.App(catalogue)
    path = ["collections", "c", "points", "count"]

    failed, text = app.answer("POST", path, b"{}", 0.0)
    status, answer = app.answer("POST", path, b"{}", 0.0)

    assert failed == 500
    assert b"index out of bounds" in text
    assert (status, json.loads(answer)["result"]) == (200, {"count": 1})
    catalogue.close()


async def test_deleted_points_are_vacuumed_when_it_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vectors_main, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(vectors_main, "QUIET_SECONDS", 0.02)
    catalogue = Catalogue()
    catalogue.create("c", {"vectors": {"dense": {"size": 4, "distance": "Cosine"}}})
    collection = catalogue.find("c")
    points = [{"id": number, "vector": {"dense": [1, 2, 3, 4]}} for number in range(3_000)]
    collection.upsert({"points": points})
    collection.delete({"points": list(range(2_000))})
    vacuumed = []
    monkeypatch.setattr(collection, "vacuum", lambda vacuum=collection.vacuum: vacuumed.append(vacuum()))

    duty = asyncio.create_task(vectors_main.housekeeping(vectors_main.App(catalogue)))
    while not vacuumed:
        await asyncio.sleep(0.01)
    duty.cancel()

    assert vacuumed == [True]
    assert not collection.unflushed
    assert collection.count({}) == {"count": 1_000}
    catalogue.close()


def test_nothing_is_said_in_its_log_when_all_is_well(folder: Path) -> None:
    on(folder, lambda client: client.create_collection("c", **VECTORS))
    end_servers(folder)

    assert log_of(folder) == ""
