"""`memsched keys` and `memsched audit` on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from support.servers import RedisServer
from typer.testing import CliRunner, Result

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.app import app
from memsched.memory.access.api_keys import ApiKeys, Principal, Role
from memsched.memory.access.audit import Audit, AuditEntry

Run = Callable[..., Result]


@pytest.fixture
def memsched(real_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MEMSCHED_REDIS_URL", real_redis.url)
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(memsched: Run, real_redis: RedisServer) -> None:
    assert "no keys: without one, only this machine is served" in memsched("keys", "list").output
    made = memsched("keys", "create", "--role", "app", "--users", "acme-*", "--name", "back\x1bend", "--ttl", "30d")
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    _, key_id, secret = token.split("_")
    assert f"key {key_id} of the role app for acme-*, until 20" in made.stderr
    assert secret not in made.stderr

    async def mint() -> Principal | None:
        settings = Settings.load(redis_url=real_redis.url)
        server = await Server.connect(settings)
        api_keys = ApiKeys(server, Keys())
        principal = await api_keys.principal(token)
        assert principal is not None
        await api_keys.mint(principal, "acme-1")
        await server.aclose()
        return principal

    principal = asyncio.run(mint())
    assert principal is not None
    assert (principal.role, principal.users) == (Role.APP, "acme-*")

    shown = memsched("keys", "list").output
    assert secret not in shown
    assert "\x1b" not in shown
    for told in (key_id, "acme-*", "in 29d", "s ago", "and 1 that app keys minted"):
        assert told in shown
    first, minted = map(json.loads, memsched("keys", "list", "--json", "--minted").output.splitlines())
    assert (first["key_id"], first["users"], first["role"]) == (key_id, "acme-*", "app")
    assert (minted["minted_by"], minted["user_id"]) == (key_id, "acme-1")
    assert secret not in json.dumps([first, minted])

    ended = memsched("keys", "revoke", key_id, "nobody")
    assert ended.exit_code == 1
    assert f"{key_id} is revoked" in ended.output
    assert "there is no key nobody" in ended.output
    assert memsched("keys", "list", "--json", "--minted").output == ""


def test_what_makes_no_key_says_why(memsched: Run) -> None:
    for role, wanted in (
        ("user", "give --user ID (with --role app: --users PATTERN)"),
        ("app", "give --users PATTERN"),
    ):
        told = memsched("keys", "create", "--role", role)
        assert told.exit_code == 2
        assert wanted in " ".join(told.output.replace("\u2502", " ").split())
    told = memsched("keys", "create", "--role", "admin", "--ttl", "30")
    assert told.exit_code == 2
    assert "is no age; write 90s, 15m, 2h or 7d" in " ".join(told.output.replace("\u2502", " ").split())
    assert memsched("keys", "create", "--role", "root").exit_code == 2


def test_the_audit_is_shown_by_who_and_what(memsched: Run, real_redis: RedisServer) -> None:
    assert "nothing is in the audit that fits" in memsched("audit").output

    async def record() -> None:
        server = await Server.connect(Settings.load(redis_url=real_redis.url))
        audit = Audit(server, Keys(), 1000)
        audit.record(AuditEntry("memory.search", "k1", "alice\x1b", "home", tuple("abcde")))
        audit.record(AuditEntry("queue.pause", "k2", outcome="NotAllowed"))
        await audit.aclose()
        await server.aclose()

    asyncio.run(record())

    first, second = memsched("audit").output.splitlines()
    assert first[19:] == r"  memory.search  ok  key=k1 user=alice\x1b  cube=home ids=a, b, c and 2 more"
    assert second[19:] == "  queue.pause  NotAllowed  key=k2"
    (only,) = map(json.loads, memsched("audit", "--key", "k2", "--since", "1h", "--json").output.splitlines())
    assert (only["action"], only["outcome"], only["ids"]) == ("queue.pause", "NotAllowed", [])
