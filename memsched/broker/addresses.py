"""Redis clients from an address: one server, Sentinel, Cluster, a unix socket, ``memory://``, ``embedded://``."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from memsched.errors import SettingsError
from memsched.settings import Settings

_PARSED_BY_CLIENT = (
    "XREADGROUP",
    "XRANGE",
    "XREVRANGE",
    "XPENDING",
    "XADD",
    "INFO",
    "HGETALL",
    "ZRANGE",
    "SMEMBERS",
    "PING",
)
"""Commands whose replies redis-py would turn into objects of its own."""

_CONNECT_TIMEOUT_SECONDS = 5.0
_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_EMBEDDED_SCHEME = "embedded://"
_LEAST_START_SECONDS = 5.0
_embedded_uses: Counter[str] = Counter()
"""How many connections of this process use each embedded server: it is released with the last one."""
os.register_at_fork(after_in_child=_embedded_uses.clear)
_fake_servers: dict[str, Any] = {}
"""The servers of memory:// by name: all clients of one name in this process share their data."""


class Client(Protocol):
    """What redis-py's clients have in common."""

    async def execute_command(self, *args: Any) -> Any: ...
    async def aclose(self) -> None: ...


def client_at(url: str, socket_timeout: float) -> Redis | RedisCluster:
    """A client that returns raw replies and retries nothing by itself: whoever calls knows what may be repeated.

    Raises ValueError for an address that cannot be understood.

    Args:
        url: an address as in MEMSCHED_REDIS_URL, without ``embedded://``.
        socket_timeout: seconds after which a call without an answer is given up.
    """
    options: dict[str, Any] = {
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    client: Redis | RedisCluster
    if scheme == "memory":
        client = _in_this_process(rest)
    elif scheme.endswith("+sentinel"):
        client = _through_sentinel(url, options)
    elif scheme.endswith("+cluster"):
        client = _of_cluster(url, options)
    else:
        if scheme == "unix":
            del options["socket_keepalive"]
        client = Redis.from_url(url, **options)
    for name in _PARSED_BY_CLIENT:
        client.set_response_callback(name, raw)
    return client


def client_of_node(cluster: RedisCluster) -> Redis:
    """A client of one node of a Cluster, on connections of its own."""
    node: Any = cluster.get_random_node()
    return Redis(connection_pool=ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs))


class EmbeddedAddress:
    """``embedded://FOLDER``: a server of our own, started when it is needed, released with its last user here."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.redis_url.removeprefix(_EMBEDDED_SCHEME)
        self._settings = settings
        self._release: Callable[[str], None] | None = None

    async def ensure(self) -> str:
        """Have the server run; returns the URL under which it answers. Raises EmbeddedServerError."""
        from memsched.embedded.redis_server import ensure_server, release_server  # an optional extra

        if self._release is None:
            self._release = release_server
            _embedded_uses[self._folder] += 1
        return await asyncio.to_thread(
            ensure_server,
            self._folder,
            timeout_seconds=max(self._settings.connect_timeout_seconds, _LEAST_START_SECONDS),
            program=self._settings.embedded_server,
        )

    async def release(self) -> None:
        """This connection needs it no more."""
        release = self._release
        self.leave()
        if release is not None and _embedded_uses[self._folder] == 0:
            await asyncio.to_thread(release, self._folder)

    def leave(self) -> None:
        """This connection is none any more; another one will need the server."""
        if self._release is not None:
            self._release = None
            _embedded_uses[self._folder] -= 1


def raw(response: Any, **_: Any) -> Any:
    """A parser of replies that parses nothing."""
    return response


def _of_cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    parts = urlsplit(url)
    hosts, login = _hosts(parts.netloc, _REDIS_PORT)
    nodes = [ClusterNode(host, port) for host, port in hosts]
    return RedisCluster(startup_nodes=nodes, ssl=parts.scheme.startswith("rediss"), **(options | login))


def _through_sentinel(url: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    hosts, login = _hosts(parts.netloc, _SENTINEL_PORT)
    path = [part for part in parts.path.split("/") if part]
    if not path:
        raise ValueError("redis+sentinel:// needs the service name: redis+sentinel://HOST:PORT,.../SERVICE/DB")
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    for_sentinel = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive")}
    for_sentinel |= {key: asked[f"sentinel_{key}"] for key in ("username", "password") if f"sentinel_{key}" in asked}
    extra = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    sentinel: Any = cast(Any, Sentinel)(hosts, sentinel_kwargs=for_sentinel, **login, **extra, **options)
    return cast(Redis, sentinel.master_for(path[0], db=int(path[1]) if len(path) > 1 else 0))


def _hosts(netloc: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """``user:password@host:port,host:port`` as hosts and login."""
    credentials, _, hosts = netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    login = {name: unquote(value) for name, value in (("username", user), ("password", password)) if value}
    pairs = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", str(default_port))
        if not name or not port.isdigit():
            raise ValueError(f"{host!r} is not HOST:PORT")
        pairs.append((name.strip("[]"), int(port)))
    return pairs, login


def _in_this_process(name: str) -> Redis:
    """A client of fakeredis."""
    try:
        import fakeredis
        import fakeredis.aioredis
    except ImportError:
        raise SettingsError(["MEMSCHED_REDIS_URL: memory:// needs: pip install 'memsched[memory]'."]) from None
    server = _fake_servers.setdefault(name, fakeredis.FakeServer())
    return cast(Redis, fakeredis.aioredis.FakeRedis(server=server, protocol=2))
