"""/metrics: what Prometheus reads is true, well formed, and names nobody."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from support.service import Serving, serving

from memsched import AsyncMemScheduler, HandlerContext, ScheduleMessageItem
from memsched.counting import counted
from memsched.errors import ServerUnreachable, UnreachableError
from memsched.memory.access.api_keys import Role
from memsched.metrics.prometheus import MOST_LABELS, Numbers

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any) -> AsyncIterator[Serving]:
    url = str(_session_servers.get("redis").url)
    async with serving(url, "/nowhere", worker=False, memory=False, max_errors=0) as found:
        scheduler = AsyncMemScheduler(found.service.settings)

        async def handle(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
            if batch[0].content == "bad":
                raise ValueError("bad")

        scheduler.register_handlers({"task": handle})
        await scheduler.start()
        given = {"user_id": "ada@example.org", "mem_cube_id": "secret-cube", "label": "task"}
        await scheduler.submit_messages([ScheduleMessageItem(content=text, **given) for text in ("a", "b", "bad")])
        await scheduler.wait(timeout=30)
        await scheduler.submit_messages(ScheduleMessageItem(content="c", **given), delay=3600)
        await scheduler.stop()
        counted["move:UserMemory:Archived"] += 2
        counted["tokens:yes"] += 7
        counted["store:done"] += 1
        counted.observe("store_seconds", 0.003)
        counted["model:extract:done"] += 1
        yield found


async def scraped(service: Serving) -> tuple[str, dict[tuple[str, ...], float]]:
    answer = await (await service.key(Role.METRICS)).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name, *(text for _, text in sorted(sample.labels.items()))] = sample.value
    return answer.text, found


async def test_the_numbers_are_there_after_their_worker(service: Serving) -> None:
    _, found = await scraped(service)

    assert found["memsched_queue_up",] == 1
    assert found["memsched_messages", "task", "delayed"] == 1
    assert found["memsched_messages", "task", "dead"] == 1
    assert found["memsched_messages", "task", "waiting"] == 0
    assert found["memsched_messages_ready", "task"] == 0
    assert found["memsched_messages_submitted_total", "task"] == 4
    assert found["memsched_messages_processed_total", "task", "done"] == 2
    assert found["memsched_messages_processed_total", "task", "dead"] == 1
    assert found["memsched_handler_duration_seconds_count", "task"] == 3
    assert found["memsched_message_wait_seconds_bucket", "task", "+Inf"] == 3
    assert found["memsched_memory_moves_total", "UserMemory", "Archived"] >= 2
    assert found["memsched_prompt_tokens_total", "yes"] >= 7
    assert found["memsched_store_call_duration_seconds_count",] >= 1
    again = (await scraped(service))[1]
    assert (
        again["memsched_memory_moves_total", "UserMemory", "Archived"]
        == (found["memsched_memory_moves_total", "UserMemory", "Archived"])
    ), "counted once"
    assert again["memsched_http_requests_total", "GET", "/metrics", "200"] >= 1


async def test_several_that_scrape_at_once_count_nothing_twice(service: Serving) -> None:
    before = (await scraped(service))[1]["memsched_store_calls_total", "done"]
    counted["store:done"] += 5
    counted.observe("store_seconds", 0.003)
    await asyncio.gather(*(service.service.numbers.text() for _ in range(3)))

    assert not counted
    assert (await scraped(service))[1]["memsched_store_calls_total", "done"] == before + 5


async def test_what_does_not_reach_the_server_is_counted_later(
    service: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await scraped(service))[1]["memsched_store_calls_total", "done"]
    counted["store:done"] += 1
    with monkeypatch.context() as patched:
        patched.setattr(type(await service.service.scheduler.server()), "call", _refuse)
        assert b"memsched_queue_up 0.0" in await service.service.numbers.text()

    assert (await scraped(service))[1]["memsched_store_calls_total", "done"] == before + 1


async def test_it_is_well_formed_and_names_nobody(service: Serving) -> None:
    text, _ = await scraped(service)

    assert not re.search("ada|example|secret-cube", text)
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("memsched_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "histogram")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 200), (Role.ADMIN, 200), (Role.USER, 403)])
async def test_who_may_see_them(service: Serving, role: Role, status: int) -> None:
    given = {"user_id": "ada"} if role is Role.USER else {}
    client: httpx.AsyncClient = await service.key(role, **given)
    assert (await client.get("/metrics")).status_code == status


async def test_labels_beyond_64_are_shown_together(service: Serving) -> None:
    numbers = Numbers(service.service.scheduler)
    shown = {numbers._label(f"own-{number}") for number in range(MOST_LABELS + 10)}

    assert len(shown) == MOST_LABELS + 1
    assert numbers._label("own-3") == "own-3"
    assert numbers._label("own-70") == numbers._label("another") == "other"
    assert numbers._label("query") == "query"


async def test_a_server_that_is_away_is_said_and_the_rest_is_shown(service: Serving) -> None:
    numbers = Numbers(_Away())  # type: ignore[arg-type]
    numbers.observe_http("/v1/prompt", "BREW", 200, 0.01)
    text = (await numbers.text()).decode()

    assert "memsched_queue_up 0.0" in text
    assert 'memsched_http_requests_total{method="other",route="/v1/prompt",status="200"} 1.0' in text
    assert "memsched_messages{" not in text


async def _refuse(*_: Any) -> None:
    raise UnreachableError("refused")


class _Away:
    async def server(self) -> None:
        raise ServerUnreachable("redis://nowhere", "refused")
