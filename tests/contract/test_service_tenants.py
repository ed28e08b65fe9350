"""Two tenants whose ids and words are the same but for one secret each, at every route: nobody ever reads, counts,
changes or waits for what is another's, and it is answered as what is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from structlog.testing import capture_logs
from support.llm import Asked, FakeLLM, Reply, says
from support.servers import RedisServer
from support.service import Serving, serving
from support.service_cases import CASES, QUESTION, Case, filled

from memsched.errors import CubeForbidden
from memsched.integrations.mcp_tools import TOOLS
from memsched.memory.access.api_keys import Role
from memsched.memory.access.audit import AuditFilter
from memsched.service.routes import ROUTERS
from memsched.service.writes import token_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
ADA, EVE, NOBODY = "ada-5c1", "eve-5c1", "nobody-5c1"
WORD = {ADA: "zulu01", EVE: "zulu02"}
SAME = ["We talked about the code of the safe.", "The safe is in the cellar."]
CUBE, ATTIC = "home-5c1", "attic-5c1"
"""Both have the first one; the second one only Ada has."""
PENDING = "pending-5c1"
OF_ONE = {"memory_id", "item_id", "task_id", "token", "etag", "cube", "invitation"}
"""Names of things that are somebody's."""
SECONDS = 8.0
"""What waits for another's work takes longer."""


def asked(who: str) -> list[Any]:
    return [pytest.param(case, id=case.id) for case in CASES if case.who == who]


def tells_all(question: Asked) -> Reply:
    """A model that tells all that it was told, as far as it can."""
    if question.body.get("response_format"):
        return says('{"memories": []}')
    return says(f"I was told: {question.prompt}")


@dataclass
class Tenants:
    """A service with both, and a client with a key of each role."""

    serving: Serving
    clients: Mapping[str, httpx.AsyncClient]
    things: Mapping[str, dict[str, str]]
    marks: frozenset[str]
    """By which anything of Ada's is known."""
    model: FakeLLM

    async def state(self) -> Any:
        """All that Ada has."""
        paths = [f"/v1/memories?limit=100&include_archived=true&cube={cube}" for cube in (CUBE, ATTIC)]
        paths += ["/v1/cubes", "/v1/invitations", "/v1/scheduler/unfinished", f"/v1/memories/{self.mine}/history"]
        paths += [f"/v1/scheduler/items/{item}" for item in ("order-17", PENDING)]
        return [(await self.clients[ADA].get(path)).json() for path in paths]

    @property
    def mine(self) -> str:
        return self.things[ADA]["memory_id"]

    def seen(self, answer: httpx.Response, things: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers, without what was asked for."""
        body, headers = answer.text, dict(answer.headers)
        asked_for = {thing for name, thing in things.items() if thing and name != "owner"}  # the page names who looks
        for thing in sorted(asked_for, key=len, reverse=True):
            for said in (json.dumps(thing, ensure_ascii=False)[1:-1], thing, quote(thing, safe="")):
                body = body.replace(said, "ASKED")
        headers.pop("x-request-id", None)
        headers.pop("content-length", None)
        return answer.status_code, body, headers

    def of_ada(self, answer: httpx.Response, things: Mapping[str, str]) -> list[str]:
        """What of Ada's is in an answer to somebody who asked for these things."""
        _, body, headers = self.seen(answer, things)
        return [mark for mark in self.marks if mark in body + repr(headers)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(_session_servers: Any, vector_folder: str) -> AsyncIterator[Tenants]:
    url = _session_servers.get("redis").url
    with FakeLLM(tells_all) as model:
        llm = {"llm_model": "m", "llm_base_url": model.url, "llm_api_key": "k"}
        async with serving(url, vector_folder, **llm) as found:
            clients = {
                ADA: await found.key(Role.USER, user_id=ADA),
                EVE: await found.key(Role.USER, user_id=EVE),
                "app": await found.key(Role.APP, users="acme-*"),
                "viewer": await found.key(Role.VIEWER),
                "metrics": await found.key(Role.METRICS),
                "admin": await found.key(Role.ADMIN),
            }
            things = {user: await told(clients[user], user) for user in (ADA, EVE)}
            things[ADA] |= await more_of_ada(clients[ADA])
            marks = {WORD[ADA], *things[ADA]["memory_ids"].split(), PENDING, ATTIC, things[ADA]["add_id"]}
            yield Tenants(found, clients, things, frozenset(marks), model)
            for each in clients.values():
                await each.aclose()


async def told(client: httpx.AsyncClient, user: str) -> dict[str, str]:
    """The same of both: ids, words, tags; but for a secret. What they may be asked for by."""
    messages = [{"role": "user", "content": text} for text in (*SAME, f"The code of the safe is {WORD[user]}.")]
    same = {"session_id": "monday", "cube": CUBE, "tags": ["same"], "metadata": {"owner": "same"}, "role": "cook"}
    body = {**same, "messages": messages}
    answer = await client.post("/v1/memories?wait=30", json=body, headers={"Idempotency-Key": "same-key"})
    assert answer.status_code == 200, answer.text
    added = answer.json()
    item = {"label": "query", "content": QUESTION, "mem_cube_id": CUBE, "item_id": "order-17", "task_id": "trip"}
    delay = 600 if user == ADA else 0
    sent = await client.post("/v1/scheduler/messages", json={"messages": [item], "delay_seconds": delay})
    assert sent.json()["items"][0]["outcome"] in ("queued", "delayed")
    secret = added["memory_ids"][-1]
    one = await client.get(f"/v1/memories/{secret}")
    assert WORD[user] in one.text
    page = (await client.get("/v1/memories", params={"limit": 1, "cube": CUBE})).json()
    return {
        "owner": user,
        "memory_id": secret,
        "memory_ids": " ".join(added["memory_ids"]),
        "add_id": added["task_id"],
        "item_id": "order-17",
        "task_id": "trip",
        "token": added["token"],
        "etag": one.headers["ETag"],
        "cube": CUBE,
        "cursor": page["cursor"],
        "invitation": "nobody-5c1/home",
        "someone": "bob-5c1",
        "label": "query",
    }


async def more_of_ada(ada: httpx.AsyncClient) -> dict[str, str]:
    """A cube that only she has, and shares with somebody; work that is not finished."""
    text = f"The attic is {WORD[ADA]}."
    made = await ada.post("/v1/memories?wait=30", json={"text": text, "cube": ATTIC})
    assert made.status_code == 200
    assert (await ada.post(f"/v1/cubes/{ATTIC}/shares", json={"with_user": "bob-5c1"})).status_code == 201
    item = {"label": "add", "content": text, "mem_cube_id": CUBE, "item_id": PENDING, "task_id": PENDING}
    sent = await ada.post("/v1/scheduler/messages", json={"messages": [item], "delay_seconds": 600})
    assert sent.json()["items"][0]["outcome"] == "delayed"
    return {
        "item_id": PENDING,
        "task_id": PENDING,
        "token": token_of(ADA, CUBE, PENDING),
        "cube": ATTIC,
        "invitation": f"{ADA}/{ATTIC}",
    }


def is_error(answer: httpx.Response) -> bool:
    """Also of a tool, whose errors are answers."""
    return answer.status_code >= 400 or '"isError":true' in answer.text


def missing(**given: str) -> dict[str, str]:
    """What nobody has."""
    name = uuid4().hex[:8]
    return {
        "owner": NOBODY,
        "memory_id": str(uuid4()),
        "item_id": name,
        "task_id": name,
        "token": token_of(NOBODY, CUBE, name),
        "etag": f'"{uuid4().hex[:20]}"',
        "cube": name,
        "cursor": "",
        "invitation": f"{NOBODY}/{name}",
        "someone": NOBODY,
        "label": "query",
        **given,
    }


async def test_every_route_is_asked() -> None:
    """Walks the application: a route that is new needs a case."""
    routes = {
        f"{method} {route.path}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    print(*sorted(routes, key=lambda each: each.split()[::-1]), sep="\n")
    assert routes == {case.route for case in CASES}
    assert all(case.names() or "{" not in case.path for case in CASES)
    assert {case.path.removeprefix("/mcp?tool=") for case in CASES if case.route == "POST /mcp"} == {
        tool.name for tool in TOOLS
    }


@pytest.mark.parametrize(
    "case", [each for each in asked("users") if not (each.values[0].changes or each.values[0].endless)]
)
async def test_ones_own_answer_holds_nothing_of_anothers(tenants: Tenants, case: Case) -> None:
    async with asyncio.timeout(SECONDS):
        answer = await case.ask(tenants.clients[EVE], tenants.things[EVE])
    assert answer.status_code < 400 or "invitation" in case.names() or case.path == "/v1/models", answer.text
    assert tenants.of_ada(answer, {}) == []
    assert ADA not in answer.text


@pytest.mark.parametrize(
    "case", [each for each in asked("users") if each.values[0].names() & OF_ONE and not each.values[0].endless]
)
async def test_what_is_anothers_is_answered_as_what_is_not_there(tenants: Tenants, case: Case) -> None:
    eve, ada, before, who = tenants.clients[EVE], tenants.things[ADA], await tenants.state(), EVE
    if "cube" in case.names():  # who writes into a cube that is not there has made one
        who = f"new-{uuid4().hex}"
        eve = await tenants.serving.key(Role.USER, user_id=who)
    names = case.names() & OF_ONE - {"cube"}
    own = {**tenants.things[EVE], **{name: ada[name] for name in names}, "owner": who}
    tries = [(own, missing(cube=own["cube"], etag="*" if "etag" in names else ""))] if names else []
    if "cube" in case.names():
        tries += [({**own, "cube": f"{ADA}/{cube}"}, missing(cube=f"{NOBODY}/{cube}")) for cube in (CUBE, ATTIC)]
        tries.append(({**own, "cube": ATTIC}, missing()))
    if "token" in case.names():
        item = token_of(EVE, CUBE, PENDING)
        tries.append(({**own, "token": item}, missing(token=token_of(EVE, CUBE, uuid4().hex))))
        tries.append((own, missing(token="bm90aGluZw")))
    for things, nothing in tries:
        async with asyncio.timeout(SECONDS):
            of_ada = await case.ask(eve, things)
            of_nobody = await case.ask(eve, nothing | {"owner": who})
        assert tenants.of_ada(of_ada, things) == []
        assert of_ada.status_code == of_nobody.status_code, (of_ada.text, of_nobody.text)
        assert is_error(of_ada) == is_error(of_nobody), (of_ada.text, of_nobody.text)
        if is_error(of_ada):
            assert tenants.seen(of_ada, things) == tenants.seen(of_nobody, nothing)
    assert await tenants.state() == before


@pytest.mark.parametrize("case", [each for each in asked("users") if each.values[0].route.startswith("GET /ui/")])
async def test_the_streams_of_pages_show_what_is_ones_own(tenants: Tenants, case: Case) -> None:
    eve, before = tenants.clients[EVE], await tenants.state()
    for things in (tenants.things[EVE], tenants.things[ADA]):
        answer = await tenants.serving.first_event(eve, filled(case.path, things))
        assert tenants.of_ada(answer, things) == []
        assert ADA not in answer.text
        nothing = await tenants.serving.first_event(eve, filled(case.path, missing()))
        if things is tenants.things[ADA] and case.names() & OF_ONE:
            assert tenants.seen(answer, things) == tenants.seen(nothing, missing())
            assert answer.status_code in (403, 404)
        else:
            assert answer.status_code == 200
    assert await tenants.state() == before


@pytest.mark.parametrize("case", [each for each in asked("users") if each.values[0].names_user])
async def test_nobody_acts_for_another(tenants: Tenants, case: Case) -> None:
    """In the same words whether or not there is such a user."""
    before = await tenants.state()
    for who in (EVE, "app", "viewer", "metrics"):
        answers = []
        for user in (ADA, NOBODY):
            async with asyncio.timeout(SECONDS):
                answer = await case.ask(tenants.clients[who], tenants.things[ADA], user)
            answers.append(tenants.seen(answer, {**tenants.things[ADA], "user": user}))
        assert answers[0] == answers[1]
        assert answers[0][0] == (404 if "token" in case.names() and who in (EVE, "app") else 403), answers
    assert await tenants.state() == before


@pytest.mark.parametrize("case", [*asked("operators"), *asked("viewers"), *asked("apps")])
async def test_who_may_not_operate_or_watch_learns_nothing(tenants: Tenants, case: Case) -> None:
    may = {"operators": {"admin"}, "viewers": {"admin", "viewer", "metrics"}, "apps": {"app"}}[case.who]
    for who, client in tenants.clients.items():
        if who in may:
            continue
        answer, other = await case.ask(client, tenants.things[ADA]), await case.ask(client, missing())
        assert answer.status_code == 403
        assert tenants.seen(answer, tenants.things[ADA]) == tenants.seen(other, missing())


@pytest.mark.parametrize("case", [*asked("viewers"), *asked("anybody")])
async def test_numbers_name_nobody(tenants: Tenants, case: Case) -> None:
    if case.endless:
        answer = await tenants.serving.first_event(tenants.clients["viewer"], filled(case.path, missing()))
    else:
        answer = await case.ask(tenants.clients["viewer"], missing())
    assert answer.status_code in (case.answers, 503)
    named = [*tenants.marks, ADA, EVE, *WORD.values(), CUBE, "order-17", "monday", tenants.things[EVE]["memory_id"]]
    assert [each for each in named if each in answer.text] == []


async def test_an_app_key_acts_for_its_own_users_only(tenants: Tenants) -> None:
    app = tenants.clients["app"]
    for user in (ADA, NOBODY):
        assert (await app.post("/v1/keys", json={"user_id": user})).status_code == 403
    minted = (await app.post("/v1/keys", json={"user_id": "acme-1"})).json()["token"]
    async with tenants.serving.asking(minted) as browser:
        for client, given in ((app, {"user_id": "acme-1"}), (browser, {})):
            read = await client.get(f"/v1/memories/{tenants.mine}", params=given)
            found = await client.post("/v1/search", json={"query": QUESTION, **given})
            assert (read.status_code, found.json()) == (404, {"results": []})
        assert (await browser.get("/v1/users/me", params={"user_id": "acme-2"})).status_code == 403


async def test_what_is_counted_is_ones_own(tenants: Tenants) -> None:
    eve, ada = tenants.clients[EVE], tenants.clients[ADA]
    ours = (await eve.get("/v1/memories", params={"cube": CUBE, "session_id": "monday", "kind": "turn"})).json()
    paged = await eve.get("/v1/memories", params={"cursor": tenants.things[ADA]["cursor"], "cube": CUBE})
    async with asyncio.timeout(20):
        waited = (await eve.get("/v1/scheduler/wait", params={"timeout": 15})).json()

    assert WORD[ADA] not in json.dumps(ours)
    assert tenants.of_ada(paged, {}) == []
    assert waited["finished"]
    assert (await eve.get("/v1/scheduler/unfinished")).json()["unfinished"] == 0
    assert (await ada.get("/v1/scheduler/unfinished")).json()["unfinished"] == 2
    # A key that both used for different bodies was each one's own; for another body of one's own it is refused.
    again = await eve.post("/v1/memories", json={"text": "No."}, headers={"Idempotency-Key": "same-key"})
    assert again.status_code == 422


async def test_a_shared_cube_is_read_and_written_as_far_as_it_is_shared(tenants: Tenants) -> None:
    ada, eve, name = tenants.clients[ADA], tenants.clients[EVE], f"{ADA}/lent"
    made = (await ada.post("/v1/memories?wait=30", json={"text": "The lent safe is grey.", "cube": "lent"})).json()
    (memory,) = made["memory_ids"]

    async def may() -> tuple[int, int]:
        ways = (("GET", ""), ("POST", "/pin"))
        params = {"cube": name}
        return tuple(
            [
                (await eve.request(method, f"/v1/memories/{memory}{path}", params=params)).status_code
                for method, path in ways
            ]
        )

    async def write() -> tuple[int, int]:
        """And how much there is then."""
        answer = await eve.post("/v1/memories?wait=30", json={"text": f"It weighs {uuid4()}.", "cube": name})
        return answer.status_code, (await ada.get("/v1/memories", params={"cube": "lent"})).json()["total"]

    async def share(permission: str) -> None:
        body = {"with_user": EVE, "permission": permission}
        assert (await ada.post("/v1/cubes/lent/shares", json=body)).status_code == 201

    async def answer(how: str) -> int:
        return (await eve.post(f"/v1/invitations/{ADA}%2Flent/{how}")).status_code

    nothing, readable, writable = (404, 404), (200, 404), (200, 200)
    assert (await may(), await answer("accept")) == (nothing, 404)
    await share("read")
    assert (await may(), await answer("decline"), await may(), await answer("accept")) == (nothing, 204, nothing, 404)
    await share("read")
    assert (await answer("accept"), await may(), await write()) == (200, readable, (404, 1))
    missing = [await eve.get(f"/v1/memories/{uuid4()}", params={"cube": each}) for each in (name, f"{NOBODY}/x")]
    assert missing[0].status_code == missing[1].status_code == 404
    for path in ("/v1/cubes/{}/memories?confirm={}", "/v1/cubes/{}/shares/" + ADA):
        assert (await eve.delete(path.format("ada-5c1%2Flent", "ada-5c1%2Flent"))).status_code == 404
    assert (await eve.post(f"/v1/cubes/{ADA}%2Flent/shares", json={"with_user": "bob-5c1"})).status_code == 404
    await share("write")
    assert (await may(), await write()) == (writable, (200, 2))
    assert (await ada.delete(f"/v1/cubes/lent/shares/{EVE}")).status_code == 204
    assert (await may(), await write()) == (nothing, (404, 2))
    everything = await eve.post("/v1/search", json={"query": "lent safe", "top_k": 100})
    assert memory not in everything.text
    await ada.delete("/v1/cubes/lent/memories", params={"confirm": "lent"})


async def events_of_cube(tenants: Tenants, name: str) -> list[str]:
    """What Eve is streamed of a cube, from its beginning on."""
    told: list[str] = []
    source = tenants.serving.service.scheduler.follow_cube_events(EVE, name, "0-0")
    with contextlib.suppress(TimeoutError, CubeForbidden):
        async with asyncio.timeout(0.3), contextlib.aclosing(source) as following:
            async for _, event in following:
                told.append(event.model_dump_json())
    return told


async def test_background_work_and_the_traces_of_it_keep_them_apart(tenants: Tenants) -> None:
    scheduler, eve = tenants.serving.service.scheduler, tenants.clients[EVE]
    await eve.get("/v1/scheduler/wait", params={"timeout": 30})
    events = await scheduler.get_web_log_messages(10_000)
    for user, other in ((EVE, ADA), (ADA, EVE)):
        own = [event.model_dump_json() for event in events if event.user_id == user]
        assert own
        assert not any(WORD[other] in event for event in own)
    told = await events_of_cube(tenants, CUBE)
    assert told
    assert not any(WORD[ADA] in each for each in told)
    for name in (ATTIC, f"{ADA}/{CUBE}", f"{ADA}/{ATTIC}"):
        assert not any(WORD[ADA] in each for each in await events_of_cube(tenants, name))
    # no question to the model, whatever it was for, holds the words of both
    assert tenants.model.asked
    assert not any(all(word in asked.prompt for word in WORD.values()) for asked in tenants.model.asked)
    audit = tenants.serving.service.audit
    assert audit is not None
    await audit._write([*audit._waiting])
    entries = await audit.read(AuditFilter(), 10_000)
    assert not any(WORD[ADA] in repr(each) or WORD[EVE] in repr(each) for each in entries)
    assert {each.user_id for each in entries if each.outcome == "ok" and each.key_id} >= {ADA, EVE}


async def test_who_deletes_everything_deletes_what_is_theirs(tenants: Tenants) -> None:
    """Last: what takes one's own away."""
    eve, before = tenants.clients[EVE], await tenants.state()
    ends = [case for case in CASES if case.changes and case.who == "users"]
    for case in sorted(ends, key=lambda each: each.route.startswith("DELETE /v1/cubes")):
        answer = await case.ask(eve, tenants.things[EVE])
        assert tenants.of_ada(answer, {}) == []
    await eve.get("/v1/scheduler/wait", params={"timeout": 30})
    left = (await eve.post("/product/get_all", json={"mem_cube_ids": [CUBE]})).text
    assert WORD[EVE] not in left
    assert await tenants.state() == before


POLICY = "version: 1\nrules:\n  - redact: {tags: [medical], mark: '(hidden)'}\ndefault: all\n"


@pytest.mark.long
async def test_a_redacted_text_is_nowhere(real_redis: RedisServer, vector_folder: str, tmp_path: Path) -> None:
    """In no answer of any route, whoever asks, no event, log line, number, problem or audit entry."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    url, secret = real_redis.url, "kumquat"
    with FakeLLM(tells_all) as model, capture_logs() as lines:
        given = {"llm_model": "m", "llm_base_url": model.url, "llm_api_key": "k"}
        async with serving(url, vector_folder, access_policy=str(tmp_path / "policy.yaml"), **given) as found:
            ada, admin = await found.key(Role.USER, user_id=ADA), await found.key(Role.ADMIN)
            text = f"The diagnosis beside the code of the safe is {secret}."
            body = {"text": text, "tags": ["medical"], "cube": CUBE, "session_id": "monday"}
            made = (await ada.post("/v1/memories?wait=30", json=body)).json()
            memory = made["memory_ids"][0]
            assert "(hidden)" in (await ada.get(f"/v1/memories/{memory}")).text
            etag = (await ada.get(f"/v1/memories/{memory}")).headers["ETag"]
            things = {
                **missing(),
                "owner": ADA,
                "memory_id": memory,
                "cube": CUBE,
                "token": made["token"],
                "etag": etag,
            }
            held = []
            for case in sorted(CASES, key=lambda each: each.changes):
                if case.endless:
                    continue  # their events are read below
                for client, user in ((ada, None), (admin, ADA if case.who == "users" and case.names_user else None)):
                    async with asyncio.timeout(30):
                        answer = await case.ask(client, things, user)
                    if secret in answer.text + repr(answer.headers):
                        held.append(case.id)
            events = [each.model_dump_json() for each in await found.service.scheduler.get_web_log_messages(10_000)]
            audit = found.service.audit
            assert audit is not None
            await audit._write([*audit._waiting])
            entries = repr(await audit.read(AuditFilter(), 10_000))
            for client in (ada, admin):
                await client.aclose()
    assert held == []
    assert not any(secret in event for event in events)
    assert secret not in entries
    assert [line for line in lines if secret in repr(line)] == []
