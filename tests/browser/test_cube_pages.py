"""The pages of a cube in a browser: what somebody sees while the talk goes from buying a house to renovating it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from support.browser import Looking, chromium, looking, on_a_socket
from support.service import Serving, serving
from support.stories import HOUSE, RENOVATION, Told

from memsched import ScheduleMessageItem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
MONDAY = datetime(2026, 3, 2, 19, tzinfo=UTC)
HOME = "/cubes/mara/home"
LIVE = 60_000
"""ms within which a page that nobody touches shows what has happened."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder, working_set_size=6) as found:
        await tell(found, HOUSE["en"])
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(service: Serving) -> AsyncIterator[str]:
    async with on_a_socket(service.app) as found:
        yield found


async def tell(service: Serving, told: Told) -> None:
    """Say it on its days, and wait until all of it is remembered."""
    messages = [
        ScheduleMessageItem(
            user_id="mara",
            mem_cube_id="home",
            label="add",
            content=text,
            timestamp=MONDAY + timedelta(days=day, minutes=minute),
            session_id=f"day {day}",
        )
        for minute, (day, text) in enumerate(told)
    ]
    await service.service.scheduler.submit_messages(messages)
    await service.service.scheduler.wait(user_id="mara", timeout=60)


async def heats(seen: Looking, state: str) -> list[float]:
    """How hot the theme was that is in this state, as the chart shows it; read at once, for a frame may come."""
    look = "(state) => [document.querySelector(`[data-theme-row=${state}] th`).innerText, chart()]"
    chart = "const chart = () => document.getElementById('themes-chart').dataset.chart"
    label, drawn = await seen.page.evaluate(f"(state) => {{ {chart}; return ({look})(state) }}", state)
    return next(each["values"] for each in json.loads(drawn)["series"] if each["label"] == label.strip())


async def test_the_house_sinks_and_the_renovation_rises_before_ones_eyes(
    service: Serving, browser: Any, address: str
) -> None:
    async with looking(browser, address) as seen:
        page = seen.page
        await page.goto(HOME)
        block = page.locator("[data-tier=block]")
        await block.get_by_text("mortgage").wait_for()
        await page.locator("#themes-chart canvas").wait_for()
        assert "house" in await page.locator("[data-theme-row=activated]").inner_text()

        await tell(service, RENOVATION["en"])  # the page is not loaded again

        await page.locator("[data-theme-row=plaintext]", has_text="another theme took its place").wait_for(timeout=LIVE)
        await block.get_by_text("kitchen furniture").wait_for(timeout=LIVE)  # what was told last
        await block.get_by_text("mortgage").wait_for(state="detached", timeout=LIVE)
        house, renovation = await heats(seen, "plaintext"), await heats(seen, "activated")
        assert house[-1] < max(house) / 2, "it has sunk"
        assert renovation[-1] == max(renovation) > house[-1], "it has risen"

        await page.locator("[data-tier=warm]").get_by_text("mortgage").click()
        way = page.locator("ol.moves")
        await way.get_by_text("the block was written anew").wait_for()
        assert await way.locator(".badge.info", has_text="block").count() == 1, "its way into the block, and back"
        assert seen.complaints == []


async def test_what_is_clicked_is_done_and_seen(service: Serving, browser: Any, address: str) -> None:
    async with looking(browser, address) as seen:
        page = seen.page
        await page.goto(HOME)
        soup = page.locator("[data-memory]", has_text="Soup for lunch").first  # it may stand in two tiers
        await soup.get_by_role("button", name="Pin").focus()
        await page.keyboard.press("Enter")
        await (
            page.locator("[data-tier=working] [data-memory]", has_text="Soup").locator(".badge").wait_for(timeout=LIVE)
        )
        assert await page.inner_text("[data-count=pinned]") == "1"
        assert page.url == address + HOME

        await page.locator("[data-tier=working]").get_by_text("Soup for lunch").click()
        await page.get_by_role("button", name="Unpin").click()
        await page.get_by_role("button", name="Archive").click()
        await page.locator(".tags", has_text="archive").wait_for()
        await page.get_by_role("button", name="Delete", exact=True).click()
        assert await page.get_by_text("It goes for good").is_visible()
        await page.get_by_role("button", name="Delete it for good").click()
        await page.wait_for_url(address + HOME)
        assert await page.locator("[data-memory]", has_text="Soup").count() == 0
        assert seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
async def test_pages_fit_a_phone_and_everybody_can_use_them(
    service: Serving, browser: Any, address: str, scheme: str
) -> None:
    async with looking(browser, address, width=390, scheme=scheme) as seen:
        page = seen.page
        for path in ("/cubes?user_id=mara", f"{HOME}?q=Which+mortgage+did+the+bank+offer%3F"):
            await page.goto(path)
            assert not await seen.is_too_wide()
            assert seen.complaints == []
            assert await seen.findings() == []
        await page.locator("[data-found]", has_text="mortgage").first.wait_for()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        before = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        await page.get_by_role("button", name="Light or dark").click()
        assert await page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != before
        await page.reload()
        assert await page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != before, "it is kept"
