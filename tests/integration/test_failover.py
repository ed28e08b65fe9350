"""The server behind the address is not the one to talk to (any more): nobody stays with it, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.exceptions import ReadOnlyError, ResponseError
from support.conditions import until
from support.messages import LABEL, contents, message, messages
from support.processes import free_port
from support.proxy import Proxy
from support.servers import RedisServer, server_programs

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.broker.client import Server
from memsched.errors import UnreachableError

MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture
def two_servers() -> Iterator[list[RedisServer]]:
    """A master and its replica."""
    servers = [RedisServer(server_programs()["redis"], port=True).start() for _ in range(2)]
    servers[1].client.replicaof("127.0.0.1", servers[0].port)
    yield servers
    for server in servers:
        server.remove()


async def test_worker_and_producer_follow_an_address_that_moves_though_the_old_master_keeps_their_connections(
    two_servers: list[RedisServer], schedulers_at: MakeScheduler
) -> None:
    old, new = two_servers
    await until(lambda: new.client.info("replication")["master_link_status"] == "up")
    master = [old]
    address = Proxy(free_port(), lambda: f"{master[0].folder}/s")
    await address.open()
    done: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        done.extend(contents(batch))

    worker, producer = (schedulers_at(f"redis://127.0.0.1:{address.port}/0") for _ in range(2))
    worker.register_handlers({LABEL: handle})
    await worker.start()
    await producer.submit_messages(messages(3))
    await until(lambda: len(done) == 3)
    await until(lambda: old.client.xlen(f"memsched:{{{LABEL}}}:stream") == 0)

    # when the other one takes over, and the old one lives on as its replica
    await until(
        lambda: (
            new.client.info("replication")["master_repl_offset"] == old.client.info("replication")["master_repl_offset"]
        )
    )
    new.client.replicaof("NO", "ONE")
    master[0] = new
    old.client.replicaof("127.0.0.1", new.port)
    await producer.submit_messages(message("after"))

    # then both go on with it
    await until(lambda: "after" in done, "the worker to find the new master", seconds=10)
    assert sorted(done) == ["0", "1", "2", "after"]
    await worker.stop(grace_seconds=1)
    await address.close()


async def test_a_stop_does_not_raise_because_the_server_is_a_replica_now(
    own_redis: RedisServer, schedulers_at: MakeScheduler
) -> None:
    async def handle(batch: list[ScheduleMessageItem]) -> None: ...

    worker = schedulers_at(own_redis.url)
    worker.register_handlers({LABEL: handle})
    await worker.start()
    own_redis.client.replicaof("127.0.0.1", 1)

    await asyncio.wait_for(worker.stop(grace_seconds=0), 30)

    own_redis.client.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    "refusal",
    [
        ReadOnlyError("You can't write against a read only replica."),
        *(
            ResponseError(text)
            for text in (
                "READONLY You can't write against a read only replica. script: 5b6b, on @user_script:3.",
                "user_script:89: READONLY You can't write against a read only replica. script: 8de0",
                "ERR Error running script (call to f_5b6b): @user_script:3: -READONLY You can't write",
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                "LOADING Redis is loading the dataset in memory",
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                "CLUSTERDOWN Hash slot not served",
                "TRYAGAIN Multiple keys request during rehashing of slot",
                "NOREPLICAS Not enough good replicas to write.",
            )
        ),
    ],
    ids=lambda error: str(error)[:12],
)
async def test_what_says_not_now_is_no_refusal_wherever_in_a_pipeline_it_stands(
    refusal: Exception, real_redis: RedisServer, settings_at: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await Server.connect(settings_at(real_redis.url))  # type: ignore[arg-type]

    async def refuse(calls: object) -> list[object]:
        return [b"OK", refusal]

    monkeypatch.setattr(server, "_replies", refuse)
    with pytest.raises(UnreachableError):
        await server.run([])
    await server.aclose()


@pytest.mark.parametrize(
    "text", ["BUSYGROUP Consumer Group name already exists", "UNBLOCKED the stream key no longer exists"]
)
async def test_what_only_looks_alike_is_a_refusal(
    text: str, real_redis: RedisServer, settings_at: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await Server.connect(settings_at(real_redis.url))  # type: ignore[arg-type]

    async def refuse(calls: object) -> list[object]:
        return [ResponseError(text)]

    monkeypatch.setattr(server, "_replies", refuse)
    assert await server._send([("PING",)]) != []
    await server.aclose()
