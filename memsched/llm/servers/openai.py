"""OpenAI's own service. Its models from GPT-5.6 on hit a prefix only exactly where an earlier request was marked."""

from __future__ import annotations

import re
from typing import Any

from memsched.llm.servers.base import CacheHint, Dialect, Step

_WITHOUT_MARKS = re.compile(r"^(?:chatgpt|gpt-3|gpt-4|gpt-5(?!\.(?:[6-9]|\d\d))|o\d)")
"""Names of models that know no marks, and find the longest prefix themselves."""


class OpenAI(Dialect):
    """Requests with the same key are sent to the same machines; a request that warms costs what any other costs."""

    name = "openai"
    sends = "the head of the prompt, for one token; prompt_cache_key; prompt_cache_breakpoint (from GPT-5.6 on)"
    writes = ("usage.prompt_tokens_details.cache_write_tokens",)
    least_tokens = 1024
    unit = 128

    def first_step(self, model: str) -> Step:
        return Step.ONCE if _WITHOUT_MARKS.match(model.rpartition("/")[2]) else Step.MARK

    def fields(self, hint: CacheHint) -> dict[str, Any]:
        return {"prompt_cache_key": hint.key}

    def mark(self) -> dict[str, Any]:
        return {"prompt_cache_breakpoint": {"mode": "explicit"}}
