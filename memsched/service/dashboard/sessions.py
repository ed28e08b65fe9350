"""Sessions of browsers: who logged in with a key. The cookie says a random value, of which Redis has a hash.

A session is good as long as the key that it was begun with, and twelve hours at most. Its cookie opens pages only: the
routes under ``/v1`` know keys in headers, which no page of another origin can send.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text
from memsched.errors import ServerUnreachable
from memsched.logs import get_logger
from memsched.memory.access.api_keys import ApiKeys, Principal, Role

log = get_logger(__name__)

COOKIE = "memsched_session"
LONGEST_SECONDS = 12 * 3600
_CODE_SECONDS = 300.0
_KNOWN_SECONDS = 4.0
"""For so long a process believes what it read of a session: one that was ended elsewhere is refused within 5 s."""
_MOST_KNOWN = 10_000
_PATIENCE_SECONDS = 0.5
"""So long is the server waited for about a session that was good lately."""
_PAGES = frozenset({"", "login", "logout", "queue", "messages", "dead-letters", "workers", "cubes", "ui"})
"""The first parts of the paths of pages."""


def is_page(path: str) -> bool:
    """Whether a path is one of the dashboard's, where a session counts."""
    return path.split("/", 2)[1:2] != [] and path.split("/", 2)[1] in _PAGES


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that begins: what its cookie says, and for how many seconds."""

    cookie: str
    seconds: int


class Sessions:
    """The sessions of all processes of a service.

    Args:
        now: the time, in seconds since the epoch; when a key expires.
        monotonic: seconds, for how long something is believed.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        api_keys: ApiKeys,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._keys = keys
        self._api_keys = api_keys
        self._now = now
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()
        """Until when it is believed, and with which key it was begun ("": it is none), by the hash of the cookie."""

    async def begin(self, principal: Principal) -> Begun:
        """Begin a session for somebody who has shown their key."""
        seconds = float(LONGEST_SECONDS)
        if principal.expires_at is not None:
            seconds = min(seconds, principal.expires_at.timestamp() - self._now())
        cookie, whole = secrets.token_urlsafe(32), max(1, ceil(seconds))
        await self._call("SET", self._keys.session(_hash(cookie)), principal.key_id, "EX", whole)
        log.info("a session begins", action="session.begun", key_id=principal.key_id, seconds=whole)
        return Begun(cookie, whole)

    async def principal(self, cookie: str) -> Principal | None:
        """Who asks with this cookie; None for a session that is over, or whose key is good no more."""
        key_id = await self._key_of(_hash(cookie))
        return await self._api_keys.known(key_id) if key_id else None

    async def end(self, cookie: str) -> None:
        """End a session, in every process within 5 s."""
        name = _hash(cookie)
        self._known.pop(name, None)
        await self._call("DEL", self._keys.session(name))

    async def _key_of(self, name: str) -> str:
        asked = self._monotonic()
        until, key_id = self._known.get(name, (0.0, ""))
        if asked < until:
            return key_id
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS if key_id else None):
                key_id = as_text(await self._call("GET", self._keys.session(name)) or b"")
        except (ServerUnreachable, TimeoutError):
            if not key_id:
                raise
            asked = self._monotonic()  # of a key that was good lately the same is believed
        self._known[name] = (asked + _KNOWN_SECONDS, key_id)
        self._known.move_to_end(name)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return key_id

    async def _call(self, *args: Any) -> Any:
        command = Command(args, lambda reply: reply)
        return await self._server.persistently(lambda: self._server.call(command))


class LoginCodes:
    """One-time codes that log somebody in who started this process: known here only, for five minutes, used once.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._codes: dict[str, tuple[float, str]] = {}

    def make(self, key_id: str) -> str:
        """A code by which a browser gets a session of this key: ``GET /login?once=CODE``."""
        code = secrets.token_urlsafe(32)
        self._codes[_hash(code)] = (self._monotonic() + _CODE_SECONDS, key_id)
        return code

    def use(self, code: str) -> str | None:
        """The id of the key that a code stands for, this one time; None for one that is no code (any more)."""
        until, key_id = self._codes.pop(_hash(code), (float("-inf"), ""))
        return key_id if self._monotonic() < until else None


def cookie_in(scope: Scope) -> str:
    """What the cookie of a request says; "" for none.

    Read as browsers write them: other programs on this host may have cookies that no standard knows.
    """
    return cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")


def may_log_in(principal: Principal) -> bool:
    """Whether there is a page for this key: a key for numbers only has none."""
    return principal.role is not Role.METRICS


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
