"""Which optional parts of a request the server takes; learnt from its refusals.

Servers that call themselves compatible differ: some know no ``response_format``, OpenAI's reasoning models take no
``temperature`` and want ``max_completion_tokens``. A request that was refused with 400 is sent again without the part
in question; when that works, the part is left out from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

log = structlog.get_logger(__name__)

_BY_NAME = ("temperature", "response_format", "stream_options")
"""Left out when the server's complaint names them."""
_ANYWAY = ("response_format", "stream_options")
"""Left out after any other 400 too: servers that do not know them complain in words of their own."""


class Dialect:
    """Remembered per client."""

    def __init__(self) -> None:
        self._without: frozenset[str] = frozenset()

    @property
    def without(self) -> frozenset[str]:
        """Optional parts that the server does not take."""
        return self._without

    def apply(self, request: Mapping[str, Any], without: frozenset[str]) -> dict[str, Any]:
        """The request in the words of this server."""
        spoken = {name: value for name, value in request.items() if name not in without}
        if "max_tokens" in without and "max_tokens" in request:
            spoken["max_completion_tokens"] = request["max_tokens"]
        return spoken

    def next_without(self, sent: Mapping[str, Any], without: frozenset[str], complaint: str) -> frozenset[str] | None:
        """What to leave out after a 400; None when that would not help. complaint: what the server said."""
        if "max_tokens" in sent and "max_completion_tokens" in complaint:
            return without | {"max_tokens"}
        named = [name for name in _BY_NAME if name in sent and name in complaint]
        for name in (*named, *(name for name in _ANYWAY if name in sent)):
            return without | {name}
        return None

    def learn(self, without: frozenset[str]) -> None:
        """A request without these was taken after one with them was refused."""
        if new := without - self._without:
            self._without |= new
            log.info(
                "the language model's server does not take a part of the request; it is left out from now on",
                action="llm.adapted",
                without=sorted(new),
            )
