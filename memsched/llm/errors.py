"""What can go wrong with a language model. A caller catches ``LLMError`` and takes its local form instead.

A class's docstring is the first sentence of its message. No message holds the key, a prompt or an answer, so all of
them are fit for a log.
"""

from __future__ import annotations

from typing import Literal

from memsched.errors import MemschedError
from memsched.llm.server_errors import ServerError, ServerErrorKind

FailureKind = Literal[
    ServerErrorKind,
    "circuit_open",  # the circuit breaker is open; nothing was sent
    "timeout",  # no answer within the time budget
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
        """Args:
        retry_after: seconds after which another try may help, where the server or the circuit breaker said so.
        """
        self.retry_after = retry_after
        super().__init__(reason, kind=kind)


class LLMTimeout(LLMError):
    """The language model did not answer within its time budget."""

    kind = "timeout"


class LLMInvalidAnswer(LLMError):
    """The language model's answer cannot be used."""

    kind = "invalid_answer"


class LLMRefused(LLMError):
    """The language model, or its server, declined this request; asking the same again will not help."""

    kind = "refused"


def llm_error(failure: ServerError) -> LLMError:
    """Return what a failed request is for whoever asked the model."""
    if failure.kind == "refused":
        return LLMRefused(failure.reason)
    if failure.kind == "invalid_answer":
        return LLMInvalidAnswer(failure.reason)
    return LLMUnavailable(failure.reason, kind=failure.kind, retry_after=failure.retry_after)
