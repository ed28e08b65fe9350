"""What can go wrong with a language model. A caller catches ``LLMError`` and takes its local form instead.

A class's docstring is the first sentence of its message. No message holds the key, a prompt or an answer, so all of
them are fit for a log.
"""

from __future__ import annotations

from typing import Literal

from memsched.errors import MemschedError

FailureKind = Literal[
    "unreachable",  # no connection, or it broke
    "rate_limited",  # 429
    "server_error",  # 5xx, or an error in the middle of a stream
    "misconfigured",  # 401, 403, 404: the settings are wrong
    "left_alone",  # the breaker is open; nothing was sent
    "closed",  # this client was closed
    "timeout",  # no answer within the time budget
    "rubbish",  # an answer that cannot be used
    "refused",  # the model, a filter or the server declined this very request
]
"""Why a call failed, for counters: a small fixed set."""


class LLMError(MemschedError):
    """The language model was of no use."""

    kind: FailureKind = "unreachable"

    def __init__(self, reason: str, *, kind: FailureKind | None = None) -> None:
        self.reason = reason
        if kind is not None:
            self.kind = kind
        super().__init__(reason)


class LLMUnavailable(LLMError):
    """The language model cannot be used now."""

    def __init__(self, reason: str, *, kind: FailureKind = "unreachable", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        """Seconds after which another try may help, where the server or the breaker said so."""
        super().__init__(reason, kind=kind)


class LLMTimeout(LLMError):
    """The language model did not answer within its time budget."""

    kind = "timeout"


class LLMRubbish(LLMError):
    """The language model's answer cannot be used."""

    kind = "rubbish"


class LLMRefused(LLMError):
    """The language model, or its server, declined this request; asking the same again will not help."""

    kind = "refused"
