"""The endpoint of an OpenAI-compatible server: where it is, and with which key and model it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import PurePath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from memsched.errors import SettingsError
from memsched.settings import PREFIX, masked

Purpose = Literal["llm", "reader", "embedding"]
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".lan")
EMBEDDED = "embedded://"
"""What the URL of a server of our own begins with."""
_OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the settings' three endpoints.

    Args:
        purpose: what the names of its settings, and its log actions, begin with.
    """

    purpose: Purpose
    url: str
    key: str = field(repr=False)
    model: str

    @classmethod
    def checked(cls, purpose: Purpose, url: str, key: SecretStr, model: str) -> Self:
        """Return the endpoint; an empty URL is OpenAI's. Raises SettingsError; no message holds the key."""
        endpoint = cls(purpose, url or _OPENAI_URL, key.get_secret_value().strip(), model)
        if endpoint.is_embedded:
            if endpoint.url == EMBEDDED:
                raise SettingsError(
                    [f"{endpoint.variable('base_url')}: embedded:// needs a folder: embedded://FOLDER."]
                )
            return replace(endpoint, model=PurePath(model).name)
        problems = []
        if not _is_web_address(endpoint.url):
            problems.append(f"{endpoint.variable('base_url')}: {_expected(purpose)}.")
        if not (endpoint.key.isascii() and endpoint.key.isprintable()) or " " in endpoint.key:
            problems.append(f"{endpoint.variable('api_key')}: has characters that no key has.")
        if problems:
            raise SettingsError(problems)
        return endpoint

    @property
    def is_embedded(self) -> bool:
        """Whether the server is one of our own, which serves one file."""
        return self.url.startswith(EMBEDDED) and self.purpose != "embedding"

    @property
    def address(self) -> str:
        """The URL as it may be shown."""
        return masked(self.url)

    @property
    def root(self) -> str:
        """The URL without its ``/v1``: there servers answer what is not OpenAI's."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def is_private(self) -> bool:
        """Whether the server is on this machine, or in a private network by its address or its name."""
        if self.is_embedded:
            return True
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_private
        except ValueError:
            return "." not in host or host.endswith(_PRIVATE_NAMES)

    def variable(self, setting: str) -> str:
        """Return the name of one of its environment variables."""
        return f"{PREFIX}{self.purpose}_{setting}".upper()

    def without_key(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


def _expected(purpose: Purpose) -> str:
    web = "must be http://HOST:PORT/v1 or https://HOST/v1"
    return web if purpose == "embedding" else f"{web}, or embedded://FOLDER"


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
