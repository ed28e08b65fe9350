"""The model's server behind the proxy: requests go to it, and its answers come back, as they are."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property

import httpx

from memsched.errors import EmbeddedServerError, EmbeddedServerNotReady, SettingsError
from memsched.llm.endpoint import EMBEDDED, Endpoint
from memsched.llm.local import LocalServer
from memsched.logs import get_logger
from memsched.service.problems import Problem
from memsched.settings import Settings, headers_in

log = get_logger(__name__)

RawHeaders = list[tuple[bytes, bytes]]

_CONNECT_SECONDS = 5.0
_KEPT_SECONDS = 3.0
"""A connection that is not used is closed before servers close theirs (5 s is usual), so that none is lost on it."""
_PASSED_ON = frozenset({"accept", "user-agent", "openai-beta", "traceparent", "tracestate", "idempotency-key"})
_PASSED_ON_PREFIX = "x-stainless-"
"""What goes to the model's server of a client's headers: no keys, no cookies, nothing about where it is."""
_KEPT_BACK = frozenset(
    b"""connection keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade content-encoding
    content-length date server set-cookie alt-svc strict-transport-security x-request-id""".split()
)
"""What does not come back: what is about one connection, or about another site."""
_CORS = b"access-control-"
_OF_A_BODY = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})
_SHORTEST_SECRET = 6
_NO_RETRY = {"x-should-retry": "false"}
"""Clients of the openai library ask again after a 5xx, unless they are told."""


class Upstream:
    """The server that MEMSCHED_LLM_BASE_URL names, or OpenAI's. Close it with ``aclose``.

    Raises SettingsError where that is no address.
    """

    def __init__(self, settings: Settings) -> None:
        self._endpoint = Endpoint.checked("llm", settings.llm_base_url, settings.llm_api_key, settings.llm_model)
        self._is_configured = bool(settings.llm_base_url or self._endpoint.key)
        self._headers = headers_in(settings.llm_headers.get_secret_value())
        self._settings = settings
        self._local: LocalServer | None = None

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # A model thinks as long as it likes: who waits for it decides, and hangs up. Nothing is queued here.
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_KEPT_SECONDS)
        plain = self._endpoint.url.startswith("http://") or self._endpoint.is_embedded
        verify: ssl.SSLContext | bool = not plain  # to load certificates takes a while
        return httpx.AsyncClient(timeout=timeout, limits=limits, verify=verify, follow_redirects=False)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Response:
        """Send a request on, and return the beginning of the answer; whoever gets it closes it.

        Raises Problem where no server is configured, where it does not answer, and where it refuses our key.

        Args:
            headers: the client's; of them goes on what a model's server may know.
        """
        url, key = await self._place()
        sent = {name: value for name, value in headers.items() if _goes_on(name.lower())}
        # Not compressed: what is compressed arrives in larger pieces.
        sent |= {"Accept-Encoding": "identity", **self._headers}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        if content is not None:
            sent["Content-Type"] = "application/json"
        request = self._client.build_request(method, f"{url.rstrip('/')}/{path}", headers=sent, content=content)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            if self._local is not None:
                self._local.lose()
            raise self._away(type(error).__name__) from None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            await answer.aclose()
            raise self._refused()
        if answer.is_redirect:  # our key and what is remembered go to no server that nobody configured
            await answer.aclose()
            raise self._away(f"it redirects ({answer.status_code})")
        return await self._without_secrets(answer, key)

    async def _without_secrets(self, answer: httpx.Response, key: str) -> httpx.Response:
        """An answer that does not quote what is ours: servers do, most of all in errors."""
        secrets = [each.encode() for each in (key, *self._headers.values()) if len(each) >= _SHORTEST_SECRET]
        raw = [(name, _without(value, secrets)) for name, value in answer.headers.raw]
        if not answer.is_error or not secrets:
            answer.headers = httpx.Headers(raw)
            return answer
        body = _without(await answer.aread(), secrets)
        await answer.aclose()
        kept = [(name, value) for name, value in raw if name.lower() not in _OF_A_BODY]
        return httpx.Response(answer.status_code, headers=kept, content=body)

    async def aclose(self) -> None:
        """Close all connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()
        if self._local is not None:
            await self._local.release()

    async def _place(self) -> tuple[str, str]:
        """The address, with its ``/v1``, and the key."""
        if not self._is_configured:
            detail = (
                "No model's server is configured: set MEMSCHED_LLM_BASE_URL (its address, with /v1), or "
                "MEMSCHED_LLM_API_KEY for OpenAI's."
            )
            raise Problem(503, detail, kind="ModelNotConfigured", headers=_NO_RETRY)
        if not self._endpoint.url.startswith(EMBEDDED):
            return self._endpoint.url, self._endpoint.key
        try:
            if self._local is None:
                self._local = LocalServer.of(self._settings, "llm")
            assert self._local is not None
            server = self._local.server or await self._local.ensure()
        except (SettingsError, EmbeddedServerError) as error:
            raise self._away(str(error), starting=isinstance(error, EmbeddedServerNotReady)) from None
        return f"{server.url}/v1", server.key

    def _away(self, why: str, *, starting: bool = False) -> Problem:
        """Its address is for the log, and nobody else."""
        log.warning(
            "the model's server does not answer the proxy",
            action="proxy.upstream_away",
            server=self._endpoint.address,
            error=why,
            advice="Check MEMSCHED_LLM_BASE_URL, and that the server runs.",
        )
        if starting:
            return Problem(503, "The model's server is being started.", kind="ModelAway", headers={"Retry-After": "2"})
        return Problem(502, "The model's server does not answer (MEMSCHED_LLM_BASE_URL).", kind="ModelAway")

    def _refused(self) -> Problem:
        """Not as it came: the key is ours and not the client's, and servers quote parts of it."""
        log.error(
            "the model's server refuses the proxy's key",
            action="proxy.key_refused",
            server=self._endpoint.address,
            advice="Check MEMSCHED_LLM_API_KEY.",
        )
        detail = "The model's server refuses the key of this service (MEMSCHED_LLM_API_KEY)."
        return Problem(502, detail, kind="ModelKeyRefused", headers=_NO_RETRY)


def _without(text: bytes, secrets: Sequence[bytes]) -> bytes:
    for each in secrets:
        text = text.replace(each, b"***")
    return text


def headers_back(answer: httpx.Response) -> RawHeaders:
    """The headers of an answer that are for the client, as the server wrote them; of its body the bytes are decoded."""
    kept = [(name.lower(), value) for name, value in answer.headers.raw if _comes_back(name.lower())]
    length = answer.headers.get("content-length")
    if length is not None and "content-encoding" not in answer.headers:
        kept.append((b"content-length", length.encode("ascii")))
    return kept


def _goes_on(name: str) -> bool:
    return name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIX)


def _comes_back(name: bytes) -> bool:
    return name not in _KEPT_BACK and not name.startswith(_CORS)
