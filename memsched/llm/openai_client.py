"""The openai library's client, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from memsched.errors import SettingsError
from memsched.llm.server_errors import OPENAI_URL
from memsched.settings import Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 5.0
_NO_KEY = "none"
"""Servers on one's own machine want no key; the library sends one in any case."""


def openai_client(settings: Settings) -> AsyncOpenAI:
    """A client that repeats nothing by itself. Raises SettingsError; no message holds the key."""
    url = settings.llm_base_url or OPENAI_URL
    key = settings.llm_api_key.get_secret_value().strip()
    problems = []
    if not _is_web_address(url):
        problems.append("MEMSCHED_LLM_BASE_URL: must be http://HOST:PORT/v1 or https://HOST/v1.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        problems.append("MEMSCHED_LLM_API_KEY: has characters that no key has.")
    if problems:
        raise SettingsError(problems)

    from openai import AsyncOpenAI, Timeout

    # A call is limited as a whole by its budget; the library's own limit would be on each silence.
    timeout = Timeout(None, connect=_CONNECT_SECONDS)
    return AsyncOpenAI(api_key=key or _NO_KEY, base_url=url, max_retries=0, timeout=timeout)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
