"""DeepSeek's own service: prefixes on disk, each of which is hit as a whole or not at all."""

from __future__ import annotations

from memsched.llm.servers.base import Dialect, Step


class DeepSeek(Dialect):
    """A prefix is where a request ended, or what requests had in common: one that warms alone can never be hit."""

    name = "deepseek"
    sends = "the head of the prompt with two different endings, for one token each"
    proof = ("usage.prompt_cache_hit_tokens", "usage.prompt_tokens_details.cached_tokens")
    least_tokens = 64
    unit = 64

    def first_step(self, _model: str) -> Step:
        return Step.TWICE
