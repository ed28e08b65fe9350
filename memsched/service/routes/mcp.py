"""The Model Context Protocol: memory's tools for agents (docs/integrations.md)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from memsched.service.state import Here

router = APIRouter(tags=["mcp"])


class _AnsweredBy(Response):
    """The answer of another ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@router.post("/mcp", include_in_schema=False)
async def mcp(here: Here) -> Response:
    """Streamable HTTP without sessions: one JSON-RPC message a request, answered as JSON."""
    return _AnsweredBy(await here.mcp.app())
