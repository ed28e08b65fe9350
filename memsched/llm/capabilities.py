"""Capabilities of a server: which optional parameters of a request it supports; learnt from its refusals.

Servers that call themselves compatible differ: some know no ``response_format``, OpenAI's reasoning models take no
``temperature`` and want ``max_completion_tokens``. A request that was refused with 400 is sent again without the
parameter in question; when that works, the parameter is left out from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.logs import get_logger

log = get_logger(__name__)

_BY_NAME = ("temperature", "response_format", "stream_options", "top_p", "top_k")
"""Left out when the server's complaint names them."""
_ANYWAY = ("response_format", "stream_options")
"""Left out after any other 400 too: servers that do not know them complain in words of their own."""


class Capabilities:
    """Remembered per client."""

    def __init__(self) -> None:
        self._unsupported: frozenset[str] = frozenset()

    @property
    def unsupported(self) -> frozenset[str]:
        """Optional parameters that the server does not take."""
        return self._unsupported

    def adapt(self, request: Mapping[str, Any], unsupported: frozenset[str]) -> dict[str, Any]:
        """Return the request without these parameters."""
        adapted = {name: value for name, value in request.items() if name not in unsupported}
        if "max_tokens" in unsupported and "max_tokens" in request:
            adapted["max_completion_tokens"] = request["max_tokens"]
        return adapted

    def without_refused(
        self, request: Mapping[str, Any], unsupported: frozenset[str], complaint: str
    ) -> frozenset[str] | None:
        """Return what to leave out after a 400; None when that would not help.

        Args:
            unsupported: what was left out of the request that was refused.
            complaint: what the server said.
        """
        sent = self.adapt(request, unsupported)
        if "max_tokens" in sent and "max_completion_tokens" in complaint:
            return unsupported | {"max_tokens"}
        named = [name for name in _BY_NAME if name in sent and name in complaint]
        for name in (*named, *(name for name in _ANYWAY if name in sent)):
            return unsupported | {name}
        return None

    def learn(self, unsupported: frozenset[str]) -> None:
        """Remember: a request without these was taken after one with them was refused."""
        if new := unsupported - self._unsupported:
            self._unsupported |= new
            log.info(
                "the language model's server does not take a part of the request; it is left out from now on",
                action="llm.adapted",
                without=sorted(new),
            )
