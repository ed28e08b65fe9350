"""The queue's pages in a real browser, of a real `memsched serve`, with real workers on a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="playwright is not installed (pip install 'memsched[dev]')")

from playwright.async_api import Browser, Page, expect
from support.browser import chromium, looking
from support.conditions import until
from support.crew import Crew
from support.processes import free_port
from support.servers import RedisServer, server_programs

from memsched import AsyncMemScheduler, ScheduleMessageItem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
expect.set_options(timeout=30_000)
MESSAGES = 1_000
ADA = "ada/ä&<b>"


@dataclass
class Place:
    """A service, and what works beside it."""

    redis: RedisServer
    crew: Crew
    scheduler: AsyncMemScheduler
    browser: Browser
    address: str

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Page]:
        """A page about which the browser has nothing to complain: no error, nothing that its policy forbids."""
        async with looking(self.browser, self.address) as looked:
            yield looked.page
            assert looked.complaints == []

    async def submit(self, count: int, label: str = "task", *, user: str = "", delay: float = 0.0, **info: Any) -> None:
        messages = [
            ScheduleMessageItem(
                user_id=user or f"user{number % 20}",
                mem_cube_id="home",
                label=label,
                content=f"message {number}",
                item_id=f"{label}-{number}",
                info=info or None,
            )
            for number in range(count)
        ]
        await self.scheduler.submit_messages(messages, delay=delay)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    if "redis" not in server_programs():
        pytest.skip("redis-server is not installed")
    folder: Path = tmp_path_factory.mktemp("pages")
    redis = RedisServer(server_programs()["redis"]).start()
    given = {"worker_ttl_seconds": 2, "beat_seconds": 0.2, "min_idle_ms": 1000, "max_errors": 0, "memory": False}
    crew, port = Crew(folder, redis.url, **given), free_port()
    scheduler = AsyncMemScheduler(redis_url=redis.url, memory=False)
    try:
        crew.serve(port)
        for _ in range(2):
            crew.start()
        address = f"http://127.0.0.1:{port}"
        await until(lambda: _answers(address), "memsched serve answers")
        async with chromium() as browser:
            yield Place(redis, crew, scheduler, browser, address)
    finally:
        await scheduler.stop()
        crew.end()
        redis.remove()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", verify=False).status_code == 200  # to read certificates takes 60 ms
    except httpx.TransportError:
        return False


async def total(page: Page, name: str) -> int:
    return int((await page.locator(f"[data-total={name}]").inner_text()).replace(",", ""))


def state(page: Page, label: str, name: str) -> Any:
    return page.locator(f"tr[data-label='{label}'] [data-state={name}]")


async def test_numbers_are_live_while_messages_are_worked_off_and_a_worker_dies(place: Place) -> None:
    async with place.looking() as page:
        await page.goto("/")
        await expect(page.locator("[data-total=workers]")).to_have_text("2")
        await place.scheduler.pause("task")
        await place.submit(MESSAGES, sleep=0.002)
        await expect(state(page, "task", "waiting")).to_have_text("1,000")
        await page.get_by_role("button", name="Resume task").click()

        async def moves() -> bool:
            return await total(page, "waiting") not in (0, MESSAGES)

        await until(moves, "numbers move")
        place.crew.members[1].kill()
        await page.get_by_role("link", name="Queue", exact=True).first.click()
        await expect(page.locator("[data-total=workers]")).to_have_text("1")
        await expect(state(page, "task", "waiting")).to_have_text("0")
        for name in ("running", "orphaned", "waiting"):
            await expect(state(page, "task", name)).to_have_text("0")
        await page.get_by_role("link", name="task", exact=True).click()
        await expect(page.get_by_role("heading", name="task", exact=True)).to_be_visible()
        await expect(page.locator(".chart canvas")).to_be_visible()
        await page.goto("/workers")
        await expect(page.locator("tr[data-worker]")).to_have_count(1)
    assert len(place.crew.record.ids("end")) == MESSAGES


async def test_a_page_is_live_though_its_programs_come_late(place: Place) -> None:
    async def late(route: Any) -> None:
        await asyncio.sleep(0.5)
        await route.continue_()

    async with place.looking() as page:
        await page.route(re.compile("hx-sse"), late)
        await page.goto("/")
        await place.submit(3, "late", delay=600)
        await expect(state(page, "late", "delayed")).to_have_text("3")


async def test_dead_letters_are_redriven_by_a_click(place: Place) -> None:
    await place.submit(5, "single", fail=True)
    async with place.looking() as page:
        await page.goto("/")
        await expect(state(page, "single", "dead")).to_have_text("5")
        for member in place.crew.members[1:]:
            member.kill()
        await state(page, "single", "dead").click()
        group = page.locator("tr[data-group='single errors']")
        await expect(group.locator("td").first).to_have_text("5")
        await group.get_by_role("button", name=re.compile("Redrive")).click()
        await expect(page.get_by_text("5 sent again.")).to_be_visible()
        await expect(page.get_by_text("Nothing was given up")).to_be_visible()
        await page.get_by_role("link", name="Queue", exact=True).click()
        await expect(state(page, "single", "waiting")).to_have_text("5")


async def test_a_message_is_found_read_and_cancelled_and_a_label_paused(place: Place) -> None:
    await place.submit(1, "later", user=ADA, delay=600)
    async with place.looking() as page:
        await page.goto("/")
        await state(page, "later", "delayed").click()
        await page.get_by_role("link", name="later-0").click()
        await expect(page.get_by_text("message 0", exact=True)).to_be_visible()
        await expect(page.locator("section[data-label=later] [data-state]")).to_have_text("delayed")
        await page.get_by_role("button", name="Cancel later").click()
        await page.get_by_role("button", name="Cancel it").click()
        await expect(page.locator("section[data-label=later] [data-state]")).to_have_text("failed")
        await page.goto("/")
        await page.get_by_role("button", name="Pause later").click()
        await expect(page.get_by_text("paused: workers take no more of it")).to_be_visible()
        await page.get_by_role("button", name="Resume later").click()
        await expect(page.get_by_text("paused: workers take no more of it")).to_be_hidden()


async def test_a_server_that_is_away_is_told_of_and_is_back_by_itself(place: Place) -> None:
    async with place.looking() as page:
        await page.goto("/")
        await expect(page.locator("#labels")).to_be_visible()
        place.redis.stop()
        await expect(page.get_by_text("The server of the queue (Redis) does not answer.")).to_be_visible()
        place.redis.start()
        await expect(page.locator("#labels")).to_be_visible()


PAGES = [
    "/",
    "/queue/task/overview",
    "/queue/single/waiting",
    "/queue/later/parked",
    "/messages?user_id=user1",
    "/messages/shown-1?user_id=user1",
    "/dead-letters",
    "/workers",
    "/login",
]


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
async def test_pages_fit_a_phone_and_keep_nobody_out(place: Place, scheme: str) -> None:
    await place.submit(2, "shown", delay=600)
    place.redis.client.xadd("memsched:{single}:dead", {"item_id": "one", "dead_reason": "errors", "dead_error": "no 1"})
    async with looking(place.browser, place.address, width=390, scheme=scheme) as looked:
        for path in PAGES:
            await looked.page.goto(path)
            assert not await looked.is_too_wide(), path
            assert await looked.findings() == [], path
        assert looked.complaints == []
