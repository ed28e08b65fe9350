"""vLLM: prefixes in whole blocks of tokens, each known by the hash of all before it, of the adapter and of a salt."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from memsched.llm.servers.base import CacheHint, Dialect


class Vllm(Dialect):
    """What it had is told only if it runs with ``--enable-prompt-tokens-details``; else it is unknown."""

    name = "vllm"
    sends = "the head of the prompt, for one token; cache_salt"
    unproven = "unknown (it runs without --enable-prompt-tokens-details): it is warmed all the same"
    least_tokens = 16
    unit = 16
    adapters: ClassVar[Literal["none", "by_model", "per_request"]] = "by_model"

    def fields(self, hint: CacheHint) -> dict[str, Any]:
        return {"cache_salt": hint.salt}
