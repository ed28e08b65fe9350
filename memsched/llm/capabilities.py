"""Capabilities of a server: which optional parameters of a request it supports; learnt from its refusals.

Servers that call themselves compatible differ: some know no ``response_format``, OpenAI's reasoning models take no
``temperature`` and want ``max_completion_tokens``. A request that was refused with 400 is sent again without the
parameter in question; when that works, the parameter is left out from then on. What a part of a message says of itself
(the mark that ends a cached prefix) is such a parameter too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
        if "messages" in request:
            adapted["messages"] = [_without(message, unsupported) for message in request["messages"]]
        if "max_tokens" in unsupported and "max_tokens" in request:
            adapted["max_completion_tokens"] = request["max_tokens"]
        return adapted

    def without_refused(
        self, request: Mapping[str, Any], unsupported: frozenset[str], complaint: str, optional: Sequence[str] = ()
    ) -> frozenset[str] | None:
        """Return what to leave out after a 400; None when that would not help.

        Args:
            unsupported: what was left out of the request that was refused.
            complaint: what the server said.
            optional: what else of this request not every server knows: left out when it is named, or all at once.
        """
        sent = self.adapt(request, unsupported)
        extra = [name for name in optional if name in sent or _is_marked(sent, name)]
        if named := [name for name in extra if re.search(rf"\b{name}\b", complaint)]:
            return unsupported.union(named)
        if "max_tokens" in sent and "max_completion_tokens" in complaint:
            return unsupported | {"max_tokens"}
        named = [name for name in _BY_NAME if name in sent and name in complaint]
        if named:
            return unsupported | {named[0]}
        if extra:
            return unsupported.union(extra)
        return next((unsupported | {name} for name in _ANYWAY if name in sent), None)

    def forget(self, names: frozenset[str]) -> None:
        """It may take these now: a server is not asked for an adapter without being told which."""
        self._unsupported -= names

    def learn(self, unsupported: frozenset[str]) -> None:
        """Remember: a request without these was taken after one with them was refused."""
        if new := unsupported - self._unsupported:
            self._unsupported |= new
            log.info(
                "the language model's server does not take a part of the request; it is left out from now on",
                action="llm.adapted",
                without=sorted(new),
            )


def _without(message: Mapping[str, Any], unsupported: frozenset[str]) -> Mapping[str, Any]:
    """The message without what its parts may not say; as a text where they say nothing else."""
    parts = message["content"]
    if isinstance(parts, str) or not any(name in part for part in parts for name in unsupported):
        return message
    parts = [{name: value for name, value in part.items() if name not in unsupported} for part in parts]
    is_plain = all(part.keys() == {"type", "text"} for part in parts)
    return {**message, "content": "".join(part["text"] for part in parts) if is_plain else parts}


def _is_marked(request: Mapping[str, Any], name: str) -> bool:
    contents = (message["content"] for message in request.get("messages", ()))
    return any(name in part for parts in contents if not isinstance(parts, str) for part in parts)
