"""Search, the working set, themes, and cubes that are shared, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched.errors import CubeForbidden

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
SAID = ("My boat is in the harbour of Kiel.", "I am allergic to nuts.", "My sister Anna lives in Rome.")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder) as found:
        yield found


@pytest.fixture
def client(service: Serving) -> httpx.AsyncClient:
    return service.client


@pytest.fixture
def user() -> str:
    return f"u{uuid4().hex[:10]}"


async def told(client: httpx.AsyncClient, user: str, *texts: str, **more: Any) -> list[str]:
    messages = [{"role": "user", "content": text} for text in texts or SAID]
    answer = await client.post("/v1/memories?wait=20", json={"user_id": user, "messages": messages, **more})
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["memory_ids"]
    return found


async def test_search_finds_the_best_first_and_says_why(client: httpx.AsyncClient, user: str) -> None:
    await told(client, user)
    body = {"user_id": user, "query": "Where is the boat?", "explain": True, "top_k": 1}
    answer = await client.post("/v1/search", json=body)

    (found,) = answer.json()["results"]
    assert found["memory"]["text"] == SAID[0]
    assert (found["cube"], found["owner_id"]) == ("default", user)
    assert found["score"] > 0.5
    assert found["found_by"][0]["word"] == "boat"


async def test_search_looks_only_where_it_shall(client: httpx.AsyncClient, user: str) -> None:
    await told(client, user, SAID[0], cube="work", metadata={"n": 1})
    await told(client, user, SAID[0], cube="home", metadata={"n": 2})

    async def cubes(**more: Any) -> set[str]:
        answer = await client.post("/v1/search", json={"user_id": user, "query": "boat", **more})
        assert answer.status_code == 200, answer.text
        return {each["cube"] for each in answer.json()["results"]}

    assert await cubes() == {"work", "home"}
    assert await cubes(cubes=["work"]) == {"work"}
    assert await cubes(filter={"n": 2}) == {"home"}
    assert await cubes(filter={"n": 2}, cubes=["work"]) == set()
    assert await cubes(speaker=["nobody"]) == set()


async def test_a_filter_asks_the_same_of_a_list_and_of_a_search(client: httpx.AsyncClient, user: str) -> None:
    await told(client, user, "The red boat is mine.", metadata={"n": 1, "who": ["ann", "bob"], "at": "Kiel harbour"})
    await told(client, user, "The blue boat is hers.", metadata={"n": 2}, session_id="monday")
    asked: dict[str, set[str]] = {
        '{"n": 1}': {"red"},
        '{"n": {"ne": 1}}': {"blue"},
        '{"or": [{"n": 1}, {"n": {"gte": 2}}]}': {"red", "blue"},
        '{"not": {"@session_id": "monday"}}': {"red"},
        '{"who": {"contains": "bob"}}': {"red"},
        '{"at": {"contains": "harb"}}': {"red"},
        '{"at": {"exists": false}}': {"blue"},
        '{"@text": {"contains": "blue"}}': {"blue"},
        '{"@text": {"contains": "lue boa"}}': {"blue"},
        '{"@kind": ["turn", "fact"], "@use_count": 0, "@version": 1}': {"red", "blue"},
        '{"@use_count": {"gt": 0}}': set(),
        '{"@at": {"gte": "2020-01-01T00:00:00Z"}}': {"red", "blue"},
        '{"@at": {"lt": "2020-01-01T00:00:00Z"}}': set(),
        '{"@tags": {"exists": true}}': set(),
        '{"@last_used_at": {"exists": false}}': {"red", "blue"},
        '{"and": [{"n": 2}, {"@status": "activated"}]}': {"blue"},
    }
    for filter, wanted in asked.items():
        listed = await client.get("/v1/memories", params={"user_id": user, "filter": filter})
        body = {"user_id": user, "query": "boat", "filter": json.loads(filter)}
        found = await client.post("/v1/search", json=body)
        colours = {each["text"].split()[1] for each in listed.json()["memories"]}
        assert colours == wanted, filter
        assert {each["memory"]["text"].split()[1] for each in found.json()["results"]} == wanted, filter


@pytest.mark.parametrize(
    "body",
    [
        {"query": "x", "top_k": 101},
        {"query": "x", "filter": {"not": {"not": {"not": {"not": {"not": {"a": 1}}}}}}},
        {"query": "x", "cubes": []},
        {"query": "x", "filter": {"a": {"near": 1}}},
        {"query": "x", "filter": "a"},
        {"query": "x", "since": "yesterday"},
        {"query": "x", "since": "2026-01-01T00:00:00"},
        {"query": "x", "method": "magic"},
        {"query": 1},
    ],
)
async def test_a_bad_search_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/v1/search", json=body)

    assert answer.status_code == 422
    assert answer.json()["detail"]


async def test_what_is_near_and_what_it_is_about(client: httpx.AsyncClient, user: str) -> None:
    ids = await told(client, user)
    params = {"user_id": user}
    near = (await client.get("/v1/working-set", params=params)).json()["memories"]
    themes = await client.get("/v1/themes", params=params)
    explained = (await client.get("/v1/explain", params={**params, "memory_id": ids[0]})).json()
    began = await client.post("/v1/preload", json={**params, "session_id": "s"})
    typed = await client.post("/v1/typing", json={**params, "text": "Where is the b"})

    assert {each["id"] for each in near} == set(ids)
    assert {each["tier"] for each in near} <= {"working", "activation"}
    assert themes.status_code == 200
    assert explained["memory"]["text"] == SAID[0]
    assert (began.status_code, typed.status_code) == (202, 202)


async def test_feedback_that_is_sent_again_with_its_key_is_one(client: httpx.AsyncClient, user: str) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {"user_id": user, "text": "No, the boat is in Flensburg."}
    first, again = [await client.post("/v1/feedback", json=body, headers=headers) for _ in range(2)]
    other = await client.post("/v1/feedback", json={**body, "text": "No, it is in Kiel."}, headers=headers)

    assert (first.json()["outcome"], again.json()["outcome"]) == ("queued", "duplicate")
    assert first.json()["item_id"] == again.json()["item_id"]
    assert other.status_code == 422


async def test_feedback_corrects_what_it_means(client: httpx.AsyncClient, user: str) -> None:
    (memory_id, *_) = await told(client, user)
    body = {"user_id": user, "text": "My boat is in the harbour of Flensburg.", "memory_id": memory_id}
    done = await client.post("/v1/feedback", json=body)
    unknown = await client.post("/v1/feedback", json={**body, "memory_id": str(uuid4())})
    theirs = await client.post("/v1/feedback", json={**body, "user_id": f"{user}2"})

    assert done.status_code == 202
    assert (unknown.status_code, theirs.status_code) == (404, 404)


async def test_a_cube_is_shared_with_who_accepts_it_until_it_is_revoked(client: httpx.AsyncClient, user: str) -> None:
    other = f"{user}-b"
    await told(client, user, SAID[0], cube="work")
    grant = await client.post("/v1/cubes/work/shares", params={"user_id": user}, json={"with_user": other})
    name = grant.json()["cube_id"]
    invited = (await client.get("/v1/invitations", params={"user_id": other})).json()
    before = await client.get("/v1/memories", params={"user_id": other, "cube": name})
    accepted = await client.post(f"/v1/invitations/{name}/accept", params={"user_id": other})
    listed = await client.get("/v1/memories", params={"user_id": other, "cube": name})
    written = await client.post("/v1/memories", json={"user_id": other, "cube": name, "text": "I was here."})
    emptied = await client.delete(f"/v1/cubes/{name}/memories", params={"user_id": other, "confirm": name})
    at = f"/v1/cubes/work/shares/{other}"
    revoked, again = [await client.delete(at, params={"user_id": user}) for _ in range(2)]
    after = await client.get("/v1/memories", params={"user_id": other, "cube": name})

    assert grant.status_code == 201
    assert name == f"{user}/work"
    assert [each["cube_id"] for each in invited] == [name]
    assert before.status_code == 404
    assert accepted.json() == {"cube_id": name, "owner_id": user, "permission": "read"}
    assert [each["text"] for each in listed.json()["memories"]] == [SAID[0]]
    assert (written.status_code, emptied.status_code) == (404, 404)
    assert (revoked.status_code, again.status_code, after.status_code) == (204, 404, 404)


async def test_all_of_a_cube_is_deleted_by_who_names_it_twice(client: httpx.AsyncClient, user: str) -> None:
    await told(client, user, cube="work")
    at, params = "/v1/cubes/work/memories", {"user_id": user}
    unsaid = await client.delete(at, params=params)
    other = await client.delete(at, params={**params, "confirm": "home"})
    empty = await client.delete("/v1/cubes//memories", params={**params, "confirm": ""})
    theirs = await client.delete(at, params={"user_id": f"{user}2", "confirm": "work"})
    kept = (await client.get("/v1/memories", params={**params, "cube": "work"})).json()["total"]
    done = await client.delete(at, params={**params, "confirm": "work"})
    left = (await client.get("/v1/memories", params={**params, "cube": "work"})).json()["total"]

    assert (unsaid.status_code, other.status_code, theirs.status_code) == (422, 409, 404)
    assert empty.status_code in (404, 422)
    assert (kept, done.json(), left) == (3, {"deleted": 3}, 0)


async def test_a_cube_is_made_and_a_user_is_known(client: httpx.AsyncClient, user: str) -> None:
    made = await client.post("/v1/cubes", json={"user_id": user, "name": "work", "tags": ["finance"]})
    named = await client.put("/v1/users/me", json={"user_id": user, "name": "Ada"})
    cubes = (await client.get("/v1/cubes", params={"user_id": user})).json()

    assert made.status_code == 201
    assert cubes == [{"cube_id": "work", "owner_id": user, "permission": "write"}] == named.json()["cubes"]
    for at in ("accept", "decline"):
        answer = await client.post(f"/v1/invitations/nobody/x/{at}", params={"user_id": user})
        assert answer.status_code == 404


async def test_a_chat_answers_whole_and_in_pieces(client: httpx.AsyncClient, user: str) -> None:
    await told(client, user)
    body = {"user_id": user, "query": "Where is my boat?"}
    whole = await client.post("/v1/chat", json=body)
    pieces = await client.post("/v1/chat/stream", json=body)
    refused = [await client.post(f"/v1/chat{at}", json={**body, "query": ""}) for at in ("", "/stream")]

    assert "Kiel" in whole.json()["answer"]
    assert pieces.headers["Content-Type"].startswith("text/event-stream")
    events = [each.split("\n") for each in pieces.text.strip().split("\n\n")]
    said = "".join(json.loads(data.removeprefix("data: "))["text"] for name, data in events if name == "event: text")
    assert "Kiel" in said
    assert events[-1][0] == "event: end"
    assert [each.status_code for each in refused] == [422, 422]


async def test_what_happens_to_a_cube_is_streamed_to_whoever_may_read_it(service: Serving, user: str) -> None:
    await told(service.client, user, SAID[0], cube="home")
    scheduler, guest = service.service.scheduler, f"{user}-guest"
    mos = service.service.mos
    await mos.share_cube_with_user("home", guest, user_id=user)
    await mos.accept_cube(f"{user}/home", guest)

    async with asyncio.timeout(10), aclosing(scheduler.follow_cube_events(guest, f"{user}/home", "0-0")) as events:
        _, first = await anext(events)
        await mos.revoke_cube_from_user("home", guest, user)
        with pytest.raises(CubeForbidden):
            await rest_of(events)

    assert SAID[0] in first.log_content
    path = f"/v1/cubes/{user}/home/events"
    assert (await service.client.get(path, params={"user_id": guest})).status_code == 404


async def rest_of(events: AsyncIterator[Any]) -> None:
    async for _ in events:
        pass


async def test_a_question_makes_no_cube(service: Serving, user: str) -> None:
    await told(service.client, user, SAID[0], cube="home")
    body = {"user_id": user, "cube": "hme", "query": "Where is the boat?"}
    assert (await service.client.post("/v1/prompt", json=body)).status_code == 200
    await service.client.get("/v1/scheduler/wait", params={"user_id": user, "timeout": 20})

    cubes = (await service.client.get("/v1/users/me", params={"user_id": user})).json()["cubes"]
    assert [each["cube_id"] for each in cubes] == ["home"]
