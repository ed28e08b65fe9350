"""API keys: who asks over HTTP, what they may do, and for whom.

A key is ``msk_<id>_<secret>``; the secret has 256 random bits. At rest there is its SHA-256 only: a slow hash protects
words that people choose, and nothing that no one can guess. A key that an ``app`` key minted is ``<app's id>.<more>``:
it ends with the key that made it, and an audit shows which backend a browser belongs to.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_int, as_text, as_texts, script
from memsched.durations import Seconds, seconds_of
from memsched.errors import InvalidArgument, NotAllowed, ServerUnreachable
from memsched.logs import get_logger
from memsched.memory.access.cubes import check_id

log = get_logger(__name__)

_CREATE = script("create_key", "memory/access")
_REVOKE = script("revoke_key", "memory/access")
_USE = script("use_key", "memory/access")
KEY_PREFIX = "msk_"
_TOKEN = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}}(?:\.[0-9a-f]{{16}})?)_([0-9a-f]{{64}})").fullmatch
_KNOWN_SECONDS = 4.0
"""For so long a process believes what it read of a key: a revoked one is refused within 5 s everywhere."""
_BELIEVED_SECONDS = 600.0
"""A key that was good so lately is good while the server cannot be asked: nobody can revoke one there either."""
_PATIENCE_SECONDS = 0.5
"""So long is the server waited for about such a key."""
_KNOWN_KEYS = 10_000
_USED_MS = 60_000
"""When a key was used last is written once a minute at most."""
_PAGE = 1000
MINTED_LONGEST = timedelta(hours=24)


class Role(StrEnum):
    """What a key is for.

    ``user``: one user's own. ``app``: a backend's, which acts for the users that match its pattern, and mints
    short-lived ``user`` keys for their browsers. ``viewer``: sees the state of the queue, no texts.
    ``metrics``: reads the numbers. ``admin``: all of it, for any user.
    """

    USER = "user"
    APP = "app"
    VIEWER = "viewer"
    METRICS = "metrics"
    ADMIN = "admin"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        raise InvalidArgument("role", value, f"it is one of {', '.join(cls)}")


Action = Literal["memory", "mint", "status", "metrics", "operate"]
_MAY: dict[Role, frozenset[Action]] = {
    Role.USER: frozenset({"memory"}),
    Role.APP: frozenset({"memory", "mint"}),
    Role.VIEWER: frozenset({"status", "metrics"}),
    Role.METRICS: frozenset({"metrics"}),
    Role.ADMIN: frozenset({"memory", "status", "metrics", "operate"}),
}
"""Who may do what. memory: read and write what is the acting user's. operate: pause, resume, redrive, purge, the users,
everybody's events, the audit."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: what a key stands for.

    Args:
        user_id: of a ``user`` key, whose it is; of another one, for whom it acts where a request names nobody.
        users: of an ``app`` key, the users for whom it acts: a pattern, ``acme-*``.
        reading_as: its roles in the access policy (MEMSCHED_ACCESS_POLICY), such as "doctor".
    """

    key_id: str
    role: Role
    user_id: str = ""
    users: str = ""
    reading_as: frozenset[str] = frozenset()
    expires_at: datetime | None = None

    def user(self, given: str | None = None) -> str:
        """For whom a request acts that names ``given``.

        Raises NotAllowed, in the same words whether or not there is such a user, and where one has to be named;
        InvalidId.
        """
        self.require_may("memory")
        if given is None:
            if not self.user_id:
                raise NotAllowed(f"Its role is {self.role}: say with user_id for whom it acts.")
            return self.user_id
        check_id("user_id", given)
        if self.role is Role.USER and given != self.user_id:
            raise NotAllowed("It acts for another user than user_id says.")
        if self.role is Role.APP and not fnmatchcase(given, self.users):
            raise NotAllowed("It acts for other users than user_id says.")
        return given

    def may(self, action: Action) -> bool:
        return action in _MAY[self.role]

    def require_may(self, action: Action) -> None:
        """Raises NotAllowed unless its role may do things of this kind."""
        if not self.may(action):
            allowed = ", ".join(role for role in Role if action in _MAY[role])
            raise NotAllowed(f"Its role is {self.role}; this needs one of: {allowed}.")

    def require(self, *roles: Role) -> None:
        """Raises NotAllowed unless it has one of these roles."""
        if self.role not in roles:
            raise NotAllowed(f"Its role is {self.role}; this needs one of: {', '.join(roles)}.")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown: all but its secret."""

    key_id: str
    role: Role
    user_id: str
    users: str
    reading_as: frozenset[str]
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None

    @property
    def minted_by(self) -> str:
        """The ``app`` key that made it; "" for one that an operator made."""
        app, dot, _ = self.key_id.partition(".")
        return app if dot else ""

    @property
    def principal(self) -> Principal:
        """Who asks with it."""
        return Principal(self.key_id, self.role, self.user_id, self.users, self.reading_as, self.expires_at)


class ApiKeys:
    """The keys of the service. All methods raise ServerUnreachable when the server does not answer in time.

    Args:
        now: the time, in seconds since the epoch; when a key expires.
        monotonic: seconds, for how long something is believed.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._keys = keys
        self._now = now
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, float, _Record | None]] = OrderedDict()
        """By id, until when what was read of it is believed, and when it was read; None: there is no such key."""

    async def create(
        self,
        role: Role,
        *,
        user_id: str | None = None,
        users: str | None = None,
        reading_as: Iterable[str] = (),
        name: str = "",
        ttl: Seconds | None = None,
    ) -> tuple[str, KeyInfo]:
        """Make a key. Returns its token, which nobody can ever show again, and what it is.

        Raises InvalidArgument and InvalidId.

        Args:
            user_id: of a ``user`` key, whose it is.
            users: of an ``app`` key, for whom it acts: a pattern as in file names, ``*`` for everybody.
            reading_as: its roles in the access policy.
            name: for people, such as where it is used.
            ttl: for how long it is good; None: until it is revoked.
        """
        role = Role(role)
        for what, given, its in (("user_id", user_id, Role.USER), ("users", users, Role.APP)):
            if role is its:
                check_id(what, given or "")
            elif given is not None:
                raise InvalidArgument(what, given, f"a key of the role {role} has none")
        return await self._create(secrets.token_hex(6), role, user_id or "", users or "", reading_as, name, ttl)

    async def mint(
        self,
        principal: Principal,
        user_id: str,
        ttl: Seconds = timedelta(hours=1),
        *,
        reading_as: Iterable[str] | None = None,
    ) -> tuple[str, KeyInfo]:
        """Make a short-lived key of a user's own, for whom an ``app`` key acts: for a browser, say.

        It ends with the key that made it. Raises NotAllowed, InvalidArgument and InvalidId.

        Args:
            ttl: for how long it is good, 24 hours at most.
            reading_as: some of the app key's own roles in the access policy; None: all of them.
        """
        principal.require_may("mint")
        user_id = principal.user(user_id)
        seconds = seconds_of("ttl", ttl)
        if not 0 < seconds <= MINTED_LONGEST.total_seconds():
            raise InvalidArgument("ttl", ttl, "a minted key is good for 24 hours at most")
        roles = principal.reading_as if reading_as is None else frozenset(reading_as)
        if not roles <= principal.reading_as:
            raise NotAllowed("It gives no roles of the access policy (reading_as) that it does not have itself.")
        if principal.expires_at is not None:
            seconds = min(seconds, principal.expires_at.timestamp() - self._now())
        key_id = f"{principal.key_id}.{secrets.token_hex(8)}"
        return await self._create(key_id, Role.USER, user_id, "", roles, "", seconds)

    async def revoke(self, key_id: str) -> bool:
        """End a key, and all that it minted; False if there is none. It is refused within 5 s everywhere."""
        keys = [self._keys.api_keys, self._keys.api_keys_due, self._keys.api_keys_used]
        found = await self._call(_REVOKE.command(keys, [key_id], as_int))
        self._known.clear()
        if found:
            log.info("an API key is revoked", action="key.revoked", key_id=key_id)
        return bool(found)

    async def list(self) -> list[KeyInfo]:
        """All keys that are good now, the oldest first."""
        used = {key_id: int(value) async for page in self._pages(self._keys.api_keys_used) for key_id, value in page}
        now_ms = self._now() * 1000
        found = [
            record.info(key_id, used.get(key_id))
            async for page in self._pages(self._keys.api_keys)
            for key_id, value in page
            if (record := _Record.of(value)).is_good(now_ms)
        ]
        names = {each.key_id for each in found}
        there = {each.key_id: each for each in found if not each.minted_by or each.minted_by in names}
        return sorted(there.values(), key=lambda each: (each.created_at, each.key_id))

    async def any(self) -> bool:
        """Whether a key was ever made that was not revoked since; an expired one counts until others are made."""
        return bool(await self._call(Command(("HLEN", self._keys.api_keys), as_int)))

    async def principal(self, token: str) -> Principal | None:
        """Who asks with this token; None for one that is not good (any more). Costs a round trip every 4 s."""
        shape = _TOKEN(token)
        if shape is None:
            return None
        key_id, secret = shape.groups()
        record = await self._record(key_id)
        if record is None or not hmac.compare_digest(record.digest, _digest(secret)):
            return None
        return record.info(key_id, None).principal if record.is_good(self._now() * 1000) else None

    async def known(self, key_id: str) -> Principal | None:
        """Whose key this is, without its secret: for who has shown that before. None for one that is good no more."""
        record = await self._record(key_id)
        if record is None or not record.is_good(self._now() * 1000):
            return None
        return record.info(key_id, None).principal

    # -- parts -----------------------------------------------------------------------------------------------------

    async def _create(
        self,
        key_id: str,
        role: Role,
        user_id: str,
        users: str,
        reading_as: Iterable[str],
        name: str,
        ttl: Seconds | None,
    ) -> tuple[str, KeyInfo]:
        seconds = None if ttl is None else seconds_of("ttl", ttl)
        if seconds == 0:
            raise InvalidArgument("ttl", ttl, "it would be good for no time at all")
        if name:
            check_id("name", name)
        roles = sorted({*reading_as})
        for each in roles:
            check_id("reading_as", each)
        created = int(self._now() * 1000)
        expires = 0 if seconds is None else created + int(seconds * 1000)
        secret = secrets.token_hex(32)
        record = _Record(_digest(secret), role, user_id, users, tuple(roles), name, created, expires)
        keys = [self._keys.api_keys, self._keys.api_keys_due, self._keys.api_keys_used]
        parent = key_id.partition(".")[0] if "." in key_id else ""
        made = await self._call(_CREATE.command(keys, [key_id, record.text, expires, created, parent], as_int))
        if not made:
            raise NotAllowed("It is no longer good.")
        self._known.pop(key_id, None)
        log.info("an API key is made", action="key.created", key_id=key_id, role=role, user_id=user_id or users)
        return f"msk_{key_id}_{secret}", record.info(key_id, None)

    async def _record(self, key_id: str) -> _Record | None:
        asked = self._monotonic()
        until, read, record = self._known.get(key_id, (0.0, 0.0, None))
        if asked < until:
            return record
        parent = key_id.partition(".")[0]
        keys = [self._keys.api_keys, self._keys.api_keys_used]
        use = _USE.command(keys, [key_id, parent, int(self._now() * 1000), _USED_MS], as_text)
        is_believed = record is not None and asked - read < _BELIEVED_SECONDS
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS if is_believed else None):
                found = await self._call(use)
        except (ServerUnreachable, TimeoutError):
            if not is_believed:
                raise
            log.warning(
                "the queue's server does not answer; an API key that was good lately is believed",
                action="key.believed",
                key_id=key_id,
            )
            asked = self._monotonic()
        else:
            read, record = asked, _Record.of(found) if found else None
        self._known[key_id] = (asked + _KNOWN_SECONDS, read, record)
        self._known.move_to_end(key_id)
        while len(self._known) > _KNOWN_KEYS:
            self._known.popitem(last=False)
        return record

    async def _pages(self, key: str) -> AsyncIterator[Sequence[tuple[str, str]]]:
        cursor: Any = b"0"
        while True:
            cursor, fields = await self._call(Command(("HSCAN", key, cursor, "COUNT", _PAGE), lambda reply: reply))
            flat = [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else fields
            texts = as_texts(flat)
            yield list(zip(texts[::2], texts[1::2], strict=True))
            if as_int(cursor) == 0:
                return

    async def _call(self, command: Command[Any]) -> Any:
        return answered((await self._server.persistently(lambda: self._server.run([command])))[0])


@dataclass(frozen=True, slots=True)
class _Record:
    """A key at rest."""

    digest: str
    role: Role
    user_id: str
    users: str
    reading_as: tuple[str, ...]
    name: str
    created_ms: int
    expires_ms: int
    """0: never."""

    @classmethod
    def of(cls, text: str) -> Self:
        known = json.loads(text)
        return cls(**{**known, "role": Role(known["role"]), "reading_as": tuple(known["reading_as"])})

    @property
    def text(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    def is_good(self, now_ms: float) -> bool:
        return not self.expires_ms or now_ms < self.expires_ms

    def info(self, key_id: str, used_ms: int | None) -> KeyInfo:
        return KeyInfo(
            key_id,
            self.role,
            self.user_id,
            self.users,
            frozenset(self.reading_as),
            self.name,
            _moment(self.created_ms),
            _moment(self.expires_ms) if self.expires_ms else None,
            None if used_ms is None else _moment(used_ms),
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
