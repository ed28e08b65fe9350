"""What each form of an address becomes; one that cannot be understood is refused with what is wrong."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis, RedisCluster

from memsched.broker.addresses import client_at


def connection_of(client: Redis | RedisCluster) -> dict[str, object]:
    assert isinstance(client, Redis)
    return client.connection_pool.connection_kwargs


async def test_a_client_retries_nothing_by_itself_and_speaks_resp2() -> None:
    options = connection_of(client_at("redis://user:p%40ss@db:6380/2", 3.0))

    assert (options["host"], options["port"], options["db"]) == ("db", 6380, 2)
    assert (options["username"], options["password"]) == ("user", "p@ss")
    assert (options["socket_timeout"], options["protocol"]) == (3.0, 2)
    assert options["retry"].get_retries() == 0  # type: ignore[attr-defined]


async def test_a_unix_socket_gets_no_option_that_only_tcp_has() -> None:
    options = connection_of(client_at("unix:///tmp/redis.sock", 3.0))

    assert options["path"] == "/tmp/redis.sock"
    assert "socket_keepalive" not in options


async def test_sentinels_may_have_a_login_of_their_own() -> None:
    url = "redis+sentinel://u:p@a:1,b/main/3?sentinel_password=x"
    client = client_at(url, 3.0)
    assert isinstance(client, Redis)
    sentinel = client.connection_pool.sentinel_manager  # type: ignore[attr-defined]

    asked = [each.connection_pool.connection_kwargs for each in sentinel.sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in asked] == [("a", 1, "x"), ("b", 26379, "x")]
    options = connection_of(client)
    assert (options["username"], options["password"], options["db"]) == ("u", "p", 3)


async def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    client = client_at("redis+cluster://a:7000,[::1]:7001", 3.0)

    assert isinstance(client, RedisCluster)
    assert {(node.host, node.port) for node in client.startup_nodes} == {("a", 7000), ("::1", 7001)}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://a:1,b:2", "needs the service name"),
        ("redis+sentinel://a:x/main", "'a:x' is not HOST:PORT"),
        ("redis+cluster://", "'' is not HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_understood_is_refused(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        client_at(url, 3.0)
