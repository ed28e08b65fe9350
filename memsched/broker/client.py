"""The client of Redis: one deployment of it, whatever its address says it is.

Everything above talks to a ``Server``: ``run`` sends commands in one round trip, ``read`` waits for messages on a
connection of its own. Replies are raw (bytes, ints, lists): RESP2 everywhere, parsed where they are asked for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.crc import key_slot
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from memsched.backoff import backoff
from memsched.broker.addresses import Address, EmbeddedAddress, Form
from memsched.broker.connections import Client, client_at, client_of_node, close, raw
from memsched.broker.failures import Failure, failure_of, tls_mismatch
from memsched.broker.pool import ConnectionPool
from memsched.broker.scripting import Command, as_text
from memsched.broker.shared_trips import SharedTrips
from memsched.deadline import Deadline
from memsched.errors import (
    SchedulerStopped,
    ServerRefused,
    ServerTooOld,
    ServerUnusable,
    SettingsError,
    UnreachableError,
)
from memsched.logs import get_logger
from memsched.settings import Settings, masked

T = TypeVar("T")
log = get_logger(__name__)

_SOCKET_TIMEOUT_SECONDS = 5.0
"""A call that got no answer for so long is given up and tried again on a new connection."""
_RECONNECT_BASE_SECONDS = 0.05
RECONNECT_CAP_SECONDS = 2.0
"""A worker that waits for its server tries again after so long at the latest."""

NO_ANSWER = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
"""What redis-py raises when a server cannot be talked to."""
_CANNOT_TALK = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What comes up from a connection: also that the server, or what is there instead, refuses it."""
_NOT_NOW = (ReadOnlyError, ClusterDownError, TryAgainError)
_NOT_NOW_TEXT = re.compile(
    r"(^|: -?)(READONLY|MASTERDOWN|LOADING|BUSY|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|UNBLOCKED(?! the stream key)) "
)
"""Refusals of a server that is not the one to talk to now: it was demoted, is starting, or is stuck in a script. (That
a stream was deleted while a read waited for it is none.)"""


def clients_for(url: str, settings: Settings) -> tuple[Address, Redis | RedisCluster, Redis | RedisCluster]:
    """The address, and its clients for calls and for blocked reads, not connected yet.

    Raises SettingsError for an address that cannot be understood or honoured.
    """
    try:
        address = Address.parse(url)
        block = settings.block_ms / 1000
        timeout = address.options.get("socket_timeout", _SOCKET_TIMEOUT_SECONDS)
        if timeout < block:
            raise ValueError(
                f"socket_timeout={timeout:g} is shorter than a read waits at the server, "
                f"MEMSCHED_BLOCK_MS={settings.block_ms}"
            )
        # A blocked read answers within block_ms; a shorter time-out would strand what it was given.
        return address, client_at(address, timeout), client_at(address, block + timeout)
    except (ValueError, OSError) as error:
        raise SettingsError([f"MEMSCHED_REDIS_URL: {error}."]) from None


class Server:
    """The client of one Redis deployment. Use ``Server.connect``; close it with ``aclose``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.redis_url
        scheme = self.url.partition("://")[0]
        self.clustered = scheme.endswith("+cluster")
        """A script may touch the keys of one lane only."""
        self.blocking = scheme != "memory"
        """Reads may wait at the server (fakeredis cannot do that)."""
        self.times_moved = 0
        """How often the server was found not to be the one to talk to: it may be another one now."""
        self._shared = SharedTrips(self.run)
        self._client: Redis | RedisCluster | None = None
        self._reader: Redis | RedisCluster | None = None
        self._pool: ConnectionPool | None = None
        self._reading_pool: ConnectionPool | None = None
        self._embedded = EmbeddedAddress(settings) if scheme == "embedded" else None

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
        url = self.url if self._embedded is None else await self._embedded.ensure()
        address, self._client, self._reader = clients_for(url, self.settings)
        if address.form not in (Form.MEMORY, Form.CLUSTER):
            limits = {name: address.options.get(name) for name in ("max_connections", "health_check_interval")}
            self._pool = ConnectionPool(cast(Redis, self._client).connection_pool, **limits)
            self._reading_pool = ConnectionPool(cast(Redis, self._reader).connection_pool)
        await self.persistently(lambda: self._first_answer(address))

    async def _first_answer(self, address: Address) -> None:
        try:
            await self.execute("PING")
        except UnreachableError as error:
            if not error.answers and (failure := await tls_mismatch(address)):
                error = _unreachable(failure)
            if error.hopeless:
                raise error.given_up(masked(self.url)) from None
            raise

    async def _check_version(self) -> None:
        try:
            info, *_ = await self.info("server") or [{}]
        except ServerRefused as error:
            log.debug("the server does not tell its version", action="server.version_unknown", error=str(error))
            return
        version = info.get("redis_version", "")
        if "valkey_version" not in info and version and int(version.split(".")[0]) < 7:
            raise ServerTooOld(version)
        mode = info.get("redis_mode", info.get("server_mode", ""))
        if mode in ("cluster", "sentinel") and not self.clustered:
            raise ServerUnusable(masked(self.url), f"it is in {mode} mode: use redis+{mode}://")

    async def aclose(self) -> None:
        for pool in (self._pool, self._reading_pool):
            if pool is not None:
                await pool.aclose()
        self._pool = self._reading_pool = None
        for client in (self._client, self._reader):
            if client is not None:
                await close(client)
        self._client = self._reader = None
        if self._embedded is not None:
            await self._embedded.release()

    def leave(self) -> None:
        """Forget the connections: their event loop has ended."""
        self._pool = self._reading_pool = self._client = self._reader = None
        if self._embedded is not None:
            self._embedded.leave()

    # -- calls ---------------------------------------------------------------------------------------------------

    async def execute(self, *args: Any) -> Any:
        """One command. Raises UnreachableError when there is no answer, ServerRefused when it is refused."""
        return await self.call(Command(args, raw))

    async def info(self, section: str) -> list[dict[str, str]]:
        """What INFO says, per node; memory:// says nothing. Raises as ``execute``."""
        if not self.blocking:
            return []
        reply = await self.execute("INFO", section)
        texts = [as_text(text) for text in (reply.values() if isinstance(reply, dict) else [reply])]
        return [dict(line.split(":", 1) for line in text.splitlines() if ":" in line) for text in texts]

    async def call(self, command: Command[T]) -> T:
        """One command, its reply parsed. Raises as ``execute``."""
        (reply,) = await self.run([command])
        return cast(T, answered(reply))

    async def run(self, commands: Iterable[Command[Any]]) -> list[Any]:
        """All commands in one round trip (on a Cluster: those of one slot one after another, all slots at once).

        Returns the parsed replies in order; for a command that the server refused, the exception. Raises
        UnreachableError when there is no answer: any part of the commands may have been done.
        """
        return await self._run(commands, self._send)

    async def run_shared(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """As ``run``, for what many ask at once: who asks in the same step of the event loop shares a round trip."""
        return await self._shared.run(commands)

    async def run_at_one_instant(self, commands: Iterable[Command[Any]]) -> list[Any]:
        """As ``run``, with nobody else's commands in between. On a Cluster, and while the server is full, that holds
        for each command only.
        """
        return await self._run(commands, self._send if self.clustered else self._send_as_one)

    async def _run(
        self, commands: Iterable[Command[Any]], send: Callable[[Iterable[tuple[Any, ...]]], Awaitable[list[Any]]]
    ) -> list[Any]:
        made: list[Command[Any]] = []

        def calls() -> Iterator[tuple[Any, ...]]:
            for command in commands:
                made.append(command)
                yield command.args

        replies = await send(calls())
        missing = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            # The server was restarted, or another one took over: these did nothing yet, and go again in full.
            if send == self._send_as_one:
                missing = list(range(len(made)))
            in_full = [_in_full(made[number]) for number in missing]
            for number, reply in zip(missing, await send(in_full), strict=True):
                replies[number] = reply
        return [
            reply if isinstance(reply, Exception) else command.parse(reply)
            for command, reply in zip(made, replies, strict=True)
        ]

    async def _send(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        replies = await self._replies(calls)
        for reply in replies:
            if _is_not_now(reply):
                await self._drop_connections()
                raise _not_now(reply) from reply
        return replies

    async def _drop_connections(self) -> None:
        """Behind the address may be another server now, and this one would keep its connections for ever."""
        self.times_moved += 1
        for pool in (self._pool, self._reading_pool):
            if pool is not None:
                await pool.aclose()
        if self.clustered and self._client is not None:
            await cast(RedisCluster, self._client).aclose()  # it learns the nodes anew at its next command

    async def _replies(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        client = self._client
        if client is None:
            raise UnreachableError("the connection is closed")
        with _talking():
            if self._pool is not None:
                return await self._pool.pipeline(calls)
            calls = list(calls)
            if len(calls) == 1:
                return [await _answer(cast(Client, client).execute_command(*calls[0]))]
            if self.clustered:
                return await self._send_by_slot(cast(Client, client), calls)
            pipeline = cast(Redis, client).pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command(*call)
            return list(await pipeline.execute(raise_on_error=False))

    async def _send_by_slot(self, client: Client, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What is sent about one lane arrives in the order in which it was sent."""
        slots: dict[int, list[int]] = {}
        for number, call in enumerate(calls):
            slots.setdefault(_slot(call), []).append(number)
        replies: list[Any] = [None] * len(calls)

        async def send(numbers: list[int]) -> None:
            for number in numbers:
                replies[number] = await _answer(client.execute_command(*calls[number]))

        await asyncio.gather(*map(send, slots.values()))
        return replies

    async def _send_as_one(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        if self._pool is None:  # memory://
            client = self._client
            if client is None:
                raise UnreachableError("the connection is closed")
            pipeline = cast(Redis, client).pipeline(transaction=True)
            for call in calls:
                pipeline.execute_command(*call)
            return list(await pipeline.execute(raise_on_error=False))
        calls = list(calls)
        *refused, done = await self._send([("MULTI",), *calls, ("EXEC",)])
        if isinstance(done, Exception):
            if any(isinstance(reply, OutOfMemoryError) for reply in refused):
                # A server that is full refuses all in a transaction; what only reads it answers by itself.
                return await self._send(calls)
            return [reply if isinstance(reply, Exception) else done for reply in refused[1:]]
        return list(done)

    async def read(self, args: Sequence[Any]) -> Any:
        """One command that may wait at the server, on the connections kept for that; the raw reply."""
        if self._reader is None:
            raise UnreachableError("the connection is closed")
        with _talking():
            if self._reading_pool is not None:
                (reply,) = await self._reading_pool.pipeline([tuple(args)])
            else:
                reply = await _answer(cast(Client, self._reader).execute_command(*args))
        if _is_not_now(reply):
            await self._drop_connections()
            raise _not_now(reply) from reply
        return answered(reply)

    def subscription(self) -> PubSub:
        """A pub/sub subscriber: the caller subscribes, listens and closes. Raises NO_ANSWER when the server goes."""
        assert self._reader is not None
        if self.clustered:
            # Pub/sub reaches the whole Cluster from any node, but the Cluster client has no subscriptions.
            # Of the client that has talked to the Cluster: the reader may not have learnt its nodes yet.
            return client_of_node(cast(RedisCluster, self._client)).pubsub()
        return cast(Redis, self._reader).pubsub()

    async def reopen(self) -> None:
        """Before another try after UnreachableError: an embedded server that died is started again."""
        if self._embedded is not None and self._client is not None:
            await self._embedded.ensure()

    async def persistently(self, attempt: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Retry ``attempt`` with backoff while the server does not answer.

        Raises ServerUnreachable, and SchedulerStopped once ``aclose`` was called.

        Args:
            attempt: what is idempotent, for it may have been done although no answer came.
            seconds: for how long; default: MEMSCHED_CONNECT_TIMEOUT_SECONDS.
        """
        deadline = Deadline(self.settings.connect_timeout_seconds if seconds is None else seconds)
        tries = 0
        while True:
            try:
                return await attempt()
            except UnreachableError as error:
                if self._client is None:  # closed meanwhile
                    raise SchedulerStopped from error
                pause = reconnect_backoff(tries)
                tries += 1
                # A connection that was silently dropped is found out by a time-out, which may have taken all the time.
                if pause >= deadline.left and tries > 1:
                    raise error.given_up(masked(self.url)) from error
                await asyncio.sleep(pause)
                await self.reopen()


def answered(reply: Any) -> Any:
    """One of the replies of ``Server.run``. Raises ServerRefused if it is a refusal."""
    if isinstance(reply, Exception):
        raise ServerRefused(str(reply)) from reply
    return reply


def reconnect_backoff(tries: int, *, cap: float = RECONNECT_CAP_SECONDS) -> float:
    """Seconds to wait before the next try to reach the server: never at once, and at most ``cap``."""
    return backoff(tries, base=_RECONNECT_BASE_SECONDS, cap=cap, least=0.5)


def _in_full(command: Command[Any]) -> tuple[Any, ...]:
    return command.args if command.script is None else command.script.in_full(command)


def _slot(call: tuple[Any, ...]) -> int:
    """The Cluster slot of a call's (first) key; -1 if it has none."""
    if call[0] in ("EVALSHA", "EVAL"):
        at = 3
    elif call[0] == "XREADGROUP":
        at = call.index("STREAMS") + 1
    else:
        at = 1
    return key_slot(str(call[at]).encode()) if len(call) > at else -1


@contextmanager
def _talking() -> Iterator[None]:
    """Raises UnreachableError if there is no talking to the server."""
    try:
        yield
    except _CANNOT_TALK as error:
        raise _unreachable(failure_of(error)) from error
    except AttributeError as error:
        # What asyncio's TLS transport says when it is written to after it was closed twice, by a time-out and by us.
        if error.name != "_write_appdata":
            raise
        raise UnreachableError("the connection was closed") from error


def _unreachable(failure: Failure) -> UnreachableError:
    return UnreachableError(failure.reason, answers=failure.answers, hopeless=failure.hopeless)


def _is_not_now(reply: Any) -> bool:
    """Whether a reply says that this server cannot be used now, by itself or from inside a script."""
    return isinstance(reply, Exception) and (isinstance(reply, _NOT_NOW) or bool(_NOT_NOW_TEXT.search(str(reply))))


def _not_now(reply: Exception) -> UnreachableError:
    return UnreachableError(str(reply).rstrip("."), answers=True)


async def _answer(work: Awaitable[Any]) -> Any:
    """The reply, or the error that the server gave. Raises NO_ANSWER and RedisClusterException."""
    try:
        return await work
    except NO_ANSWER:
        raise
    except RedisError as error:
        return error
