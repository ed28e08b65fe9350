"""Clients of redis-py for an address.

They return raw replies, and retry nothing by themselves: whoever calls knows what may be repeated.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from memsched.broker.addresses import Address, Form
from memsched.broker.failures import NoMaster, failure_of
from memsched.errors import SettingsError

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
_SENTINEL_TIMEOUT_SECONDS = 2.0
"""A Sentinel that does not answer by then is passed over: there are others."""
_UNACKNOWLEDGED_MS = 5000
"""What was sent and is not acknowledged by the other side's kernel for so long was sent into the void."""
_KEEPALIVE = {
    option: value
    for name, value in (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPALIVE", 15),  # the same on macOS
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS),
    )
    if (option := getattr(socket, name, None)) is not None
}
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}
_OURS = (*_OF_SENTINELS, "max_connections", "health_check_interval")
"""Options of an address that no connection of redis-py is told."""
_fake_servers: dict[str, Any] = {}
"""The servers of memory:// by name: all clients of one name in this process share their data."""


_TLS_CONTEXT_SECONDS = 60.0
_tls_contexts: dict[tuple[Any, ...], tuple[float, RedisSSLContext]] = {}
"""By what they were made of; with each, when it was."""


class Client(Protocol):
    """What redis-py's clients have in common."""

    async def execute_command(self, *args: Any) -> Any: ...
    async def aclose(self) -> None: ...


def client_at(address: Address, socket_timeout: float) -> Redis | RedisCluster:
    """A client for an address.

    Args:
        socket_timeout: seconds after which a call without an answer is given up.
    """
    given = {name: value for name, value in address.options.items() if name not in _OURS}
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        **given,
        "socket_timeout": socket_timeout,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.form is not Form.SOCKET:
        options = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE, **options}
    client: Redis | RedisCluster
    match address.form:
        case Form.MEMORY:
            client = _in_this_process(address.name)
        case Form.SENTINEL:
            client = _through_sentinels(address, options)
        case Form.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            client = RedisCluster(startup_nodes=nodes, ssl=address.tls, **options)
            if address.tls:
                client.connection_kwargs["connection_class"] = _TlsConnection  # of the nodes that it finds
                for node in client.nodes_manager.startup_nodes.values():
                    node.connection_class = _TlsConnection
        case Form.SOCKET:
            client = _of_one_server(UnixDomainSocketConnection, path=address.path, **options)
        case Form.SERVER:
            host, port = address.hosts[0]
            client = _of_one_server(_TlsConnection if address.tls else Connection, host=host, port=port, **options)
    for name in _PARSED_BY_CLIENT:
        client.set_response_callback(name, raw)
    return client


class _TlsConnection(SSLConnection):
    """redis-py's, but that connections with the same options share a TLS context for a minute.

    Making one reads all authorities that the system trusts, while the event loop stands still: 40 ms for each of the
    many connections of a Cluster, and again whenever all are made anew. After the minute, new certificates are read.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        given = tuple(getattr(self.ssl_context, name) for name in RedisSSLContext.__slots__ if name != "context")
        now = time.monotonic()
        made, context = _tls_contexts.get(given, (-math.inf, self.ssl_context))
        if now - made > _TLS_CONTEXT_SECONDS:
            made, context = now, self.ssl_context
            _tls_contexts[given] = made, context
        self.ssl_context = context


class _TlsConnectionToMaster(SentinelManagedConnection, _TlsConnection):
    pass


def client_of_node(cluster: RedisCluster) -> Redis:
    """A client of one node of a Cluster, on connections of its own."""
    node: Any = cluster.get_random_node()
    return _of_one_server(node.connection_class, **node.connection_kwargs)


async def close(client: Redis | RedisCluster) -> None:
    """Close it, and the connections to the Sentinels that it asks."""
    await cast(Client, client).aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def raw(response: Any, **_: Any) -> Any:
    """A parser of replies that parses nothing."""
    return response


def _of_one_server(connection_class: Any, **options: Any) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=connection_class, **options))


def _through_sentinels(address: Address, options: dict[str, Any]) -> Redis:
    """TLS and its options are for the Sentinels too; the login and the database are the master's."""
    masters_only = ("username", "password", "db", "client_name")
    for_sentinels = {name: value for name, value in options.items() if name not in masters_only}
    for_sentinels |= {ours: address.options[name] for name, ours in _OF_SENTINELS.items() if name in address.options}
    for_sentinels |= {
        name: min(for_sentinels[name], _SENTINEL_TIMEOUT_SECONDS)
        for name in ("socket_timeout", "socket_connect_timeout")
    }
    tls = {"ssl": True} if address.tls else {}
    sentinels: Any = _Sentinels(address.hosts, sentinel_kwargs=for_sentinels | tls, **options)
    return cast(
        Redis,
        sentinels.master_for(
            address.name, connection_class=_TlsConnectionToMaster if address.tls else SentinelManagedConnection
        ),
    )


class _Sentinels(Sentinel):
    """redis-py's, but that it tells what each Sentinel says; redis-py's passes over the reasons."""

    def __init__(self, hosts: Sequence[tuple[str, int]], **options: Any) -> None:
        super().__init__(hosts, **options)  # type: ignore[no-untyped-call]
        self._clients = list(zip([f"{host}:{port}" for host, port in hosts], self.sentinels, strict=True))

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The first master that a Sentinel knows to be up. Raises NoMaster."""
        silent: list[str] = []
        refused: list[str] = []
        known: set[str] = set()
        for where, client in list(self._clients):
            try:
                masters: Any = await client.sentinel_masters()
            except (RedisError, OSError) as error:
                failure = failure_of(error)
                (refused if failure.answers else silent).append(f"Sentinel {where}: {failure.reason}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self._clients.remove((where, client))
                self._clients.insert(0, (where, client))  # asked first the next time
                return state["ip"], state["port"]
            known.update(masters)
        if service_name in known:
            raise NoMaster(f"the Sentinels know of no master of {service_name!r} that is up", answers=True)
        if known or not (silent or refused):
            names = ", ".join(sorted(known)) or "none"
            raise NoMaster(f"the Sentinels know no service {service_name!r}; they know {names}", hopeless=True)
        raise NoMaster("; ".join(refused or silent), answers=bool(refused), hopeless=bool(refused))


def _in_this_process(name: str) -> Redis:
    """A client of fakeredis."""
    try:
        import fakeredis
        import fakeredis.aioredis
    except ImportError:
        raise SettingsError(["MEMSCHED_REDIS_URL: memory:// needs: pip install 'memsched[memory]'."]) from None
    server = _fake_servers.setdefault(name, fakeredis.FakeServer())
    # Its connections cost nothing, and a caller beyond redis-py's usual hundred would be refused.
    return cast(Redis, fakeredis.aioredis.FakeRedis(server=server, protocol=2, max_connections=2**31))
