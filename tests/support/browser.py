"""A browser for the tests of pages: Chromium, and everything that it complains about."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI


@dataclass
class Looking:
    """A page, and what the browser complained about on it: errors, and what the content security policy forbade."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    async def findings(self) -> list[str]:
        """What axe-core finds on the page that is serious or worse."""
        from axe_playwright_python.async_playwright import Axe

        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{each['id']}: {[node['html'][:150] for node in each['nodes'][:3]]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    async def is_too_wide(self) -> bool:
        """Whether one has to scroll sideways."""
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """The browser; skips where there is none."""
    api = pytest.importorskip("playwright.async_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on PATH (apt-get install chromium)")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()


@asynccontextmanager
async def looking(browser: Any, address: str, *, width: int = 1280, scheme: str = "light") -> AsyncIterator[Looking]:
    """A page of its own: no cookies, nothing stored.

    Args:
        address: of the service: ``http://127.0.0.1:1234``.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=address, reduced_motion="reduce"
    )
    context.set_default_timeout(60_000)
    found = Looking(await context.new_page())
    found.page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    found.page.on("console", lambda said: said.type == "error" and found.complaints.append(said.text))
    await found.page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI))"
    )
    yield found
    await context.close()


@asynccontextmanager
async def on_a_socket(app: FastAPI) -> AsyncIterator[str]:
    """The address of an application whose lifespan somebody else has begun."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server._serve([listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        await running
