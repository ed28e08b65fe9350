"""Ids and texts of strangers are shown as they are, on every page that they lead to: none of them runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import pytest_asyncio
from support.browser import chromium, looking, on_a_socket
from support.service import Serving, serving

from memsched import ScheduleMessageItem

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
PIECES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "javascript:alert(1)",
    "${alert(1)} {{7*7}} {% raise %}",
    "</script><script>alert(1)</script>",
    "data: x\n\nevent: swap\ndata: <script>alert(1)</script>",
    "\u202egnp.exe \u200b\u2066",
    '<div hx-get="/logout" hx-trigger="load">',
)
MARK = "alert(1)"
USER, CUBE = '"><img src=x onerror=alert(1)>', "'><script>alert(1)</script>"
HREFS = "all => all.map(each => each.getAttribute('href'))"
MOST_PAGES = 60
MADE = "body script:not([src]), img[onerror], svg[onload], body [hx-get='/logout']"
"""What these would be, if a page took them for its own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder) as found:
        scheduler = found.service.scheduler
        messages = [
            ScheduleMessageItem(
                user_id=USER,
                mem_cube_id=CUBE,
                label="add",
                content=f"I live in {piece} since {number} years.",
                item_id=f"{number} {piece.splitlines()[0]}",
                session_id=piece.splitlines()[0],
                task_id=piece.splitlines()[0],
                info={"tags": [piece], "metadata": {"key": piece}},
            )
            for number, piece in enumerate(PIECES)
        ]
        await scheduler.submit_messages(messages)
        await scheduler.wait(user_id=USER, timeout=60)
        await scheduler.submit_messages(
            ScheduleMessageItem(user_id=USER, mem_cube_id=CUBE, label="query", content=f"Where do I live, {piece}?")
            for piece in PIECES
        )
        await scheduler.wait(user_id=USER, timeout=60)
        await scheduler.submit_messages(
            [ScheduleMessageItem(user_id=USER, mem_cube_id=CUBE, label="<b>odd", content="\n".join(PIECES))]
        )
        yield found


async def test_nothing_of_it_runs(service: Serving) -> None:
    async with chromium() as browser, on_a_socket(service.app) as address, looking(browser, address) as looked:
        page = looked.page
        dialogs: list[str] = []
        marked: set[str] = set()
        seen: set[str] = set()
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        left = ["/cubes", "/", "/messages"]
        while left and len(seen) < MOST_PAGES:
            path = left.pop(0)
            if path in seen or (path.startswith("/queue/") and "odd" not in path):
                continue
            seen.add(path)
            answer = await page.goto(path)
            assert answer.status == 200, path
            if MARK in await page.content():
                marked.add(path)
            assert await page.locator(MADE).count() == 0, path
            for href in await page.eval_on_selector_all("a[href]", HREFS):
                where = urlsplit(urljoin(path, href))
                assert where.scheme in ("", "http", "https"), (path, href)
                if not where.netloc and where.path != "/logout":
                    left.append(where.path + (f"?{where.query}" if where.query else ""))
        assert len(marked) > 10
        assert dialogs == looked.complaints == []
