"""Who asks: the API key of a request, and the gate that nobody passes without one.

Without any key, this machine is served: whoever reaches a loopback address here may read the files anyway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Query, Request
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memsched.errors import ServerUnreachable
from memsched.memory.access.api_keys import KEY_PREFIX, Principal, Role
from memsched.memory.access.reading_as import reading_as
from memsched.mos.options import MosOptions
from memsched.service.bodies import UserId
from memsched.service.dashboard.sessions import cookie_in, is_page
from memsched.service.dashboard.static_files import STATIC_PATH
from memsched.service.problems import Problem
from memsched.service.state import Service

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""For probes and for tools: they say nothing about anybody."""
_PASSED_ON = frozenset({b"forwarded", b"via", b"x-real-ip"})
_PRINCIPAL = "memsched_principal"
_LOOK_AGAIN_SECONDS = 5.0
"""So often is asked whether the key of a stream is still good."""
DEFAULT_USER: str = MosOptions.model_fields["user_id"].default
"""Who is meant without keys where nobody is named: somebody alone at their machine need not say who they are."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NOTHING = re.compile(r"^ff|-0{32}-|-0{16}-")
"""What no trace has: the version ff, and ids of zeros."""


class Gate:
    """Middleware that lets a request through only with a valid key, and only so many of each; before its body is read.

    The principal stands in the request's scope from then on; what is read is read in its roles of the access policy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope["path"]):
            service: Service = scope["app"].state.service
            try:
                principal = await _principal(scope, service)
            except Problem as problem:
                if problem.status != 401 or not _shows_a_page(scope):
                    raise
                path = scope.get("raw_path") or scope["path"].encode()
                to = quote(b"?".join(filter(None, (path, scope["query_string"]))), safe="")
                await RedirectResponse(f"/login?to={to}", 303)(scope, receive, send)
                return
            scope[_PRINCIPAL] = principal
            if principal.key_id and (seconds := await service.rate_limit.seconds_to_wait(principal.key_id)):
                raise Problem(
                    429,
                    f"This key may ask {service.settings.rate_limit} (MEMSCHED_RATE_LIMIT); try again in {seconds} s.",
                    kind="RateLimited",
                    headers={"Retry-After": str(seconds)},
                )
            with reading_as(principal.reading_as):
                if principal.key_id:
                    await _while_good(partial(_principal, scope, service), self._app, scope, receive, send)
                else:
                    await self._app(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path == "/login" or path.startswith(STATIC_PATH)


def _shows_a_page(scope: Scope) -> bool:
    """Whether a browser asks for a page to show: it can be led to the one to log in."""
    return scope["method"] == "GET" and is_page(scope["path"]) and not scope["path"].startswith("/ui/")


async def _while_good(
    ask: Callable[[], Awaitable[Principal]], app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer, and end what is streamed or waited for as if its client had left when the key is good no more.

    What has not begun to answer then is answered with what became of the key.
    """
    is_read = has_begun = has_ended = False
    over: Problem | None = None

    async def heard() -> Message:
        nonlocal is_read, over
        if not is_read:
            message = await receive()
            is_read = message["type"] != "http.request" or not message.get("more_body", False)
            return message
        hearing = asyncio.ensure_future(receive())  # streams wait here for their client to leave
        try:
            while not (await asyncio.wait({hearing}, timeout=_LOOK_AGAIN_SECONDS))[0]:
                with suppress(ServerUnreachable):
                    await ask()
            return hearing.result()
        except Problem as problem:
            over = problem
            return {"type": "http.disconnect"}
        finally:
            hearing.cancel()

    async def answer(message: Message) -> None:
        nonlocal has_begun, has_ended
        if over is not None and not has_begun:
            return
        has_begun = True
        has_ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    await app(scope, heard, answer)
    if over is not None and not has_begun:
        raise over
    if over is not None and not has_ended:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _principal(scope: Scope, service: Service) -> Principal:
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    token = token.strip()
    cookie = "" if kind or not is_page(scope["path"]) else cookie_in(scope)
    if cookie and (known := await service.sessions.principal(cookie)) is not None:
        return known
    if kind.lower() == "bearer" and token.startswith(KEY_PREFIX):
        if (known := await service.api_keys.principal(token)) is not None:
            return known
    elif not (why := await _why_a_key(scope, service)):
        # Clients of model servers always send a key, of another server's: where nobody needs ours, it is none.
        return _anybody()
    elif not kind:
        raise _unauthorized(why)
    raise _unauthorized("The API key is not valid (any more).", 'error="invalid_token"')


async def _why_a_key(scope: Scope, service: Service) -> str:
    """Why whoever asks needs a key; "" if they need none."""
    if service.settings.access == "open":
        return ""
    if await service.any_key():
        return "Send an API key: Authorization: Bearer msk_..."
    if not is_loopback((scope.get("client") or ("",))[0]):
        return "There is no API key yet, so only its own machine is served: memsched keys create."
    if _is_passed_on(scope):
        return "There is no API key yet, so nothing is served that a proxy passes on: memsched keys create."
    return ""


def _is_passed_on(scope: Scope) -> bool:
    """Whether a proxy on this machine passes on what somebody elsewhere asks: by its headers, or by HTTP/1.0, which is
    nginx's way if nobody tells it another.
    """
    said = any(name.startswith(b"x-forwarded-") or name in _PASSED_ON for name, _ in scope["headers"])
    return said or scope.get("http_version") == "1.0"


def _anybody() -> Principal:
    """Whoever may do everything, for any user: there is no key that says less."""
    return Principal("", Role.ADMIN, DEFAULT_USER)


@lru_cache(maxsize=1_024)
def is_loopback(host: str) -> bool:
    """Whether an address or a name can be reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthorized(detail: str, more: str = "") -> Problem:
    challenge = ", ".join(filter(None, ('Bearer realm="memsched"', more)))
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


def principal_in(scope: Scope) -> Principal | None:
    """Who asks; None where the gate has let nobody in."""
    return scope.get(_PRINCIPAL)


def principal_of(request: Request) -> Principal:
    """Who asks."""
    principal: Principal = request.scope[_PRINCIPAL]
    return principal


async def _caller(request: Request) -> Principal:  # async, as all here: what is not runs in a thread
    return principal_of(request)


Caller = Annotated[Principal, Depends(_caller)]


async def _user_of_query(caller: Caller, user_id: Annotated[UserId | None, Query()] = None) -> str:
    return caller.user(user_id)


async def _operator(caller: Caller) -> Principal:
    caller.require_may("operate")
    return caller


QueryUser = Annotated[str, Depends(_user_of_query)]
"""For whom a request acts that has no body: ``user_id`` behind the question mark, or the key's own user."""
Operator = Annotated[Principal, Depends(_operator)]
"""Who asks, and may operate the queue. A stream has begun its answer before its function runs: so it is asked here."""


async def traceparent_of(request: Request) -> str | None:
    """The W3C traceparent of the request, for the messages that it submits; None for what is none."""
    given = request.headers.get("traceparent", "").strip()
    return given if _TRACEPARENT.fullmatch(given) and not _NOTHING.search(given) else None


Traceparent = Annotated[str | None, Depends(traceparent_of)]
