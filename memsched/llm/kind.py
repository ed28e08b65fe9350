"""Which kind of server a language model is behind: as it is set, or as the server answers when it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from memsched.llm.endpoint import Endpoint
from memsched.llm.server_errors import ServerError
from memsched.llm.servers import DIALECTS
from memsched.llm.servers.base import Dialect
from memsched.llm.servers.detect import Get, detect
from memsched.logs import get_logger

log = get_logger(__name__)

_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 30.0
"""A server that did not answer is asked no more for so long: who wants an answer shall not wait for that each time."""
_UNKNOWN = DIALECTS["generic"]


class Kind:
    """What is known of one server. Until it answered it counts as one of which nothing is known.

    Args:
        name: as MEMSCHED_LLM_SERVER has it; a server of our own is llama.cpp's.
        clock: seconds, monotonic.
    """

    def __init__(self, name: str, endpoint: Endpoint, get: Get, clock: Callable[[], float] = time.monotonic) -> None:
        own = endpoint.is_embedded
        self._known = DIALECTS.get("llama_cpp" if own else name)
        self._endpoint = endpoint
        self._get = get
        self._clock = clock
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    @property
    def now(self) -> Dialect:
        """As far as it is known."""
        return self._known or _UNKNOWN

    async def dialect(self) -> Dialect:
        """Ask the server, if that was not done. Raises nothing when it does not answer."""
        async with self._asking:
            if self._known is None and self._may_ask():
                self._asked_at = self._clock()
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        self._known = await detect(self._endpoint.url, self._get)
                except (TimeoutError, ServerError):
                    return _UNKNOWN
                log.info(
                    "the kind of the language model's server is known",
                    action="llm.server_kind",
                    server=self._endpoint.address,
                    kind=self._known.name,
                )
        return self.now

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= _AGAIN_SECONDS
