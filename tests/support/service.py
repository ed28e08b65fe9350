"""The service in the tests' own process, asked without a socket; and as a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from starlette.types import Message

from memsched import Settings
from memsched.memory.access.api_keys import Role
from memsched.service.app import create_app
from memsched.service.state import Service


@dataclass
class Serving:
    """A service and its clients; ``client`` has no key and comes from this machine."""

    app: FastAPI
    service: Service
    client: httpx.AsyncClient

    def asking(self, token: str = "", *, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """Another client."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 5))
        given = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=given)

    async def first_event(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        """What a stream says first: its client leaves then."""
        leaves, status, body = asyncio.Event(), 0, b""

        async def receive() -> Message:
            if not leaves.is_set():
                await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")
            if body and not leaves.is_set():
                leaves.set()

        request = client.build_request("GET", path)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": request.url.path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 5),
            "root_path": "",
        }
        async with asyncio.timeout(10):
            await self.app(scope, receive, send)
        return httpx.Response(status, content=body)

    async def key(self, role: Role, **given: Any) -> httpx.AsyncClient:
        """A client with a new key."""
        token, _ = await self.service.api_keys.create(role, **given)
        return self.asking(token)


@asynccontextmanager
async def serving(redis_url: str, vector_folder: str, *, worker: bool = True, **given: Any) -> AsyncIterator[Serving]:
    """A service with memory, on servers that it shares with other tests, and with nothing of theirs."""
    name = f"s{uuid4().hex[:12]}"
    place: dict[str, Any] = {
        "redis_url": redis_url,
        "qdrant_url": f"embedded://{vector_folder}",
        "prefix": name,
        "collection": name,
        "block_ms": 100,
        "retry_base_ms": 10,
        "rate_limit": "",
    }
    app = create_app(Settings.load(**{**place, **given}), worker=worker)
    async with app.router.lifespan_context(app):
        found = Serving(app, app.state.service, httpx.AsyncClient())
        async with found.asking() as found.client:
            yield found
