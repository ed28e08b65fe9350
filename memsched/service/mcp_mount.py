"""``/mcp``: what speaks the Model Context Protocol is imported and started by the first request to it."""

from __future__ import annotations

import asyncio
from contextvars import Context
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from memsched.service.problems import Problem

if TYPE_CHECKING:
    from memsched.service.state import Service


class McpMount:
    """The MCP server of a service."""

    def __init__(self, here: Service) -> None:
        self._here = here
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._app: ASGIApp | None = None

    async def app(self) -> ASGIApp:
        """What answers. Raises Problem where the extra is not installed."""
        async with self._starting:
            if self._app is None:
                self._app = await self._start()
        return self._app

    async def _start(self) -> ASGIApp:
        try:  # a second or more of imports: not in the loop
            server = await asyncio.to_thread(import_module, "memsched.integrations.mcp_server")
        except ImportError as error:
            missing = error.name or str(error)
            raise Problem(501, f"/mcp needs {missing}: pip install 'memsched[mcp]'.", kind="CannotStart") from None
        manager: Any = server.http_manager(self._here)
        is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def run() -> None:  # its task group wants to be left by the task that entered it
            async with manager.run():
                is_open.set_result(None)
                await asyncio.get_running_loop().create_future()

        self._running = asyncio.create_task(run(), name="memsched-mcp", context=Context())
        await is_open
        app: ASGIApp = manager.handle_request
        return app

    async def aclose(self) -> None:
        """End what is being answered."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
