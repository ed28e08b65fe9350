"""Before and after a model call, and memories by hand, over HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched.errors import QueueFull, ServerRefused, ServerUnreachable

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
TALK = [
    {"role": "user", "content": "My boat is in the harbour of Kiel."},
    {"role": "assistant", "content": "A boat in the harbour of Kiel, nice!"},
]
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


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


async def told(client: httpx.AsyncClient, user: str, text: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/memories?wait=20", json={"user_id": user, "text": text, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_was_said_is_submitted_at_once_and_a_read_waits_for_it(client: httpx.AsyncClient, user: str) -> None:
    answer = await client.post("/v1/memories", json={"user_id": user, "messages": TALK})
    done = answer.json()
    listed = await client.get("/v1/memories", params={"user_id": user, "after": done["token"]})

    assert answer.status_code == 202
    assert [(each["label"], each["outcome"]) for each in done["items"]] == [("add", "queued"), ("answer", "queued")]
    assert done["items"][0]["item_id"] == done["task_id"]
    assert done["messages"] is None
    assert {each["text"] for each in listed.json()["memories"]} == {each["content"] for each in TALK}


async def test_with_wait_it_tells_what_became_of_each_message(client: httpx.AsyncClient, user: str) -> None:
    first = await told(client, user, "My boat is in the harbour of Kiel.")
    again = await told(client, user, "My boat is in the harbour of Kiel!")
    talk = [{"role": "tool", "content": "42"}, {"role": "user", "content": "I moved to Rome."}]
    mixed = (await client.post("/v1/memories?wait=20", json={"user_id": user, "messages": talk})).json()
    corrected = await told(client, user, "My boat is no longer in the harbour of Kiel, it is in Flensburg now.")
    forgotten = await told(client, user, "Please forget that I moved to Rome.")

    assert [(each["index"], each["outcome"]) for each in first["messages"]] == [(0, "added")]
    assert again["messages"][0]["outcome"] == "merged"
    assert again["memory_ids"] == first["memory_ids"]
    assert [(each["index"], each["outcome"], bool(each["why"])) for each in mixed["messages"]] == [
        (0, "passed", True),
        (1, "added", False),
    ]
    assert corrected["messages"][0]["corrects"] == first["memory_ids"]
    assert corrected["messages"][0]["why"]
    assert forgotten["messages"][0]["outcome"] == "forgotten"


async def test_what_cannot_be_remembered_is_refused(client: httpx.AsyncClient, user: str) -> None:
    nothing = await client.post("/v1/memories", json={"user_id": user, "messages": [{"role": "tool", "content": "x"}]})
    many = await client.post("/v1/memories", json={"user_id": user, "messages": ["a"] * 1001})
    neither = await client.post("/v1/memories", json={"user_id": user})

    assert {each.status_code for each in (nothing, many, neither)} == {422}
    assert many.json()["errors"][0]["pointer"] == "#/messages"


async def test_an_idempotency_key_does_it_once_and_is_no_other_bodys(client: httpx.AsyncClient, user: str) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {"user_id": user, "text": "I moved to Rome."}
    first, again = [await client.post("/v1/memories", json=body, headers=headers) for _ in range(2)]
    other = await client.post("/v1/memories", json={**body, "text": "I moved to Oslo."}, headers=headers)
    others = await client.post("/v1/memories", json={**body, "user_id": f"{user}2"}, headers=headers)
    bad = await client.post("/v1/memories", json=body, headers={"Idempotency-Key": "a b"})

    assert first.json()["task_id"] == again.json()["task_id"]
    assert again.json()["items"][0]["outcome"] == "duplicate"
    assert (other.status_code, bad.status_code, others.status_code) == (422, 422, 202)
    assert other.json()["errors"][0]["parameter"] == "Idempotency-Key"
    assert others.json()["task_id"] != first.json()["task_id"]


async def test_the_trace_goes_on(service: Serving, user: str) -> None:
    seen: list[Any] = []
    submit = service.service.scheduler.submit_messages

    async def watched(messages: Any, **given: Any) -> Any:
        seen.extend(messages if isinstance(messages, list) else [messages])
        return await submit(messages, **given)

    service.service.scheduler.submit_messages = watched  # type: ignore[method-assign]
    try:
        headers = {"traceparent": TRACEPARENT}
        await service.client.post("/v1/memories", json={"user_id": user, "messages": TALK}, headers=headers)
        await service.client.post("/v1/prompt", json={"user_id": user, "query": "Where?"}, headers=headers)
        await service.client.post("/v1/prompt", json={"user_id": user, "query": "Where?"}, headers={"traceparent": "x"})
    finally:
        service.service.scheduler.submit_messages = submit  # type: ignore[method-assign]

    assert [(each.label, each.trace_id) for each in seen] == [
        ("add", TRACEPARENT),
        ("answer", TRACEPARENT),
        ("query", TRACEPARENT),
        ("query", None),
    ]


async def test_the_prompt_has_the_block_first_and_the_given_messages_as_they_are(
    client: httpx.AsyncClient, user: str
) -> None:
    token = (await told(client, user, "My boat is in the harbour of Kiel."))["token"]
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Where is my boat?"}], "name": "x"},
    ]
    answer = await client.post(f"/v1/prompt?after={token}", json={"user_id": user, "messages": messages})
    found = answer.json()
    by_query = (await client.post("/v1/prompt", json={"user_id": user, "query": "Where is my boat?"})).json()
    unasked = (await client.get("/v1/prompt", params={"user_id": user})).json()

    assert answer.status_code == 200, answer.text
    assert found["messages"] == [{"role": "system", "content": found["text"]}, *messages]
    assert found["activation"]["text"] in found["text"]
    assert by_query["messages"][1] == {"role": "user", "content": "Where is my boat?"}
    assert found["sufficient"] == {"value": True, "reason": "answers", "searched": False}
    assert found["scheduled"] is by_query["scheduled"] is True
    assert "Kiel" in found["working_set"][0]["text"]
    assert set(found["memory_ids"]) == {each["id"] for each in found["working_set"]}
    assert (unasked["scheduled"], unasked["sufficient"]["reason"]) == (False, "nothing_asked")
    assert unasked["text"].startswith(found["text"][:40])


async def test_a_document_in_a_question_goes_to_the_model_as_it_is(client: httpx.AsyncClient, user: str) -> None:
    long = "Where is my boat? " + "many words of a document " * 20_000
    answer = await client.post("/v1/prompt", json={"user_id": user, "query": long})

    assert answer.status_code == 200, answer.text
    assert answer.json()["messages"][1]["content"] == long


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"messages": [{"content": "x"}]}, "#/messages/0"),
        ({"top_k": 101}, "#/top_k"),
        ({"search": "sometimes"}, "#/search"),
        ({"max_tokens": 0}, "#/max_tokens"),
        ({"query": "x", "messages": []}, "#"),
        ({"user_id": "x" * 513}, "#/user_id"),
        ({"cube": ""}, "#/cube"),
    ],
)
async def test_a_bad_prompt_is_refused(client: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    answer = await client.post("/v1/prompt", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_memories_come_page_by_page_in_either_order(client: httpx.AsyncClient, user: str) -> None:
    talk = [{"role": "user", "content": f"Thing {number} is blue."} for number in range(7)]
    for part in (talk[:4], talk[4:]):
        await client.post(
            "/v1/memories?wait=20", json={"user_id": user, "messages": part, "metadata": {"n": len(part)}}
        )

    async def pages(**params: Any) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            answer = await client.get("/v1/memories", params={"user_id": user, "limit": 2, "cursor": cursor, **params})
            page = answer.json()
            found += [each["text"] for each in page["memories"]]
            assert len(page["memories"]) <= 2
            if not (cursor := page["cursor"]):
                assert page["total"] == len(found)
                return found

    newest, oldest = await pages(), await pages(order="oldest")
    some = await pages(filter='{"n": 3}')

    assert set(newest) == set(oldest) == {each["content"] for each in talk}
    assert len(newest) == len(oldest) == 7
    assert {each["content"] for each in talk[4:]} == set(some) == set(newest[:3]) == set(oldest[4:])


@pytest.mark.parametrize("params", [{"limit": 101}, {"limit": 0}, {"cursor": "x"}, {"order": "x"}, {"filter": "x"}])
async def test_a_bad_page_is_refused(client: httpx.AsyncClient, params: dict[str, Any]) -> None:
    assert (await client.get("/v1/memories", params=params)).status_code == 422


async def test_a_token_of_no_write_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/memories", params={"after": "x"})).status_code == 404


@pytest.mark.parametrize(
    "error",
    [QueueFull("add", 1, 1.0), ServerRefused("OOM"), ServerUnreachable("redis://nowhere", "gone")],
    ids=["full", "refused", "away"],
)
async def test_a_prompt_is_answered_where_the_scheduler_cannot_be_told_what_was_asked(
    client: httpx.AsyncClient, user: str, service: Serving, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await told(client, user, "My boat is in the harbour of Kiel.")

    async def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(service.service.scheduler, "submit_messages", refuse)
    answer = await client.post("/v1/prompt", json={"user_id": user, "query": "Where is my boat?"})

    assert (answer.status_code, answer.json()["scheduled"]) == (200, False)
    assert "Kiel" in answer.json()["text"]


async def test_a_memory_is_changed_only_as_it_was_read(client: httpx.AsyncClient, user: str) -> None:
    (memory_id,) = (await told(client, user, "My boat is in the harbour of Kiel."))["memory_ids"]
    at = f"/v1/memories/{memory_id}"
    params = {"user_id": user}
    read = await client.get(at, params=params)
    body = {"text": "My boat is in the harbour of Flensburg."}
    unsaid = await client.patch(at, params=params, json=body)
    stale = await client.patch(at, params=params, json=body, headers={"If-Match": '"x"'})
    etag = {"If-Match": read.headers["ETag"]}
    done = await client.patch(at, params={**params, "wait": 20}, json=body, headers=etag)
    after = (await client.get(at, params=params)).json()
    history = (await client.get(f"{at}/history", params=params)).json()

    assert read.json()["text"] == "My boat is in the harbour of Kiel."
    assert (unsaid.status_code, stale.status_code, done.status_code) == (428, 412, 200)
    assert done.json()["memory_ids"] == [after["superseded_by"]]
    assert "corrected" in {each["what"] for each in history}


@pytest.mark.parametrize("wait", [0, 20])
async def test_of_changes_that_rest_on_the_same_version_one_counts(
    client: httpx.AsyncClient, user: str, wait: int
) -> None:
    (memory_id,) = (await told(client, user, "My boat is in the harbour of Kiel."))["memory_ids"]
    at, params = f"/v1/memories/{memory_id}", {"user_id": user, "wait": wait}
    etag = {"If-Match": (await client.get(at, params={"user_id": user})).headers["ETag"]}
    towns = ("Flensburg", "Husum", "Emden")
    texts = [{"text": f"My boat is in the harbour of {town}."} for town in towns]
    answers = await asyncio.gather(*(client.patch(at, params=params, json=each, headers=etag) for each in texts))
    late = await client.patch(at, params=params, json={"text": "My boat sank."}, headers=etag)

    assert sorted(each.status_code for each in answers) == [200 if wait else 202, 412, 412]
    assert late.status_code == 412


async def test_a_change_that_changed_nothing_or_was_refused_holds_up_no_other(
    client: httpx.AsyncClient, user: str, service: Serving
) -> None:
    (memory_id,) = (await told(client, user, "My boat is in the harbour of Kiel."))["memory_ids"]
    at, params = f"/v1/memories/{memory_id}", {"user_id": user, "wait": 20}
    etag = {"If-Match": (await client.get(at, params={"user_id": user})).headers["ETag"]}
    empty = await client.patch(at, params=params, json={"text": " "}, headers=etag)
    same = await client.patch(at, params=params, json={"text": "My boat is in the harbour of Kiel."}, headers=etag)
    now = {"If-Match": (await client.get(at, params={"user_id": user})).headers["ETag"]}
    done = await client.patch(at, params=params, json={"text": "My boat is in Emden."}, headers=now)

    assert [each.status_code for each in (empty, same, done)] == [422, 200, 200]


async def test_a_memory_is_pinned_archived_and_brought_back(client: httpx.AsyncClient, user: str) -> None:
    (memory_id,) = (await told(client, user, "My boat is in the harbour of Kiel."))["memory_ids"]
    acts = ("pin", "pin", "archive", "unpin", "archive", "restore")
    params = {"user_id": user}
    answers = [await client.post(f"/v1/memories/{memory_id}/{act}", params=params) for act in acts]

    assert [each.status_code for each in answers] == [200, 200, 409, 200, 200, 200]
    assert [each.json().get("changed") for each in answers] == [True, False, None, True, True, True]
    assert answers[2].json()["type"] == "urn:memsched:error:MemoryPinned"


async def test_a_deletion_is_final_in_every_tier(client: httpx.AsyncClient, user: str) -> None:
    done = await told(client, user, "My boat is in the harbour of Kiel.")
    await told(client, user, "I am allergic to nuts.")
    at, params = f"/v1/memories/{done['memory_ids'][0]}", {"user_id": user}
    deleted = await client.delete(at, params=params)
    gone = [await client.get(at, params=params), await client.delete(at, params=params)]
    prompt = await client.post("/v1/prompt", json={"user_id": user, "query": "Where is my boat?", "search": "always"})

    assert deleted.status_code == 204
    assert [each.status_code for each in gone] == [404, 404]
    assert "Kiel" not in prompt.text.replace("Where is my boat?", "")


async def test_what_is_anothers_is_not_there(client: httpx.AsyncClient, user: str) -> None:
    (memory_id,) = (await told(client, user, "My boat is in the harbour of Kiel."))["memory_ids"]
    theirs = {"user_id": f"{user}-other"}
    at, missing = f"/v1/memories/{memory_id}", f"/v1/memories/{uuid4()}"
    asked = [("GET", ""), ("DELETE", ""), ("GET", "/history"), ("POST", "/pin"), ("POST", "/archive")]

    for method, more in asked:
        there = await client.request(method, at + more, params=theirs)
        not_there = await client.request(method, missing + more, params=theirs)
        assert (there.status_code, there.content) == (404, not_there.content)
    assert (await client.get("/v1/memories", params=theirs)).json()["total"] == 0


async def test_what_was_refused_has_not_used_its_idempotency_key(client: httpx.AsyncClient, user: str) -> None:
    headers = {"Idempotency-Key": f"k-{user}"}
    bad = {"user_id": user, "messages": [{"role": "user"}]}
    good = {"user_id": user, "text": "My boat is in the harbour of Kiel."}

    assert (await client.post("/v1/memories", json=bad, headers=headers)).status_code == 422
    assert (await client.post("/v1/memories?wait=20", json=good, headers=headers)).status_code == 200


async def test_a_key_that_is_forgotten_is_another_bodys_only_with_another_item(
    service: Serving, client: httpx.AsyncClient, user: str
) -> None:
    headers = {"Idempotency-Key": f"k-{user}"}
    first = await client.post("/v1/memories", json={"user_id": user, "text": "I live in Kiel."}, headers=headers)
    server = await service.service.scheduler.server()
    for key in await server.execute("KEYS", f"{service.service.scheduler.keys.prefix}:idempotency:*"):
        await server.execute("DEL", key)
    other = await client.post("/v1/memories?wait=20", json={"user_id": user, "text": "I sail."}, headers=headers)

    assert first.json()["task_id"] != other.json()["task_id"]
    assert other.json()["items"][0]["outcome"] == "queued"


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"filter": '{"a": ' + "9" * 4000 + "}"}, 422),
        ({"filter": '{"a": "\\u0000"}'}, 422),
        ({"filter": '{"\\ud800": 1}'}, 422),
        ({"cursor": base64.urlsafe_b64encode(b"[" * 9000).decode()}, 422),
        ({"after": base64.urlsafe_b64encode(b"[" * 3000).decode()}, 404),
    ],
)
async def test_no_parameter_breaks_it(
    client: httpx.AsyncClient, user: str, params: dict[str, str], status: int
) -> None:
    assert (await client.get("/v1/memories", params={"user_id": user, **params})).status_code == status
