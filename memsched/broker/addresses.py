"""Addresses of Redis, as in MEMSCHED_REDIS_URL: taken apart, and every part of them honoured or refused by name.

One server, Sentinel, Cluster, a unix socket, ``memory://``, ``embedded://``. No error says what stands where a password
may be.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from memsched.config_file import suggestion
from memsched.settings import Settings

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_LONGEST_SOCKET_PATH = 107
"""Bytes; what the kernel has room for (Linux; macOS: 103)."""
_LEAST_START_SECONDS = 5.0
_embedded_uses: Counter[str] = Counter()
"""How many connections of this process use each embedded server: it is released with the last one."""
os.register_at_fork(after_in_child=_embedded_uses.clear)


class Form(StrEnum):
    """What kind of deployment an address names."""

    SERVER = "one server"
    SOCKET = "a unix socket"
    SENTINEL = "Sentinel"
    CLUSTER = "a Cluster"
    MEMORY = "memory://"


@dataclass(frozen=True)
class Address:
    """An address that was understood. Not shown: the login."""

    form: Form
    tls: bool = False
    hosts: list[tuple[str, int]] = field(default_factory=list)
    """Of the server, the Sentinels, or some nodes of the Cluster."""
    path: str = ""
    """Of the unix socket."""
    name: str = ""
    """Of the service that the Sentinels watch; of the server in memory."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """By the names of redis-py; the login is among them."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ValueError, with what is wrong, for an address that cannot be understood or honoured."""
        if url.startswith("memory://"):
            return cls(Form.MEMORY, name=url.removeprefix("memory://"))
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("the host cannot be understood; an IPv6 address stands in [brackets]") from None
        _check_escapes(parts)
        if parts.scheme == "unix":
            return cls(Form.SOCKET, path=_socket_path(parts), options=_options(parts, Form.SOCKET))
        form = {"sentinel": Form.SENTINEL, "cluster": Form.CLUSTER}.get(parts.scheme.partition("+")[2], Form.SERVER)
        hosts = _hosts(parts.netloc, _SENTINEL_PORT if form is Form.SENTINEL else _REDIS_PORT)
        if form is Form.SERVER and len(hosts) > 1:
            raise ValueError("it names several hosts: that is redis+sentinel:// or redis+cluster://")
        service, _, database = unquote(parts.path.strip("/")).rpartition("/")
        if form is Form.SENTINEL:
            service, database = (service, database) if service else (database, "")
            if not service:
                raise ValueError("redis+sentinel:// needs the service name: redis+sentinel://HOST:PORT,.../SERVICE/DB")
        elif service:
            raise ValueError("after the host stands at most the number of the database: redis://HOST:PORT/DB")
        tls = parts.scheme.startswith("rediss")
        return cls(form, tls, hosts, name=service, options=_options(parts, form, tls, database))

    @property
    def suffix(self) -> str:
        """What stands between ``redis`` and ``://``."""
        return {Form.SENTINEL: "+sentinel", Form.CLUSTER: "+cluster"}.get(self.form, "")


def _check_escapes(parts: SplitResult) -> None:
    if parts.fragment or ("@" in parts.path and "@" not in parts.netloc and parts.scheme != "unix"):
        raise ValueError(
            "it has a '/', '?' or '#' where none can be; in a user name or a password they are written %2F, %3F, %23"
        )


def _socket_path(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if parts.netloc.rpartition("@")[2] or not path.strip("/"):
        raise ValueError("unix:// needs an absolute path: unix:///path/to/socket")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_SOCKET_PATH} bytes")
    return path


def _hosts(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """Of ``user:password@host:port,host:port``."""
    pairs = []
    for host in netloc.rpartition("@")[2].split(","):
        found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d{1,5}))?", host)
        if found is None or (found[2] and not 0 < int(found[2]) < 65_536):
            raise ValueError("a host is HOST or HOST:PORT, with a port from 1 to 65535")
        name = unquote(found[1].strip("[]"))
        if not name and "," in netloc:
            raise ValueError("between two commas, or beside one, there is no host")
        pairs.append((name or "localhost", int(found[2] or default_port)))
    return pairs


# -- what stands behind the question mark --------------------------------------------------------------------------


def _text(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    return value


def _seconds(value: str) -> float:
    if not re.fullmatch(r"\d{1,5}(\.\d+)?", value) or not float(value):
        raise ValueError("is no number of seconds above 0")
    return float(value)


def _whole_seconds(value: str) -> int:
    if not value.isdigit():
        raise ValueError("is no whole number of seconds")
    return int(value)


def _truth(value: str) -> bool:
    try:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
    except KeyError:
        raise ValueError("is neither true nor false") from None


def _count(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise ValueError("is no number from 1 on")
    return int(value)


def _database(value: str) -> int:
    if not value.isdigit():
        raise ValueError("is no number of a database")
    return int(value)


def _client_name(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be without spaces, in ASCII")
    return value


def _file(value: str) -> str:
    if not (os.path.isfile(value) and os.access(value, os.R_OK)):
        raise ValueError(f"{value} is no file that can be read")
    return value


def _folder(value: str) -> str:
    if not os.path.isdir(value):
        raise ValueError(f"{value} is no folder")
    return value


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value.lower()

    return parse


def _only(allowed: Callable[[str], bool], reason: str) -> Callable[[str], None]:
    """An option that is understood, and may say only what is so anyway."""

    def parse(value: str) -> None:
        if not allowed(value):
            raise ValueError(reason)

    return parse


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "db": _database,
    "username": _text,
    "password": _text,
    "client_name": _client_name,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "health_check_interval": _whole_seconds,
    "protocol": _only(lambda value: value == "2", "must be 2: memsched reads RESP2"),
    "decode_responses": _only(lambda value: not _truth(value), "must be false: memsched reads bytes"),
    "retry_on_timeout": _only(
        lambda value: not _truth(value), "must be false: memsched itself repeats what may be repeated"
    ),
}
_FOR: Mapping[str, tuple[Callable[[str], Any], tuple[Form, ...]]] = {
    "socket_keepalive": (_truth, (Form.SERVER, Form.SENTINEL, Form.CLUSTER)),
    "max_connections": (_count, (Form.SERVER, Form.SOCKET, Form.SENTINEL)),
    "sentinel_username": (_text, (Form.SENTINEL,)),
    "sentinel_password": (_text, (Form.SENTINEL,)),
}
_OF_TLS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": _file,
    "ssl_ca_path": _folder,
    "ssl_ca_data": _text,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": _text,
    "ssl_cert_reqs": _one_of("required", "optional", "none"),
    "ssl_check_hostname": _truth,
    "ssl_ciphers": _text,
}
_NOT_ON_A_CLUSTER = ("ssl_ca_path", "ssl_password")
_MEANT_FOR_OTHERS = {
    "timeout": "it belongs to a pool that memsched does not use; socket_timeout may be meant",
    "retry_on_error": "memsched itself repeats what may be repeated",
}


def _options(parts: SplitResult, form: Form, tls: bool = False, database: str = "") -> dict[str, Any]:
    """The login, the database and the options of an address. Raises ValueError."""
    given = parse_qsl(parts.query, keep_blank_values=True)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    given += [(name, unquote(value)) for name, value in (("username", user), ("password", password)) if value]
    given += [("db", database)] if database else []
    options: dict[str, Any] = {}
    for name, value in given:
        if name in options:
            raise ValueError(f"{name} is given twice")
        try:
            options[name] = _parser_of(name, form, tls)(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    if form is Form.CLUSTER and options.get("db"):
        raise ValueError("a Cluster has no database but 0")
    return {name: value for name, value in options.items() if value is not None}


def _parser_of(name: str, form: Form, tls: bool) -> Callable[[str], Any]:
    """What reads the value of this option. Raises ValueError for one that cannot be honoured here."""
    if name in _OPTIONS:
        return _OPTIONS[name]
    if name in _FOR:
        parser, forms = _FOR[name]
        if form not in forms:
            raise ValueError(f"is not for {form}")
        return parser
    if name in _OF_TLS:
        if not tls:
            raise ValueError("is for TLS: rediss://, rediss+sentinel:// or rediss+cluster://")
        if form is Form.CLUSTER and name in _NOT_ON_A_CLUSTER:
            raise ValueError("is not for a Cluster")
        return _OF_TLS[name]
    if name in _MEANT_FOR_OTHERS:
        raise ValueError(f"is no option here: {_MEANT_FOR_OTHERS[name]}")
    raise ValueError(f"is no option here{suggestion(name, (*_OPTIONS, *_FOR, *_OF_TLS))}")


# -- a server of our own ------------------------------------------------------------------------------------------


class EmbeddedAddress:
    """``embedded://FOLDER``: a server of our own, started when it is needed, released with its last user here."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.embedded_folder(settings.redis_url)
        self._settings = settings
        self._release: Callable[[str], None] | None = None

    async def ensure(self) -> str:
        """Have the server run; returns the URL under which it answers. Raises EmbeddedServerError."""
        from memsched.embedded.redis_server import ensure_server, release_server  # an optional extra

        if self._release is None:
            self._release = release_server
            _embedded_uses[self._folder] += 1
        return await asyncio.to_thread(
            ensure_server,
            self._folder,
            timeout_seconds=max(self._settings.connect_timeout_seconds, _LEAST_START_SECONDS),
            program=self._settings.embedded_server,
        )

    async def release(self) -> None:
        """This connection needs it no more."""
        release = self._release
        self.leave()
        if release is not None and _embedded_uses[self._folder] == 0:
            await asyncio.to_thread(release, self._folder)

    def leave(self) -> None:
        """This connection is none any more; another one will need the server."""
        if self._release is not None:
            self._release = None
            _embedded_uses[self._folder] -= 1
