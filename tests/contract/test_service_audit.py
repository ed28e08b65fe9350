"""What every request leaves in the audit, and in whose roles it reads, whatever its route does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import APIRouter
from support.service import Serving, serving

from memsched.memory.access.api_keys import Role
from memsched.memory.access.audit import AuditEntry, AuditFilter
from memsched.memory.access.reading_as import roles_now
from memsched.service.callers import Caller
from memsched.service.state import Here

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
router = APIRouter()


@router.get("/test/cubes/{cube}/search")
async def search(here: Here, caller: Caller, cube: str, query: str, user_id: str | None = None) -> list[str]:
    found = await here.mos.search(query, caller.user(user_id), mem_cube_ids=[cube])
    return [each.memory for part in found["text_mem"] for each in part["memories"]]


@router.delete("/test/memories/{memory_id}")
async def delete(here: Here, caller: Caller, memory_id: str) -> None:
    await here.mos.delete(memory_id, "home", caller.user())


@router.get("/test/roles")
async def roles(caller: Caller) -> list[str]:
    return sorted(roles_now())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder) as found:
        found.app.include_router(router)
        yield found


async def entries(service: Serving) -> list[AuditEntry]:
    audit = service.service.audit
    assert audit is not None
    await audit._write([*audit._waiting])
    return await audit.read(AuditFilter(), 100)


async def test_who_read_and_changed_what_is_in_the_audit_and_nothing_else(service: Serving) -> None:
    mos = service.service.mos
    for user in ("alice", "bob"):
        await mos.create_user(user)
    await mos.add(memory_content="The kumquat is ripe.", user_id="alice", mem_cube_id="home", wait=True)
    token, made = await service.service.api_keys.create(Role.USER, user_id="alice", reading_as=["doctor"])
    async with service.asking(token) as alice:
        found = await alice.get("/test/cubes/home/search", params={"query": "Is the kumquat ripe?"})
        assert found.json() == ["The kumquat is ripe."]
        (memory,) = (await mos.get_all("home", "alice"))["text_mem"][0]["memories"]
        assert (await alice.delete("/test/memories/0b0a7b7a-52a5-4d43-9b0f-6a35e2a3a1c7")).status_code == 404
        assert (await alice.get("/test/cubes/home/search", params={"query": "x", "user_id": "bob"})).status_code == 403
        assert (await alice.get("/test/roles")).json() == ["doctor"]
    assert (await service.asking("msk_nobody").get("/test/roles")).status_code == 401

    assert [
        (each.action, each.key_id, each.user_id, each.cube, each.ids, each.outcome) for each in await entries(service)
    ] == [
        ("GET /test/cubes/{cube}/search", made.key_id, "alice", "home", (memory.memory_id,), "ok"),
        (
            "DELETE /test/memories/{memory_id}",
            made.key_id,
            "alice",
            "home",
            ("0b0a7b7a-52a5-4d43-9b0f-6a35e2a3a1c7",),
            "404",
        ),
        ("GET /test/cubes/{cube}/search", made.key_id, "", "", (), "403"),
    ]
    raw = repr(
        await (await service.service.scheduler.server()).execute("XRANGE", mos.mem_scheduler.keys.audit, "-", "+")
    )
    assert "kumquat" not in raw
    assert token.rpartition("_")[2] not in raw


async def test_an_app_makes_short_lived_keys_for_browsers(service: Serving) -> None:
    async with await service.key(Role.APP, users="acme-*", reading_as=["staff"]) as app:
        made = await app.post("/v1/keys", json={"user_id": "acme-7", "ttl_seconds": 60})
        assert made.status_code == 201
        assert (await app.post("/v1/keys", json={"user_id": "other"})).status_code == 403
        assert (await app.post("/v1/keys", json={"user_id": "acme-7", "ttl_seconds": 86_401})).status_code == 422
        assert (await app.post("/v1/keys", json={"user_id": "acme-7", "reading_as": ["cfo"]})).status_code == 403
    async with service.asking(made.json()["token"]) as browser:
        assert (await browser.get("/v1/users/me")).json()["user_id"] == "acme-7"
        assert (await browser.get("/test/roles")).json() == ["staff"]
        assert (await browser.post("/v1/keys", json={"user_id": "acme-7"})).status_code == 403
    found = await entries(service)
    assert made.json()["token"].rpartition("_")[2] not in repr(found)
    assert [each.outcome for each in found if each.action == "POST /v1/keys"] == ["ok", "403", "422", "403", "403"]
