"""SGLang: a tree of all prefixes, to the token, apart by adapter and by salt."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from memsched.llm.servers.base import CacheHint, Dialect


class Sglang(Dialect):
    """What it had is told if it runs with ``--enable-cache-report`` and had any; else it is unknown."""

    name = "sglang"
    sends = "the head of the prompt, for one token; cache_salt, lora_path (the adapter or null)"
    unproven = "unknown (it runs without --enable-cache-report, or had nothing): it is warmed all the same"
    adapters: ClassVar[Literal["none", "by_model", "per_request"]] = "per_request"

    def plain(self) -> dict[str, Any]:
        return {"lora_path": None}

    def fields(self, hint: CacheHint) -> dict[str, Any]:
        return {"cache_salt": hint.salt, "lora_path": hint.adapter}
