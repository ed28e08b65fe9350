"""A gateway to models of several services, which passes marks on: OpenRouter, LiteLLM and their like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.llm.servers.base import CacheHint, Dialect, Step

_LEAST: Mapping[str, int] = {
    "haiku-3": 2048,
    "haiku-4": 4096,
    "opus-4.5": 4096,
    "opus-4-5": 4096,
    "opus-4.6": 4096,
    "opus-4-6": 4096,
    "gemini-2.5-pro": 4096,
}
"""By a part of a model's name, the least tokens that are cached; else ``least_tokens``."""


class Gateway(Dialect):
    """Some of the models behind it cache only what is marked; those that need no mark pass it over."""

    name = "gateway"
    sends = "the head of the prompt, for one token; cache_control at its end; prompt_cache_key"
    proof = ("usage.prompt_tokens_details.cached_tokens", "usage.cache_read_input_tokens")
    writes = ("usage.prompt_tokens_details.cache_write_tokens", "usage.cache_creation_input_tokens")
    least_tokens = 1024
    unit = 128

    def first_step(self, _model: str) -> Step:
        return Step.MARK

    def least(self, model: str) -> int:
        name = model.casefold()
        return next((tokens for part, tokens in _LEAST.items() if part in name), self.least_tokens)

    def fields(self, hint: CacheHint) -> dict[str, Any]:
        return {"prompt_cache_key": hint.key}

    def mark(self) -> dict[str, Any]:
        return {"cache_control": {"type": "ephemeral"}}
