"""The application: what every request passes before its route, and the routes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memsched.logs import get_logger
from memsched.memory.access.audit import AuditEntry
from memsched.memory.access.trail import Trail, trail
from memsched.scheduler import AsyncMemScheduler
from memsched.service.callers import OPEN_PATHS, Gate, principal_in
from memsched.service.connections import HEAD_BYTES
from memsched.service.dashboard.pages import answer_problem
from memsched.service.openapi import document
from memsched.service.problems import Problem, add_problem_handlers, answer_of, too_large
from memsched.service.routes import ROUTERS, methods_at
from memsched.service.state import Service
from memsched.settings import Settings, listen_address
from memsched.version import __version__

log = get_logger(__name__)

REQUEST_ID = "X-Request-Id"
BODY_SECONDS = 60.0
"""So long may the body of a request take."""
_DESCRIPTION = """Memory for AI agents: `POST /v1/prompt` before the model, `POST /v1/memories` after it.

Send a key as `Authorization: Bearer msk_...`. Errors are `application/problem+json` (RFC 9457)."""


def create_app(settings: Settings, scheduler: AsyncMemScheduler | None = None, *, worker: bool = False) -> FastAPI:
    """The service as an ASGI application. Its lifespan connects, and raises ServerUnreachable.

    Args:
        scheduler: None: one of its own.
        worker: run the handlers in this process too.
    """
    service = Service(settings, scheduler, worker=worker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.open()
            yield
        finally:
            await service.aclose()

    app = FastAPI(
        title="memsched",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        docs_url=None,  # their pages take programs from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.methods_at = methods_at
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = cache(partial(document, app, OPEN_PATHS))  # type: ignore[method-assign]
    add_problem_handlers(app, answer_problem)
    app.add_middleware(Gate)  # the last one added is the first one passed
    app.add_middleware(Door, settings=settings)
    app.add_middleware(Requests)
    return app


def _operation_id(route: APIRoute) -> str:
    """What clients that are made from the OpenAPI document call a route: its function's name."""
    return route.name


class Requests:
    """Middleware: gives each request an id, writes one line about it, and answers what nobody else has answered.

    The line has the route's path with its parameters' names: ids and questions stand in the path and behind the
    question mark.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid4().hex

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])  # of others it is an HTTPStatus
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            with trail() as touched:
                await self._app(scope, receive, answer)
        except Exception as error:
            if status:
                raise
            await answer_of(Request(scope), error)(scope, receive, answer)
        finally:
            _audit(scope, touched, status)
            principal, seconds = principal_in(scope), time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "")
            service: Service = scope["app"].state.service
            service.numbers.observe_http(route, scope["method"], status, seconds)
            log.info(
                "a request",
                action="http.request",
                method=scope["method"],
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                request_id=request_id,
                key_id=principal.key_id if principal else "",
            )


def _audit(scope: Scope, touched: Trail, status: int) -> None:
    """Note who read and changed what, or might not. A look at the queue is no entry, nor what has no good key."""
    principal, audit = principal_in(scope), scope["app"].state.service.audit
    route = getattr(scope.get("route"), "path", "")
    reads = scope["method"] in ("GET", "HEAD", "OPTIONS") or route == "/mcp"  # whose tools note what they do
    if principal is None or audit is None or (reads and not touched.user_id and status != 403):
        return
    named = [str(value) for name, value in scope.get("path_params", {}).items() if name.endswith("_id")]
    audit.record(
        AuditEntry(
            f"{scope['method']} {route}",
            principal.key_id,
            touched.user_id,
            ", ".join(touched.cubes),
            tuple(dict.fromkeys([*named, *touched.ids])),
            "ok" if status and status < 400 else str(status or "broken off"),
        )
    )


class Door:
    """Middleware that refuses what is asked under a name that is not the service's (DNS rebinding), what a page of
    another origin asks, and a body that is too large.

    A number is nobody's name: a page whose address it is comes from there. Probes ask under any name.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.max_body_bytes
        given = {name.strip().lower() for name in settings.allowed_hosts.split(",")}
        self._names = {"localhost", listen_address(settings.listen)[0].lower(), *given} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if sum(len(name) + len(value) for name, value in headers.raw) > HEAD_BYTES:
                raise Problem(
                    431, f"Headers have at most {HEAD_BYTES} bytes together.", headers={"Connection": "close"}
                )
            host = headers.get("host", "")
            if not self._knows(host) and scope["path"] not in ("/healthz", "/readyz"):
                raise Problem(421, "It is not served under this name; MEMSCHED_ALLOWED_HOSTS lists those that are.")
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                raise Problem(403, "Pages of other origins are not served (CORS).", kind="NotAllowed")
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length[:20]) > self._limit:
                raise too_large(self._limit)
            receive = self._limited(receive)
        await self._app(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """Of a body that does not say how long it is, no more is read than it may have; and none is waited for long."""
        read, is_whole, until = 0, False, asyncio.get_running_loop().time() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal read, is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else until):
                    message = await receive()
            except TimeoutError:
                detail = f"The body did not come in {BODY_SECONDS:g} s."
                raise HTTPException(408, detail, headers={"Connection": "close"}) from None
            is_whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self._limit:
                raise HTTPException(413)
            return message

        return limited

    def _knows(self, host: str) -> bool:
        name = re.sub(r":\d*$", "", host).strip("[]").lower()
        if "*" in self._names or name in self._names:
            return True
        try:
            return bool(ip_address(name))
        except ValueError:
            return False
