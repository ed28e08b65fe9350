"""What the openai library raises, as one of our errors: with what to do about it, and without secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from memsched.llm.errors import FailureKind, LLMError, LLMRefused, LLMRubbish, LLMUnavailable
from memsched.settings import Settings, masked

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

log = structlog.get_logger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
NOT_UNDERSTOOD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_MISCONFIGURED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
_REPEATABLE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""And every 5xx."""
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Verdict(Enum):
    """What a call's end says about the server."""

    ALIVE = auto()
    FAILED = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that failed.

    error: ours, ready to be raised. repeat: whether the same again may help. retry_after: seconds that the server asked
    for. status: HTTP status, 0 when there was none. complaint: what the server said; never for a log above debug,
    because servers quote what they were sent.
    """

    error: LLMError
    verdict: Verdict
    repeat: bool = False
    retry_after: float | None = None
    status: int = 0
    complaint: str = ""


def rubbish(reason: str) -> Failure:
    """The server answered, but not as such a server does."""
    return Failure(LLMRubbish(reason), Verdict.FAILED)


class Failures:
    """Translates for one server."""

    def __init__(self, settings: Settings) -> None:
        self._model = settings.llm_model
        self.address = masked(settings.llm_base_url or OPENAI_URL)
        self._key = settings.llm_api_key.get_secret_value().strip()

    def of(self, error: OpenAIError) -> Failure:
        """The failure that an exception of the openai library means."""
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        if isinstance(error, openai.APIResponseValidationError):
            return rubbish("The server did not send a chat completion. Check MEMSCHED_LLM_BASE_URL.")
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            return Failure(
                LLMUnavailable(f"{self.address}: {cause}. Check MEMSCHED_LLM_BASE_URL, and that the server runs."),
                Verdict.FAILED,
                repeat=True,
            )
        complaint = self._said(error)
        return Failure(
            LLMUnavailable(f"{self.address} reported an error while it answered.", kind="server_error"),
            Verdict.FAILED,
            repeat=True,
            complaint=complaint,
        )

    def _status(self, error: APIStatusError) -> Failure:
        status = error.status_code
        complaint = self._said(error)
        said = f"{self.address} says {status}{self._code(error)}"
        if status in _MISCONFIGURED:
            advice = (
                f"Check MEMSCHED_LLM_MODEL ({self._model}) and MEMSCHED_LLM_BASE_URL"
                if status == HTTPStatus.NOT_FOUND
                else f"Check MEMSCHED_LLM_API_KEY, and that it may use MEMSCHED_LLM_MODEL ({self._model})"
            )
            unusable = LLMUnavailable(f"{said}. {advice}.", kind="misconfigured")
            return Failure(unusable, Verdict.FAILED, status=status, complaint=complaint)
        if status in _REPEATABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = retry_after(error.response.headers, time.time())
            kind: FailureKind = "rate_limited" if status == HTTPStatus.TOO_MANY_REQUESTS else "server_error"
            later = LLMUnavailable(f"{said}.", kind=kind, retry_after=wait)
            return Failure(later, Verdict.FAILED, repeat=True, retry_after=wait, status=status, complaint=complaint)
        return Failure(LLMRefused(f"{said}."), Verdict.ALIVE, status=status, complaint=complaint)

    def _said(self, error: OpenAIError) -> str:
        """Also to the debug log, which may hold texts, but never the key."""
        said = f"{error} {getattr(error, 'body', '')}"
        if self._key:
            said = said.replace(self._key, "***")
        log.debug("the language model's server complained", action="llm.complaint", complaint=said[:2000])
        return said

    def _code(self, error: APIStatusError) -> str:
        """The machine-readable part of a complaint. The sentence may quote a prompt, or the key."""
        code = error.code or error.type
        safe = isinstance(code, str) and _CODE.fullmatch(code) and not (self._key and self._key in code)
        return f" ({code})" if safe else ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait: Retry-After in seconds or as a date. now: seconds since the epoch."""
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
