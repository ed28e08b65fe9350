"""A client of the original's routes: `/product`, with the original's names and envelope."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched.memory.access.api_keys import Role
from memsched.service.routes import product

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
TALK = [
    {"role": "user", "content": "Since Saturday a cat called Minka lives with us.", "chat_time": "2026-03-01 10:00"},
    {"role": "assistant", "content": "How nice!"},
    {"role": "user", "content": "Minka eats nothing but salmon."},
]

QUESTION = "Does Minka eat salmon?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder) as found:
        await found.service.scheduler.memory()
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def paula(service: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.key(Role.USER, user_id=f"paula-{uuid4().hex[:6]}") as client:
        yield client


async def told(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.json()["code"] == 200
    return answer.json()["data"]


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(each.removeprefix("data: ")) for each in text.split("\n\n") if each.startswith("data: ")]


async def test_what_is_added_is_found_read_corrected_chatted_about_and_deleted(paula: httpx.AsyncClient) -> None:
    async def post(route: str, **body: Any) -> Any:
        return await told(await paula.post(f"/product/{route}", json=body))

    (added,) = await post("add", writable_cube_ids=["pets"], messages=TALK, async_mode="sync", custom_tags=["cat"])
    found = await post("search", query=QUESTION, readable_cube_ids=["pets"], top_k=3, mode="fast")
    (cube,) = found["text_mem"]
    (best,) = (each for each in cube["memories"] if "salmon" in each["memory"])
    (everything,) = await post("get_all", memory_type="text_mem", mem_cube_ids=["pets"])
    one = await told(await paula.get(f"/product/get_memory/{best['id']}"))
    whole = await post("chat/complete", query=QUESTION, readable_cube_ids=["pets"])
    streamed = await paula.post("/product/chat/stream", json={"query": "And salmon?", "mem_cube_id": "pets"})
    (fed_back,) = await post(
        "feedback",
        feedback_content="Minka eats nothing but tuna.",
        retrieved_memory_ids=[best["id"]],
        writable_cube_ids=["pets"],
        async_mode="sync",
        history=[],
    )
    corrected = await post("search", query="Does Minka eat tuna?", readable_cube_ids=["pets"])
    tuna, *older = (each for each in corrected["text_mem"][0]["memories"] if "nothing but" in each["memory"])
    deleted = await post("delete_memory", memory_ids=[tuna["id"]], writable_cube_ids=["pets"])
    gone = await paula.get(f"/product/get_memory/{tuna['id']}")

    assert best["id"] in added["memory_ids"]
    assert len(added["memory_ids"]) == len(TALK)
    assert (added["cube_id"], added["status"], fed_back["status"]) == ("pets", "completed", "completed")
    assert (cube["cube_id"], cube["total_nodes"]) == ("pets", len(cube["memories"]))
    assert best["memory"] == "Minka eats nothing but salmon."
    assert best["ref_id"] == f"[{best['id'][:8]}]"
    assert best["metadata"]["tags"] == ["cat"]
    assert 0 < best["metadata"]["relativity"] <= 1
    assert {each["memory"] for each in everything["memories"]} == {each["content"] for each in TALK}
    assert one["memory"] == best["memory"]
    assert "Minka eats nothing but salmon." in whole["response"]
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *texts, end = events_of(streamed.text)
    assert {each["type"] for each in texts} == {"text"}
    assert end == {"type": "end"}
    assert {each["metadata"]["superseded_by"] for each in older} <= {tuna["id"]}
    assert tuna["memory"] == "Minka eats nothing but tuna."
    assert deleted == {"status": "success"}
    assert (gone.status_code, gone.json()["code"], gone.json()["data"]) == (404, 404, None)


async def test_the_scheduler_tells_of_a_users_work(service: Serving, paula: httpx.AsyncClient) -> None:
    (added,) = await told(await paula.post("/product/add", json={"memory_content": "Minka purrs.", "task_id": "t 1"}))
    waited = await paula.post("/product/scheduler/wait", params={"timeout_seconds": 30})
    streamed = await paula.get("/product/scheduler/wait/stream", params={"timeout_seconds": 30, "poll_interval": 0.05})
    task = await told(await paula.get("/product/scheduler/status", params={"task_id": added["task_id"]}))
    (all_work,) = await told(await paula.get("/product/scheduler/status"))
    queue = await told(await paula.get("/product/scheduler/task_queue_status"))
    unknown = await paula.get("/product/scheduler/status", params={"task_id": "other"})
    refused = await paula.get("/product/scheduler/allstatus")
    async with await service.key(Role.VIEWER) as viewer:
        numbers = await told(await viewer.get("/product/scheduler/allstatus"))

    assert added["task_id"] == "t 1"
    assert waited.json()["message"] == "idle"
    assert waited.json()["data"]["timed_out"] is False
    assert events_of(streamed.text)[-1]["status"] == "idle"
    assert task == [{"task_id": added["task_id"], "status": "completed"}]
    assert all_work["status"] == "completed"
    assert queue["remaining_tasks_count"] == 0
    assert (unknown.status_code, refused.status_code) == (404, 403)
    assert numbers["scheduler_summary"].keys() == {"waiting", "in_progress", "pending", "failed", "total"}


async def test_nobody_reaches_what_is_another_users(service: Serving, paula: httpx.AsyncClient) -> None:
    await told(await paula.post("/product/add", json={"memory_content": "Minka is ill.", "async_mode": "sync"}))
    (mine,) = (await told(await paula.post("/product/get_all", json={})))[0]["memories"]
    async with await service.key(Role.USER, user_id="eve") as eve:
        read = await eve.get(f"/product/get_memory/{mine['id']}")
        missing = await eve.get(f"/product/get_memory/{uuid4()}")
        deleted = await eve.post("/product/delete_memory", json={"memory_ids": [mine["id"]]})
        named = await eve.post("/product/search", json={"query": "Minka", "user_id": "paula"})
        waits = await eve.post("/product/scheduler/wait", params={"user_name": "paula"})
        found = await told(await eve.post("/product/search", json={"query": "Minka"}))

    assert (read.status_code, deleted.status_code) == (404, 404)
    assert read.json() == missing.json()
    assert (named.status_code, waits.status_code) == (403, 403)
    assert found["text_mem"] == []
    assert (await paula.get(f"/product/get_memory/{mine['id']}")).status_code == 200


BAD = {
    "an unknown field": ("add", {"memory_contentt": "x"}),
    "a file": ("add", {"doc_path": "/etc/passwd"}),
    "a prompt": ("chat/complete", {"query": "x", "system_prompt": "y"}),
    "not to remember": ("chat/complete", {"query": "x", "add_message_on_answer": False}),
    "two cubes": ("chat/stream", {"query": "x", "readable_cube_ids": ["a", "b"]}),
    "nothing to delete": ("delete_memory", {"memory_ids": []}),
    "all of a cube": ("delete_memory", {"writable_cube_ids": ["a"]}),
    "an empty question": ("chat/stream", {"query": " "}),
    "half a surrogate pair": ("search", {"query": "\ud800"}),
    "NUL": ("search", {"query": "\0"}),
    "no id": ("search", {"query": "x", "user_id": ""}),
    "no name of a cube": ("search", {"query": "x", "mem_cube_id": ""}),
    "no correction": ("feedback", {"feedback_content": " "}),
    "a number for no": ("add", {"memory_content": "x", "is_feedback": 0}),
    "a text for a number": ("search", {"query": "x", "top_k": "5"}),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_done_is_refused_in_the_envelope(paula: httpx.AsyncClient, name: str) -> None:
    route, body = BAD[name]

    answer = await paula.post(f"/product/{route}", content=json.dumps(body))

    assert answer.status_code == 422, answer.text
    assert (answer.json()["code"], answer.json()["data"]) == (422, None)
    assert answer.json()["message"]


async def test_feedback_does_not_wait_for_other_work_of_the_user(
    paula: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it takes longer than the answer may wait, that is no error."""
    monkeypatch.setattr(product, "_SYNC_SECONDS", 2.0)
    await told(await paula.post("/product/add", json={"memory_content": "Minka is grey.", "async_mode": "sync"}))
    later = {"label": "query", "content": "later", "mem_cube_id": "default"}
    await paula.post("/v1/scheduler/messages", json={"messages": [later], "delay_seconds": 600})
    body = {"feedback_content": "Minka is black.", "async_mode": "sync"}
    (done,) = await told(await paula.post("/product/feedback", json=body))
    assert done["status"] in ("completed", "waiting")
