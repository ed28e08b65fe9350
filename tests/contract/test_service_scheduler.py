"""The scheduler's routes: submitting, where messages are, waiting, dead letters, pausing, events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched import ScheduleLogForWebItem, ScheduleMessageItem
from memsched.memory.access.api_keys import Role
from memsched.queue.events import append_event

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
PATH = "/v1/scheduler"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any) -> AsyncIterator[Serving]:
    url = str(_session_servers.get("redis").url)
    async with serving(url, "/nowhere", worker=False, memory=False, max_errors=0) as found:

        async def step(messages: list[ScheduleMessageItem], context: Any) -> None:
            message = messages[0]
            if message.content == "fail":
                raise ValueError("it cannot be done")
            if message.content == "follow":
                following = message.model_copy(update={"item_id": f"{message.item_id}-2", "content": "last"})
                context.submit([following])

        found.service.scheduler.register_handlers({"step": step})
        await found.service.scheduler.start()
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(service: Serving) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    made = {
        "admin": await service.key(Role.ADMIN),
        "app": await service.key(Role.APP, users="acme-*"),
        "ada": await service.key(Role.USER, user_id="ada"),
        "eve": await service.key(Role.USER, user_id="eve"),
        "viewer": await service.key(Role.VIEWER),
        "metrics": await service.key(Role.METRICS),
    }
    yield made
    for each in made.values():
        await each.aclose()


def message(content: str = "go", **more: Any) -> dict[str, Any]:
    return {"label": "step", "content": content, "mem_cube_id": "c", **more}


async def submit(client: httpx.AsyncClient, user: str, *messages: dict[str, Any], **more: Any) -> list[str]:
    answer = await client.post(f"{PATH}/messages", json={"user_id": user, "messages": list(messages), **more})
    assert answer.status_code == 202, answer.text
    return [each["item_id"] for each in answer.json()["items"]]


async def test_a_business_task_is_followed_with_its_follow_ups(clients: dict[str, httpx.AsyncClient]) -> None:
    admin, task = clients["admin"], "trip/to Oslo {1}"
    await submit(admin, "bo", message("follow", task_id=task, item_id="bo-1"), message(task_id=task))

    waited = await admin.get(f"{PATH}/wait", params={"user_id": "bo", "task_id": task, "timeout": 20})
    found = (await admin.get(f"{PATH}/tasks/trip%2Fto Oslo {{1}}", params={"user_id": "bo"})).json()

    assert waited.json() == {"finished": True, "unfinished": 0, "advice": ""}
    assert (found["state"], found["total"], found["unfinished"], found["failed"]) == ("completed", 3, 0, 0)
    assert {"bo-1", "bo-1-2"} < {each["item_id"] for each in found["items"]}


async def test_a_failed_part_is_told_and_is_a_dead_letter(clients: dict[str, httpx.AsyncClient]) -> None:
    admin, item = clients["admin"], f"bad-{uuid4()}"
    await submit(admin, "bo", message("fail", item_id=item, task_id="failing"))
    await admin.get(f"{PATH}/wait", params={"user_id": "bo", "timeout": 20})

    found = (await admin.get(f"{PATH}/tasks/failing", params={"user_id": "bo"})).json()
    letters = (await admin.get(f"{PATH}/dead-letters", params={"item_id": item})).json()["letters"]

    assert found["state"] == "failed"
    assert "it cannot be done" in found["items"][0]["error"]
    assert [(each["label"], each["reason"], each["attempts"]["errors"]) for each in letters] == [("step", "errors", 1)]

    sent = await admin.post(f"{PATH}/dead-letters/redrive", json={"ids": [item], "per_second": 100})
    await admin.get(f"{PATH}/wait", params={"user_id": "bo", "timeout": 20})
    purged = await admin.post(f"{PATH}/dead-letters/purge", json={"ids": [item]})
    assert (sent.json(), purged.json()) == ({"sent": 1, "more": False}, {"deleted": 1})


async def test_a_rate_that_would_never_end_is_refused(clients: dict[str, httpx.AsyncClient]) -> None:
    answer = await clients["admin"].post(f"{PATH}/dead-letters/redrive", json={"all": True, "per_second": 5e-324})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/per_second")


async def test_an_empty_filter_means_nothing(clients: dict[str, httpx.AsyncClient]) -> None:
    for what in ("redrive", "purge"):
        answer = await clients["admin"].post(f"{PATH}/dead-letters/{what}", json={})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/all")


async def test_messages_wait_are_cancelled_and_are_nobody_elses(clients: dict[str, httpx.AsyncClient]) -> None:
    app, admin = clients["app"], clients["admin"]
    (item,) = await submit(app, "acme-1", message(item_id="order-17", task_id="t"), delay_seconds=600)
    mine = {"user_id": "acme-1"}

    assert (await app.get(f"{PATH}/unfinished", params=mine)).json() == {"user_id": "acme-1", "unfinished": 1}
    assert (await app.get(f"{PATH}/items/{item}", params=mine)).json()["items"][0]["state"] == "waiting"
    for path in (f"{PATH}/items/{item}", f"{PATH}/tasks/t"):
        others = [await app.get(path, params={"user_id": "acme-2"}), await clients["ada"].get(path)]
        missing = await clients["ada"].get(f"{PATH}/items/no-such")
        assert [each.status_code for each in others] == [404, 404]
        assert all(each.json() == missing.json() for each in others)
    assert (await clients["eve"].delete(f"{PATH}/items/{item}")).status_code == 404
    assert (await app.delete(f"{PATH}/items/{item}", params={"user_id": "ada"})).status_code == 403

    late = await app.get(f"{PATH}/wait", params={**mine, "timeout": 0.1})
    assert (late.json()["finished"], late.json()["unfinished"]) == (False, 1)
    assert (await app.delete(f"{PATH}/items/{item}", params=mine)).json() == {"cancelled": True}
    assert (await app.delete(f"{PATH}/items/{item}", params=mine)).json() == {"cancelled": False}
    assert (await admin.get(f"{PATH}/tasks/t", params=mine)).json()["items"][0]["error"] == "cancelled"


async def test_a_user_submits_no_label_of_their_own(clients: dict[str, httpx.AsyncClient]) -> None:
    answer = await clients["ada"].post(f"{PATH}/messages", json={"messages": [message()]})
    assert answer.status_code == 403

    await submit(clients["ada"], "ada", {"label": "query", "content": "hello?", "mem_cube_id": "c"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": ""},
        {"label": "x" * 129},
        {"item_id": "a\0b"},
        {"timestamp": "2026-01-02T03:04:05"},
        {"timestamp": "soon"},
        {"priority": 1},
        {"info": {"a": {"b": "\ud800"}}},
        {"content": None},
    ],
    ids=repr,
)
async def test_what_is_no_message_is_refused_at_its_field(
    clients: dict[str, httpx.AsyncClient], wrong: dict[str, Any]
) -> None:
    body = json.dumps({"user_id": "bo", "messages": [message(), {**message(), **wrong}]})
    answer = await clients["admin"].post(f"{PATH}/messages", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"#/messages/1/{next(iter(wrong))}")


async def test_who_may_see_and_operate_the_queue(clients: dict[str, httpx.AsyncClient]) -> None:
    async def statuses(path: str, how: str = "get", **more: Any) -> dict[str, int]:
        asked = {name: getattr(client, how)(f"{PATH}/{path}", **more) for name, client in clients.items()}
        return {name: (await answer).status_code for name, answer in asked.items()}

    allowed = {"admin": 200, "app": 403, "ada": 403, "eve": 403, "viewer": 403, "metrics": 403}
    assert await statuses("status") == {**allowed, "viewer": 200}
    assert await statuses("scaling") == {**allowed, "viewer": 200, "metrics": 200}
    assert await statuses("dead-letters") == allowed
    assert await statuses("dead-letters/purge", "post", json={"ids": ["x"]}) == allowed
    assert await statuses("labels/step/resume", "post") == allowed
    others = {
        name: (await client.get(f"{PATH}/events")).status_code for name, client in clients.items() if name != "admin"
    }
    assert others == {name: status for name, status in allowed.items() if name != "admin"}


async def test_a_paused_label_waits_and_is_counted_as_ready(clients: dict[str, httpx.AsyncClient]) -> None:
    admin = clients["admin"]
    assert (await admin.post(f"{PATH}/labels/nobody-has-it/pause")).status_code == 404
    assert (await admin.post(f"{PATH}/labels/step/pause")).json() == {"label": "step", "paused": True, "changed": True}
    try:
        await asyncio.sleep(0.5)  # what a worker is just reading it still takes
        await submit(admin, "bo", message(task_id="later"))
        await submit(admin, "bo", message(task_id="later"), delay_seconds=500)
        numbers = (await admin.get(f"{PATH}/scaling", params={"labels": "step,other"})).json()
        assert (numbers["ready"], numbers["backlog"], numbers["delayed"]) == (1, 2, 1)
        assert (await admin.get(f"{PATH}/scaling", params={"labels": "other"})).json()["backlog"] == 0
        state = (await admin.get(f"{PATH}/tasks/later", params={"user_id": "bo"})).json()
        assert (state["state"], state["unfinished"]) == ("waiting", 2)
        for each in state["items"]:
            if each["due_ms"]:
                await admin.delete(f"{PATH}/items/{each['item_id']}", params={"user_id": "bo"})
    finally:
        assert (await admin.post(f"{PATH}/labels/step/resume")).json()["changed"] is True
    assert (await admin.get(f"{PATH}/wait", params={"user_id": "bo", "timeout": 20})).json()["finished"]


async def test_a_wait_is_streamed(service: Serving, clients: dict[str, httpx.AsyncClient]) -> None:
    admin = clients["admin"]
    await submit(admin, "cy", message(), message())
    told = [json.loads(data) async for name, _, data in events(admin, f"{PATH}/wait/stream?user_id=cy")]
    assert told[-1]["finished"] is True


async def test_events_go_on_behind_the_last_one_that_was_received(
    service: Serving, clients: dict[str, httpx.AsyncClient]
) -> None:
    scheduler = service.service.scheduler
    server = await scheduler.server()
    for number in range(3):
        event = ScheduleLogForWebItem(
            user_id="ada",
            mem_cube_id="c",
            label="add",
            from_memory_type="UserMemory",
            to_memory_type="UserMemory",
            log_content=f"event {number}",
        )
        await append_event(server, scheduler.keys, scheduler.settings, ("ada", "home"), event)

    places = []
    async for place, event in scheduler.follow_events("0-0"):
        places.append((place, event.log_content))
        if len(places) == 3:
            break
    assert [said for _, said in places] == ["event 0", "event 1", "event 2"]
    rest = [event.log_content async for _, event in first(scheduler.follow_events(places[1][0]), 1)]
    assert rest == ["event 2"]


async def first(source: Any, count: int) -> AsyncIterator[Any]:
    async for each in source:
        yield each
        count -= 1
        if not count:
            await source.aclose()
            return


async def events(client: httpx.AsyncClient, path: str) -> AsyncIterator[tuple[str, str, str]]:
    """Name, id and data of what a stream that ends by itself sends."""
    answer = await client.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            yield fields.get("event", ""), fields.get("id", ""), fields["data"]
    await asyncio.sleep(0)
