"""What a failed request to an OpenAI-compatible server means, and when to retry it: the one classification."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

from memsched.backoff import backoff
from memsched.errors import MemschedError
from memsched.llm.endpoint import Endpoint

ServerErrorKind = Literal[
    "unreachable",  # no connection, or it broke
    "rate_limited",  # 429
    "server_error",  # 5xx, or an error in the middle of a stream
    "misconfigured",  # 401, 403, 404: the settings are wrong
    "invalid_answer",  # 200, but not what such a server sends
    "refused",  # any other 4xx: it declines this very request
    "closed",  # this client was closed
]
NOT_UNDERSTOOD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""A parameter of the request may be one that this server does not know."""
NOT_ACCEPTED = (*NOT_UNDERSTOOD, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
"""The request itself is at fault, or a text in it; not the settings."""
_RETRIABLE_KINDS = frozenset({"unreachable", "rate_limited", "server_error"})
_RETRIABLE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""And every 5xx."""
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_BACKOFF_SECONDS = 0.25
_BACKOFF_CAP_SECONDS = 8.0


class ServerError(MemschedError):
    """An OpenAI-compatible server did not do what it was asked."""

    def __init__(
        self,
        reason: str,
        *,
        kind: ServerErrorKind,
        status: int = 0,
        retry_after: float | None = None,
        complaint: str = "",
    ) -> None:
        """Args:
        reason: what happened and what to do, fit for a log.
        status: of HTTP; 0 when there was none.
        retry_after: seconds that the server asked for.
        complaint: what the server said; never for a log above debug, because servers quote what they were sent.
        """
        self.reason = reason
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.complaint = complaint
        super().__init__(reason)

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind in _RETRIABLE_KINDS

    def delay(self, tries: int) -> float:
        """Return the seconds to wait before the next try: what the server asked for, else a growing backoff."""
        if self.retry_after is not None:
            return self.retry_after
        return backoff(tries, base=_BACKOFF_SECONDS, cap=_BACKOFF_CAP_SECONDS, least=0.5)


def status_error(
    endpoint: Endpoint, status: int, *, headers: Mapping[str, str], code: object, complaint: str
) -> ServerError:
    """Return the error that an HTTP status means.

    Args:
        code: the machine-readable part of the complaint, if it has one.
    """
    # The sentence of a complaint may quote a text, or the key; its code does not.
    safe = isinstance(code, str) and _CODE.fullmatch(code) and endpoint.without_key(code) == code
    reason = f"{endpoint.address} says {status}{f' ({code})' if safe else ''}."
    kind: ServerErrorKind = "refused"
    wait = None
    model = f"{endpoint.variable('model')} ({endpoint.model})"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        kind = "misconfigured"
        reason += f" Check {endpoint.variable('api_key')}, and that it may use {model}."
    elif status in _RETRIABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "rate_limited" if status == HTTPStatus.TOO_MANY_REQUESTS else "server_error"
        wait = parse_retry_after(headers, time.time())
    elif status not in NOT_ACCEPTED:
        kind = "misconfigured" if status == HTTPStatus.NOT_FOUND else "refused"
        reason += f" Check {model} and {endpoint.variable('base_url')}."
    return ServerError(reason, kind=kind, status=status, retry_after=wait, complaint=complaint)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for; it holds seconds or a date.

    Args:
        now: seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError, TypeError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
