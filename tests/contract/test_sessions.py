"""Logging in to the dashboard: what the cookie is like, where it counts, and when it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched.broker.scripting import as_text
from memsched.memory.access import api_keys
from memsched.memory.access.api_keys import ApiKeys, Role
from memsched.service.dashboard import sessions
from memsched.service.dashboard.pages import CSP
from memsched.service.dashboard.sessions import COOKIE, LONGEST_SECONDS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
HERE = {"Origin": "http://localhost"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder, worker=False, memory=False) as found:
        await found.service.api_keys.create(Role.ADMIN)
        found.service._any_key = (None, 0.0)
        yield found


async def key(service: Serving, role: Role = Role.ADMIN, **given: Any) -> tuple[str, str]:
    token, made = await service.service.api_keys.create(role, **given)
    return token, made.key_id


@asynccontextmanager
async def logged_in(service: Serving, token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with service.asking() as browser:
        answer = await browser.post("/login", data={"token": token}, headers=HERE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        yield browser


def cookie_said(answer: httpx.Response) -> str:
    found: str = answer.headers["set-cookie"]
    return found


async def test_the_cookie_is_for_pages_of_this_service_only(service: Serving) -> None:
    token, key_id = await key(service)
    async with service.asking() as browser:
        answer = await browser.post("/login", data={"token": token}, headers=HERE)
        said = cookie_said(answer)
        assert re.search(rf"^{COOKIE}=[\w-]{{43}};", said)
        assert {"HttpOnly", "SameSite=strict", f"Max-Age={LONGEST_SECONDS}", "Path=/"} <= set(said.split("; "))
        assert "Secure" not in said
        assert token not in said
        assert key_id not in said
        assert (await browser.get("/")).status_code == 200
        # routes for programs want the key itself: no page anywhere can send that
        assert (await browser.get("/v1/scheduler/status")).status_code == 401
        stored = [as_text(name) async for name in names(service)]
    assert stored
    assert not any(browser.cookies[COOKIE] in name for name in stored)


async def names(service: Serving) -> AsyncIterator[bytes]:
    server = await service.service.scheduler.server()
    for name in await server.execute("KEYS", f"{service.service.settings.prefix}:session:*"):
        yield name


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https"},
    ],
    ids=["origin", "proxy"],
)
async def test_behind_https_the_cookie_is_secure(service: Serving, headers: dict[str, str]) -> None:
    token, _ = await key(service)
    async with service.asking() as browser:
        answer = await browser.post("/login", data={"token": token}, headers=headers)
    assert "Secure" in cookie_said(answer).split("; ")


async def test_it_ends_with_its_key_in_time(service: Serving) -> None:
    token, _ = await key(service, ttl=timedelta(minutes=5))
    async with service.asking() as browser:
        said = cookie_said(await browser.post("/login", data={"token": token}, headers=HERE))
    found = re.search(r"Max-Age=(\d+)", said)
    assert found
    assert 290 <= int(found[1]) <= 300


async def test_a_key_that_is_revoked_elsewhere_ends_its_sessions_within_five_seconds(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(api_keys._KNOWN_SECONDS, sessions._KNOWN_SECONDS) < 5
    monkeypatch.setattr(api_keys, "_KNOWN_SECONDS", 0.05)
    token, key_id = await key(service)
    async with logged_in(service, token) as browser:
        assert (await browser.get("/")).status_code == 200
        server = await service.service.scheduler.server()
        await ApiKeys(server, service.service.scheduler.keys).revoke(key_id)
        await asyncio.sleep(0.06)
        answer = await browser.get("/?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?to=%2F%3Fx%3D1")


@pytest.mark.parametrize("beside", ['prefs={"a":1}', "a b=1", "theme", 'odd="'])
async def test_cookies_of_other_programs_on_this_host_do_not_end_it(service: Serving, beside: str) -> None:
    token, _ = await key(service)
    async with logged_in(service, token) as browser:
        both = f"{beside}; {COOKIE}={browser.cookies[COOKIE]}"
    async with service.asking(Cookie=both) as neighbour:
        assert (await neighbour.get("/")).status_code == 200


async def test_logging_out_ends_the_session(service: Serving) -> None:
    token, _ = await key(service)
    async with logged_in(service, token) as browser:
        cookie = browser.cookies[COOKIE]
        answer = await browser.post("/logout", headers=HERE)
        assert "Max-Age=0" in cookie_said(answer)
        async with service.asking(Cookie=f"{COOKIE}={cookie}") as thief:
            assert (await thief.get("/")).status_code == 303


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
    ids=["nothing said", "foreign", "opaque", "cross-site", "same-site"],
)
async def test_a_page_of_another_origin_changes_nothing(service: Serving, path: str, headers: dict[str, str]) -> None:
    token, _ = await key(service)
    async with logged_in(service, token) as browser:
        answer = await browser.post(path, data={"token": token}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/")).status_code == 200


async def test_a_code_logs_in_once_and_for_five_minutes(service: Serving) -> None:
    _, key_id = await key(service)
    codes = service.service.login_codes
    code = codes.make(key_id)
    async with service.asking() as browser, service.asking() as other:
        answer = await browser.get("/login", params={"once": code})
        assert answer.status_code == 200
        assert "HttpOnly" in cookie_said(answer)
        assert (await browser.get("/")).status_code == 200
        assert (await other.get("/login", params={"once": code})).status_code == 401
        assert (await other.get("/login", params={"once": "x"})).status_code == 401
        old = sessions.LoginCodes(monotonic=iter([0.0, 301.0]).__next__)
        assert old.use(old.make(key_id)) is None


@pytest.mark.parametrize("token", ["", "msk_x", "msk_" + "0" * 12 + "_" + "0" * 64, "\N{SNOWMAN}\x00"])
async def test_what_is_no_key_opens_nothing(service: Serving, token: str) -> None:
    async with service.asking() as browser:
        answer = await browser.post("/login", data={"token": token}, headers=HERE)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/")).headers["location"] == "/login?to=%2F"


async def test_a_key_for_numbers_only_has_no_pages(service: Serving) -> None:
    token, _ = await key(service, Role.METRICS)
    async with service.asking() as browser:
        assert (await browser.post("/login", data={"token": token}, headers=HERE)).status_code == 403


@pytest.mark.parametrize(
    ("to", "leads"),
    [
        ("/dead-letters?label=add", "/dead-letters?label=add"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/v1/memories", "/"),
        ("/logout", "/"),
    ],
)
async def test_logging_in_leads_back_to_pages_of_this_service_only(service: Serving, to: str, leads: str) -> None:
    token, _ = await key(service)
    async with service.asking() as browser:
        answer = await browser.post("/login", data={"token": token, "to": to}, headers=HERE)
    assert answer.headers["location"] == leads


async def test_every_page_says_what_it_may_load(service: Serving) -> None:
    token, _ = await key(service)
    async with logged_in(service, token) as browser:
        for path in ("/", "/login"):
            answer = await browser.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"] == CSP
        assert (await browser.post("/login", headers={})).headers["content-security-policy"] == CSP


async def test_without_any_key_this_machine_needs_no_login(service: Serving, vector_folder: str) -> None:
    url = service.service.settings.redis_url
    async with serving(url, vector_folder, worker=False, memory=False) as found:
        assert (await found.client.get("/")).status_code == 200
        async with found.asking(address="192.0.2.7") as other:
            assert (await other.get("/")).headers["location"] == "/login?to=%2F"
