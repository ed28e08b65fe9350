"""What each form of an address becomes; what cannot be understood or honoured is refused by name, without the login."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import SSLConnection

from memsched.broker.addresses import Address, Form
from memsched.broker.connections import client_at


def options_of(client: Redis | RedisCluster) -> dict[str, object]:
    assert isinstance(client, Redis)
    return client.connection_pool.connection_kwargs


def client_of(url: str) -> Redis | RedisCluster:
    return client_at(Address.parse(url), 3.0)


async def test_a_client_retries_nothing_by_itself_and_speaks_resp2() -> None:
    options = options_of(client_of("redis://user:p%40ss@db:6380/2"))

    assert (options["host"], options["port"], options["db"]) == ("db", 6380, 2)
    assert (options["username"], options["password"]) == ("user", "p@ss")
    assert (options["socket_timeout"], options["protocol"]) == (3.0, 2)
    assert options["retry"].get_retries() == 0  # type: ignore[attr-defined]


async def test_a_unix_socket_gets_no_option_that_only_tcp_has() -> None:
    options = options_of(client_of("unix://u:p@/tmp/a%20b.sock?db=4"))

    assert (options["path"], options["db"], options["password"]) == ("/tmp/a b.sock", 4, "p")
    assert "socket_keepalive" not in options


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://", ("localhost", 6379)),
        ("redis://:7000", ("localhost", 7000)),
        ("redis://[::1]:7000/0", ("::1", 7000)),
        ("redis://db", ("db", 6379)),
        ("redis://:p%2F%3F%23%3A@db:1", ("db", 1)),
    ],
)
def test_what_is_not_said_of_the_host_is_the_usual(url: str, host: tuple[str, int]) -> None:
    assert Address.parse(url).hosts == [host]


async def test_options_are_honoured(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = f"rediss://db?db=3&username=u&password=p%26w&client_name=me&socket_connect_timeout=2.5&ssl_ca_certs={tmp_path}/ca.pem"
    client = client_of(url + "&ssl_check_hostname=false&protocol=2&decode_responses=False&health_check_interval=30")
    options = options_of(client)

    assert isinstance(client, Redis)
    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    assert (options["db"], options["username"], options["password"], options["client_name"]) == (3, "u", "p&w", "me")
    assert (options["socket_connect_timeout"], options["ssl_check_hostname"]) == (2.5, False)
    assert options["ssl_ca_certs"] == f"{tmp_path}/ca.pem"


async def test_sentinels_may_have_a_login_of_their_own_and_share_tls(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = f"rediss+sentinel://u:p@a:1,b/main/3?sentinel_password=x&ssl_ca_certs={tmp_path}/ca.pem&client_name=me"
    client = client_of(url)
    assert isinstance(client, Redis)
    sentinel = client.connection_pool.sentinel_manager  # type: ignore[attr-defined]

    asked = [each.connection_pool.connection_kwargs for each in sentinel.sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in asked] == [("a", 1, "x"), ("b", 26379, "x")]
    assert {each["ssl_ca_certs"] for each in asked} == {f"{tmp_path}/ca.pem"}
    assert {each["username"] for each in asked} == {None}
    options = options_of(client)
    assert (options["username"], options["password"], options["db"]) == ("u", "p", 3)
    assert options["ssl_ca_certs"] == f"{tmp_path}/ca.pem"


async def test_a_cluster_is_named_by_some_of_its_nodes(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    client = client_of(f"rediss+cluster://u:p@a:7000,[::1]:7001/0?ssl_ca_certs={tmp_path}/ca.pem")

    assert isinstance(client, RedisCluster)
    assert {(node.host, node.port) for node in client.startup_nodes} == {("a", 7000), ("::1", 7001)}
    assert {node.connection_kwargs["ssl_ca_certs"] for node in client.startup_nodes} == {f"{tmp_path}/ca.pem"}
    assert {node.connection_kwargs["password"] for node in client.startup_nodes} == {"p"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://a:1,b:2", "needs the service name"),
        ("redis+sentinel://a:x/main", "a host is HOST or HOST:PORT"),
        ("redis+sentinel://a:1,/main", "there is no host"),
        ("redis://db:70000", "a port from 1 to 65535"),
        ("redis://a:1,b:2", "names several hosts"),
        ("redis://[::1", "stands in"),
        ("redis://db/one", "db is no number of a database"),
        ("redis://db/0/1", "at most the number of the database"),
        ("redis://db/1?db=2", "db is given twice"),
        ("redis+cluster://a:1/2", "no database but 0"),
        ("unix://tmp/s", "absolute path"),
        (f"unix:///{'x' * 120}", "at most 107 bytes"),
        ("redis://db?decode_responses=true", "decode_responses must be false"),
        ("redis://db?protocol=3", "protocol must be 2"),
        ("redis://db?retry_on_timeout=yes", "retry_on_timeout must be false"),
        ("redis://db?socket_timeout=0", "socket_timeout is no number of seconds above 0"),
        ("redis://db?socket_timeout=nan", "socket_timeout is no number of seconds above 0"),
        ("redis://db?timeout=5", "timeout is no option here"),
        ("redis://db?client_name=a%20b", "client_name must be without spaces"),
        ("redis://db?health_check_intervall=5", "did you mean health_check_interval"),
        ("redis://db?max_connections=0", "max_connections is no number from 1 on"),
        ("redis+cluster://db?max_connections=9", "max_connections is not for a Cluster"),
        ("redis://db?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for TLS"),
        ("rediss://db?ssl_ca_certs=/no/such/file", "ssl_ca_certs /no/such/file is no file that can be read"),
        ("rediss://db?ssl_cert_reqs=never", "ssl_cert_reqs must be one of required, optional, none"),
        ("redis://db?sentinel_password=x", "sentinel_password is not for one server"),
    ],
)
def test_what_cannot_be_understood_or_honoured_is_refused_by_name(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:se/cret@db:1",
        "redis://user:se?cret@db:1",
        "redis://user:se#cret@db:1",
        "redis://user:secret",
        "redis://:secret",
        "redis+sentinel://secret:secret/main",
        "redis://db?password=secret&password=secret",
        "redis://[secret",
    ],
)
def test_no_refusal_tells_the_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- what it must not say is what counts
        Address.parse(url)

    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_does_not_show_its_login() -> None:
    assert "secret" not in repr(Address.parse("redis://secret:secret@db?sentinel_username=secret".partition("?")[0]))
    assert Address.parse("memory://x").form is Form.MEMORY
