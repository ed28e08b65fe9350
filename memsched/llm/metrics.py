"""Metrics of a language model: calls, failures, fallbacks, tokens, cost, latency."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from memsched.counting import counted
from memsched.llm.errors import LLMError


@dataclass(slots=True)
class Counters:
    """Counters since the start of one client. All label values (task, kind, reason) are from small fixed sets.

    Args:
        input_price: of a million tokens, in any currency.
        output_price: the same.
    """

    input_price: float = 0.0
    output_price: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    """By task: what callers asked for, answered or not."""
    failures: Counter[str] = field(default_factory=Counter)
    """By kind (memsched.llm.errors.FailureKind): calls that ended in an error."""
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By task and reason: local forms used instead."""
    rejections: Counter[str] = field(default_factory=Counter)
    """By reason: extracted memories that the conversation does not support."""
    requests: int = 0
    """Sent to the server, repetitions included."""
    retries: int = 0
    """Repetitions: after a failure, or because an answer did not fit."""
    truncated: int = 0
    """Answers that reached max_tokens."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that the server had in its prefix cache, where it told so."""
    cached_of_tokens: int = 0
    """Input tokens of the answers where it told how many it had."""
    estimated: int = 0
    """Answers whose tokens the server did not tell."""
    latency_seconds: float = 0.0
    """Sum over all requests, failed ones included."""

    @property
    def cost(self) -> float:
        return (self.input_tokens * self.input_price + self.output_tokens * self.output_price) / 1_000_000

    def fell_back(self, task: str, reason: str | LLMError) -> None:
        """Count that a caller used its local form.

        Args:
            reason: the error, or one of a few fixed words.
        """
        self.fallbacks[task, reason.kind if isinstance(reason, LLMError) else reason] += 1

    def used_tokens(self, input_tokens: int, output_tokens: int, *, cached: int | None, estimated: bool) -> None:
        """Count one answer.

        Args:
            cached: of the input tokens; None: nobody knows, which is not 0.
        """
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.estimated += estimated
        if cached is None:
            counted["tokens:unknown"] += input_tokens
            return
        self.cached_tokens += cached
        self.cached_of_tokens += input_tokens
        counted["tokens:yes"] += cached
        counted["tokens:no"] += max(0, input_tokens - cached)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, nested by label, fit for JSON."""
        fallbacks: dict[str, dict[str, int]] = {}
        for (task, reason), count in self.fallbacks.items():
            fallbacks.setdefault(task, {})[reason] = count
        return {
            "calls": dict(self.calls),
            "failures": dict(self.failures),
            "fallbacks": fallbacks,
            "rejections": dict(self.rejections),
            "requests": self.requests,
            "retries": self.retries,
            "truncated": self.truncated,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cached_of_tokens": self.cached_of_tokens,
            "estimated": self.estimated,
            "cost": self.cost,
            "latency_seconds": self.latency_seconds,
        }
