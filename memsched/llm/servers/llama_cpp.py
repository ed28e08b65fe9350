"""llama.cpp's own server (``llama-server``): a few slots, each with the cache of what it computed last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from memsched.llm.servers.base import Ask, CacheHint, Dialect

NO_ADAPTER: Sequence[Mapping[str, Any]] = [{"id": 0, "scale": 0.0}]
"""How a request names none. An empty list counts as not said: then it goes on where the last adapter of its slot did.
Of 80 answers 22 were wrong with it, and none with this. A server without adapters takes this too.
"""


class LlamaCpp(Dialect):
    """The longest prefix that a slot holds is used, to the token.

    It does not tell adapters apart in its caches, and a request that names none may go on where an adapter began. So
    each names its adapter or none, and the salt line, with which each prompt begins, is another for each adapter.
    """

    name = "llama_cpp"
    sends = (
        "the head of the prompt, for one token; cache_prompt, lora (one adapter, or the first without weight), id_slot "
        "where one is saved"
    )
    proof = ("timings.cache_n", "usage.prompt_tokens_details.cached_tokens")
    slots = True
    adapters: ClassVar[Literal["none", "by_model", "per_request"]] = "per_request"

    async def called(self, name: str, ask: Ask) -> str | None:
        """The number that it gave the file of this name when it started."""
        listed = await ask("GET", "/lora-adapters")
        for each in listed if isinstance(listed, list) else ():
            if PurePath(str(each.get("path", ""))).stem == name:
                return str(each["id"])
        return None

    def plain(self) -> dict[str, Any]:
        return {"lora": NO_ADAPTER}

    def fields(self, hint: CacheHint) -> dict[str, Any]:
        lora = NO_ADAPTER if hint.adapter is None else [{"id": int(hint.adapter), "scale": 1.0}]
        slot = {} if hint.slot is None else {"id_slot": hint.slot}
        return {"cache_prompt": True, "lora": lora, **slot}
