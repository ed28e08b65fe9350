"""The dashboard, for as long as the demo runs: the service in the demo's own process, on a port that is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from memsched.scheduler import AsyncMemScheduler


@asynccontextmanager
async def dashboard(scheduler: AsyncMemScheduler, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Serve it during the block, and say where. Without the extra it goes without.

    Args:
        scheduler: what is looked at.
    """
    try:
        from memsched.service.process import HttpServer, listening  # with the extra only
    except ImportError:
        yield
        return
    with listening(scheduler.settings.listen) as listener:
        http = HttpServer(scheduler.settings, scheduler, listener)
        await http.open()
        serving = asyncio.create_task(http.run(), name="memsched-demo-dashboard")
        say(f"look at it: {http.url}/ (as long as this runs)")
        try:
            yield
        finally:
            http.stop()
            await serving
