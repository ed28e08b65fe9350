"""Why a server cannot be used, in words that help, from what redis-py and the system raise.

A server that does not answer is one thing; one that answers and says no is another, and is never told as the first.
None of the words quotes a login.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, RedisClusterException
from redis.exceptions import ConnectionError as RedisConnectionError

from memsched.broker.addresses import Address

_PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class Failure:
    """What is known of a failed call."""

    reason: str
    answers: bool = False
    """Somebody answers there, or nobody can: it is no silence."""
    hopeless: bool = False
    """The address or the login has to be changed: at the start, there is no use in trying again."""


class NoMaster(RedisConnectionError):
    """No Sentinel told the address of a master."""

    def __init__(self, reason: str, *, answers: bool = False, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.failure = Failure(reason, answers or hopeless, hopeless)


_BY_TEXT = (
    ("Authentication required", "it asks for a password, and the address has none", True),
    ("without any password configured", "it has no password, and the address gives one", True),
    ("DB index is out of range", "it has no database of this number", True),
    ("SELECT is not allowed in cluster mode", "it is a node of a Cluster, which has database 0 only", True),
    ("protected mode", "it is in protected mode, and takes connections from its own machine only", True),
    ("max number of clients", "it has as many clients as it may have (maxclients)", False),
    ("slots are not covered", "the Cluster has nodes for a part of its slots only", False),
    ("Cluster mode is not enabled", "it is no node of a Cluster: use redis://", True),
    ("cluster support disabled", "it is no node of a Cluster: use redis://", True),
    ("unknown command 'SENTINEL'", "it is a server and no Sentinel: use redis://", True),
    ("CERTIFICATE_REQUIRED", "it asks for a certificate of the client: set ssl_certfile and ssl_keyfile", True),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: use redis:// instead of rediss://", True),
    ("UNKNOWN_CA", "it does not trust the certificate in ssl_certfile", True),
)
"""What the server or OpenSSL says, what that means, and whether it is hopeless."""


def failure_of(error: BaseException) -> Failure:
    """What a failed call says of the server."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, NoMaster):
            return cause.failure
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(
                f"its TLS certificate is not trusted ({cause.verify_message.rstrip('.')}); {_TRUST}", True, True
            )
        if isinstance(cause, socket.gaierror):
            return Failure(f"the name of the host cannot be resolved ({cause.strerror})", answers=True)
        for said, meant, hopeless in _BY_TEXT:
            if said in str(cause):
                return Failure(meant, True, hopeless)
        if isinstance(cause, AuthenticationError):
            return Failure("it refuses the user name or the password", True, True)
        if isinstance(cause, NoPermissionError):
            return Failure(f"the user lacks a right: {_line(cause)}", True, True)
        if isinstance(cause, InvalidResponse):
            return Failure("what answers there is no Redis server", True, True)
        if isinstance(cause, ssl.SSLError):
            return Failure(f"TLS fails: {cause.reason or _line(cause)}", True, True)
    first = next((cause for cause in causes if not isinstance(cause, RedisClusterException)), error)
    return Failure(_line(first))


async def tls_mismatch(address: Address) -> Failure | None:
    """Whether the first host of an address that got no answer speaks TLS where none is asked for, or the reverse.

    To a question in the wrong language servers say nothing, or hang up.
    """
    if not address.hosts:
        return None
    host, port = address.hosts[0]
    context = None
    if not address.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                writer.write(b"PING\r\n")
                answer = b"+" if context else await reader.read(1)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return None
    if answer not in (b"+", b"-"):
        return None
    plain, tls = "redis" + address.suffix, "rediss" + address.suffix
    said = f"it does not speak TLS: use {plain}://" if address.tls else f"it speaks TLS: use {tls}://"
    return Failure(said, answers=True, hopeless=True)


_TRUST = "ssl_ca_certs=FILE in the address names the authority that signed it, and the host must be one that it is for"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
