"""Redis clients from a URL: single, Sentinel, Cluster, ``memory://``, ``embedded://``.

Everything above talks to a ``Server``: ``run`` sends commands in one round trip, ``read`` waits for messages on a
connection of its own. Replies are raw (bytes, ints, lists): RESP2 everywhere, parsed where they are asked for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

from memsched.broker.pool import Lines
from memsched.broker.scripting import Command
from memsched.errors import ServerRefused, ServerTooOld, ServerUnreachable, SettingsError
from memsched.settings import Settings, masked

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.client import PubSub
    from redis.asyncio.connection import ConnectionPool

T = TypeVar("T")
log = structlog.get_logger(__name__)

_SOCKET_TIMEOUT_SECONDS = 10.0
"""A call that got no answer for so long is given up and tried again on a new connection."""


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


class UnreachableError(Exception):
    """A call found no server; what it would have done may or may not have happened."""


class _Client(Protocol):
    async def execute_command(self, *args: Any) -> Any: ...
    async def aclose(self) -> None: ...


def _raw(response: Any, **_: Any) -> Any:
    return response


class Server:
    """One Redis deployment. Use ``Server.connect``; close it with ``aclose``.

    clustered: a script may touch the keys of one lane only.
    blocking: reads may wait at the server (fakeredis cannot do that).
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.redis_url
        scheme = self.url.partition("://")[0]
        self.clustered = scheme.endswith("+cluster")
        self.blocking = scheme != "memory"
        self._client: Redis | RedisCluster | None = None
        self._reader: Redis | RedisCluster | None = None
        self._lines: Lines | None = None
        self._reading_lines: Lines | None = None
        self._errors: tuple[type[Exception], ...] = ()
        self._uses_embedded = False
        self._embedded = self.url.removeprefix("embedded://") if scheme == "embedded" else None

    @classmethod
    async def connect(cls, settings: Settings) -> Server:
        """A server that has answered. Raises ServerUnreachable, ServerTooOld or SettingsError."""
        server = cls(settings)
        try:
            await server._open()
            await server._check_version()
        except BaseException:
            await server.aclose()
            raise
        return server

    async def _open(self) -> None:
        from redis import exceptions

        self._errors = (exceptions.ConnectionError, exceptions.TimeoutError, OSError, TimeoutError)
        url = self.url
        if self._embedded is not None:
            url = await self._ensure_embedded()
        try:
            block = self.settings.block_ms / 1000
            self._client = _client(url, _SOCKET_TIMEOUT_SECONDS)
            # A blocked read answers within block_ms; a shorter time-out would strand what it was given.
            self._reader = _client(url, block + _SOCKET_TIMEOUT_SECONDS)
        except (ValueError, OSError) as error:
            raise SettingsError([f"MEMSCHED_REDIS_URL: {error}."]) from error
        if self.blocking and not self.clustered:
            self._lines = Lines(cast("Redis", self._client).connection_pool)
            self._reading_lines = Lines(cast("Redis", self._reader).connection_pool)
        await self.persistently(lambda: self.execute("PING"))

    async def _ensure_embedded(self) -> str:
        from memsched.embedded import ensure_server

        assert self._embedded is not None
        timeout = self.settings.connect_timeout_seconds
        if not self._uses_embedded:
            self._uses_embedded = True
            _embedded_uses[self._embedded] += 1
        return await asyncio.to_thread(
            ensure_server, self._embedded, timeout_seconds=max(timeout, 5.0), program=self.settings.embedded_server
        )

    async def _check_version(self) -> None:
        if not self.blocking:
            return
        try:
            reply = await self.execute("INFO", "server")
        except ServerRefused as error:
            log.debug("the server does not tell its version", action="server.version_unknown", error=str(error))
            return
        info = dict(line.split(":", 1) for line in _decoded_info(reply).splitlines() if ":" in line)
        version = info.get("redis_version", "")
        if "valkey_version" not in info and version and int(version.split(".")[0]) < 7:
            raise ServerTooOld(version)

    async def aclose(self) -> None:
        for lines in (self._lines, self._reading_lines):
            if lines is not None:
                await lines.aclose()
        self._lines = self._reading_lines = None
        for client in (self._client, self._reader):
            if client is not None:
                await cast("_Client", client).aclose()
        self._client = self._reader = None
        if self._embedded is not None and self._uses_embedded:
            self._uses_embedded = False
            _embedded_uses[self._embedded] -= 1
            if _embedded_uses[self._embedded] == 0:
                from memsched.embedded import release_server

                await asyncio.to_thread(release_server, self._embedded)

    # -- calls ---------------------------------------------------------------------------------------------------

    async def execute(self, *args: Any) -> Any:
        """One command. Raises UnreachableError when there is no answer, ServerRefused when it is refused."""
        return await self.call(Command(args, _raw))

    async def call(self, command: Command[T]) -> T:
        """One command, its reply parsed. Raises as ``execute``."""
        (reply,) = await self.run([command])
        return cast(T, answered(reply))

    async def run(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """All commands in one round trip (on a Cluster: those of one slot one after another, all slots at once).

        Returns the parsed replies in order; a command that the server refused gives its exception. Raises
        UnreachableError when there is no answer: any part of the commands may have been done.
        """
        return await self._run(commands, self._send)

    async def run_at_one_instant(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """As ``run``, with nobody else's commands in between. On a Cluster that holds for each command only."""
        return await self._run(commands, self._send if self.clustered else self._send_as_one)

    async def _run(
        self, commands: Sequence[Command[Any]], send: Callable[[Sequence[tuple[Any, ...]]], Awaitable[list[Any]]]
    ) -> list[Any]:
        replies = await send([command.args for command in commands])
        missing = [number for number, reply in enumerate(replies) if type(reply).__name__ == "NoScriptError"]
        if missing:
            # The server was restarted, or another one took over: these did nothing yet, and go again in full.
            if send == self._send_as_one:
                missing = list(range(len(commands)))
            in_full = [_in_full(commands[number]) for number in missing]
            for number, reply in zip(missing, await send(in_full), strict=True):
                replies[number] = reply
        return [
            reply if isinstance(reply, Exception) else command.parse(reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _send(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        client = self._client
        if client is None:
            raise UnreachableError("the connection is closed")
        try:
            if self._lines is not None:
                return await self._lines.talk(calls)
            if len(calls) == 1:
                return [await _answer(cast("_Client", client).execute_command(*calls[0]), self._errors)]
            if self.clustered:
                return await self._send_by_slot(cast("_Client", client), calls)
            pipeline = cast("Redis", client).pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command(*call)
            return list(await pipeline.execute(raise_on_error=False))
        except self._errors as error:
            raise UnreachableError(_reason(error)) from error

    async def _send_by_slot(self, client: _Client, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What is sent about one lane arrives in the order in which it was sent."""
        slots: dict[int, list[int]] = {}
        for number, call in enumerate(calls):
            slots.setdefault(_slot(call), []).append(number)
        replies: list[Any] = [None] * len(calls)

        async def talk(numbers: list[int]) -> None:
            for number in numbers:
                replies[number] = await _answer(client.execute_command(*calls[number]), self._errors)

        await asyncio.gather(*map(talk, slots.values()))
        return replies

    async def _send_as_one(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._lines is None:  # memory://
            client = self._client
            if client is None:
                raise UnreachableError("the connection is closed")
            pipeline = cast("Redis", client).pipeline(transaction=True)
            for call in calls:
                pipeline.execute_command(*call)
            return list(await pipeline.execute(raise_on_error=False))
        *refused, done = await self._send([("MULTI",), *calls, ("EXEC",)])
        if isinstance(done, Exception):
            return [reply if isinstance(reply, Exception) else done for reply in refused[1:]]
        return list(done)

    async def read(self, args: Sequence[Any]) -> Any:
        """One command that may wait at the server, on the connections kept for that; the raw reply."""
        if self._reader is None:
            raise UnreachableError("the connection is closed")
        try:
            if self._reading_lines is not None:
                (reply,) = await self._reading_lines.talk([tuple(args)])
                return answered(reply)
            return await cast("_Client", self._reader).execute_command(*args)
        except self._errors as error:
            raise UnreachableError(_reason(error)) from error

    def subscription(self) -> PubSub:
        """A subscriber for hints; the caller subscribes, listens and closes."""
        assert self._reader is not None
        reader: Any = self._reader
        if self.clustered:
            # Pub/sub reaches the whole Cluster from any node, but the Cluster client has no subscriptions.
            from redis.asyncio import Redis

            # Of the client that has talked to the Cluster: the reader may not have learnt its nodes yet.
            node = cast("RedisCluster", self._client).get_random_node()
            return Redis(connection_pool=_pool_of(node)).pubsub()
        return cast("PubSub", reader.pubsub())

    @property
    def unreachable_errors(self) -> tuple[type[Exception], ...]:
        """What a subscription raises when its server is gone."""
        return (*self._errors, UnreachableError)

    async def reopen(self) -> None:
        """Before another try after UnreachableError: an embedded server that died is started again."""
        if self._embedded is not None and self._client is not None:
            await self._ensure_embedded()

    async def persistently(self, attempt: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Repeat ``attempt`` with backoff while the server does not answer; it must be safe to repeat.

        Raises ServerUnreachable after ``seconds`` (default: MEMSCHED_CONNECT_TIMEOUT_SECONDS).
        """
        deadline = time.monotonic() + (self.settings.connect_timeout_seconds if seconds is None else seconds)
        tries = 0
        while True:
            try:
                return await attempt()
            except UnreachableError as error:
                pause = backoff(tries)
                tries += 1
                if time.monotonic() + pause >= deadline:
                    raise ServerUnreachable(masked(self.url), str(error)) from error
                await asyncio.sleep(pause)
                await self.reopen()


def answered(reply: Any) -> Any:
    """One of the replies of ``Server.run``. Raises ServerRefused if it is a refusal."""
    if isinstance(reply, Exception):
        raise ServerRefused(str(reply)) from reply
    return reply


def backoff(tries: int, *, base: float = 0.05, cap: float = 2.0) -> float:
    """Seconds to wait before the next try: exponential with half jitter, so that workers do not return in step."""
    return float(min(cap, base * 2.0 ** min(tries, 30)) * (0.5 + random.random() / 2))


def _in_full(command: Command[Any]) -> tuple[Any, ...]:
    return command.args if command.script is None else command.script.in_full(command)


def _slot(call: tuple[Any, ...]) -> int:
    """The Cluster slot of a call's (first) key; -1 if it has none."""
    from redis.crc import key_slot

    if call[0] in ("EVALSHA", "EVAL"):
        at = 3
    elif call[0] == "XREADGROUP":
        at = call.index("STREAMS") + 1
    else:
        at = 1
    return key_slot(str(call[at]).encode()) if len(call) > at else -1


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


async def _answer(work: Awaitable[Any], unreachable: tuple[type[Exception], ...]) -> Any:
    from redis.exceptions import RedisError

    try:
        return await work
    except unreachable:
        raise
    except RedisError as error:
        return error


def _decoded_info(reply: Any) -> str:
    if isinstance(reply, dict):  # a Cluster answers per node
        reply = next(iter(reply.values()))
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _client(url: str, socket_timeout: float) -> Redis | RedisCluster:
    """A client that answers raw replies and repeats nothing by itself: whoever calls knows what may be repeated."""
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options: dict[str, Any] = {
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, rest = url.partition("://")
    client: Redis | RedisCluster
    if scheme == "memory":
        client = _fake(rest)
    elif scheme.endswith("+sentinel"):
        client = _through_sentinel(url, options)
    elif scheme.endswith("+cluster"):
        from redis.asyncio.cluster import ClusterNode

        parts = urlsplit(url)
        hosts, login = _hosts(parts.netloc, 6379)
        nodes = [ClusterNode(host, port) for host, port in hosts]
        client = RedisCluster(startup_nodes=nodes, ssl=scheme.startswith("rediss"), **(options | login))
    else:
        client = Redis.from_url(
            url, **{k: v for k, v in options.items() if scheme != "unix" or k != "socket_keepalive"}
        )
    for name in _PARSED_BY_CLIENT:
        client.set_response_callback(name, _raw)
    return client


def _pool_of(node: Any) -> ConnectionPool:
    from redis.asyncio.connection import ConnectionPool

    return ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs)


def _through_sentinel(url: str, options: dict[str, Any]) -> Redis:
    from redis.asyncio.sentinel import Sentinel

    parts = urlsplit(url)
    hosts, login = _hosts(parts.netloc, 26379)
    path = [part for part in parts.path.split("/") if part]
    if not path:
        raise ValueError("redis+sentinel:// needs the service name: redis+sentinel://HOST:PORT,.../SERVICE/DB")
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    sentinel_options = {
        name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive")
    } | {key: asked[f"sentinel_{key}"] for key in ("username", "password") if f"sentinel_{key}" in asked}
    extra = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    sentinel: Any = cast(Any, Sentinel)(hosts, sentinel_kwargs=sentinel_options, **login, **extra, **options)
    return cast("Redis", sentinel.master_for(path[0], db=int(path[1]) if len(path) > 1 else 0))


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


_embedded_uses: Counter[str] = Counter()
"""How many connections of this process use each embedded server: it is released with the last one."""
_fake_servers: dict[str, Any] = {}


def _fake(name: str) -> Redis:
    """A client of fakeredis; all clients of one name in this process share their data."""
    try:
        import fakeredis
        import fakeredis.aioredis
    except ImportError:
        raise SettingsError(["MEMSCHED_REDIS_URL: memory:// needs: pip install 'memsched[memory]'."]) from None
    server = _fake_servers.setdefault(name, fakeredis.FakeServer())
    return cast("Redis", fakeredis.aioredis.FakeRedis(server=server, protocol=2))
