"""Draw the dashboard's pages for the documentation: docs/dashboard-*.png, light and dark.

    python scripts/draw_dashboard.py

It tells the story of examples/house_to_renovation.py to a service of its own, on servers that it starts, and takes the
pictures with the Chromium that is on PATH.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import sys
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import house_to_renovation as story  # noqa: E402
import uvicorn  # noqa: E402
from playwright.async_api import async_playwright  # noqa: E402

from memsched.logs import configure_logs  # noqa: E402
from memsched.memory.access.api_keys import Role  # noqa: E402
from memsched.scheduler import AsyncMemScheduler  # noqa: E402
from memsched.service.app import create_app  # noqa: E402
from memsched.settings import Settings  # noqa: E402

PAGES: Mapping[str, tuple[str, int]] = {
    "cube": (f"/cubes/{story.USER}/{story.CUBE}", 1120),
    "queue": ("/", 840),
}
"""By name: the path, and how much of the page is shown, in pixels."""
WIDTH = 1320
MOST_BYTES = 200_000


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="memsched-drawing-", ignore_cleanup_errors=True) as folder:
        settings = Settings.load(redis_url=f"embedded://{folder}", working_set_size=8, log_level="error", rate_limit="")
        configure_logs(settings)
        app = create_app(settings, worker=True)
        async with serving(app) as address:
            service = app.state.service
            await busy(service.scheduler)
            token, _ = await service.api_keys.create(Role.ADMIN)
            await draw(address, token)
    for file in sorted((ROOT / "docs").glob("dashboard-*.png")):
        file.write_bytes(smaller(file.read_bytes()))
        print(said_of(file))


@asynccontextmanager
async def serving(app: Any) -> Any:
    """The address of an application, until the end."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


async def busy(scheduler: AsyncMemScheduler) -> None:
    """Tell the story, and have some more in the queue."""
    messages = [story.message(day, label, text, minute) for minute, (day, label, text) in enumerate(story.ENGLISH)]
    for each in messages:
        await scheduler.submit_messages(each)
        await scheduler.wait(user_id=story.USER, timeout=60)
    later = [story.message(40, "add", f"Page {number} of the builders' list.", number) for number in range(24)]
    await scheduler.submit_messages(later, delay=3600)
    unknown = [story.message(40, "mail", f"Letter {number}.", number) for number in range(3)]
    await scheduler.submit_messages(unknown)


async def draw(address: str, token: str) -> None:
    """Take the pictures."""
    async with async_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            context = await browser.new_context(
                viewport={"width": WIDTH, "height": 900}, color_scheme=scheme, base_url=address
            )
            page = await context.new_page()
            await page.goto("/login")
            await page.fill("[name=token]", token)
            await page.click("main [type=submit]")
            for name, (path, height) in PAGES.items():
                await page.goto(path)
                await page.wait_for_timeout(2_500)  # a frame of its stream
                file = ROOT / "docs" / f"dashboard-{name}-{scheme}.png"
                clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
                await page.screenshot(path=file, full_page=True, clip=clip)
        await browser.close()


def smaller(png: bytes) -> bytes:
    """The same picture (RGB, 8 bits) without the rows' filters: a page repeats itself, and a quarter is saved."""
    width, height = struct.unpack(">II", png[16:24])
    rows = zlib.decompress(b"".join(content for name, content in _chunks(png) if name == b"IDAT"))
    size, before, plain = 3 * width, bytes(3 * width), bytearray()
    for at in range(0, height * (size + 1), size + 1):
        before = _unfiltered(rows[at], bytearray(rows[at + 1 : at + 1 + size]), before)
        plain += b"\0" + before
    kept = [each for each in _chunks(png) if each[0] == b"IHDR"]
    parts = [*kept, (b"IDAT", zlib.compress(bytes(plain), 9)), (b"IEND", b"")]
    made = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return png[:8] + b"".join(made)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _unfiltered(kind: int, row: bytearray, above: bytes) -> bytes:
    """A row's bytes, as the PNG specification has it (filter types 0 to 4)."""
    if kind in (0, 2):
        return bytes(row) if kind == 0 else bytes((one + up) & 255 for one, up in zip(row, above, strict=True))
    for at in range(len(row)):
        left, up, corner = (row[at - 3], above[at], above[at - 3]) if at >= 3 else (0, above[at], 0)
        if kind == 4:
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            near = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
        else:
            near = left if kind == 1 else (left + up) // 2
        row[at] = (row[at] + near) & 255
    return bytes(row)


def said_of(file: Path) -> str:
    """How large a picture is, and whether that is too large."""
    size = file.stat().st_size
    too_large = f", more than {MOST_BYTES:,}: show less of the page" if size > MOST_BYTES else ""
    return f"{file.relative_to(ROOT)}: {size:,} bytes{too_large}"


if __name__ == "__main__":
    asyncio.run(main())
