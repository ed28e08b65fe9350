"""A model server's prefix cache: blocks of 16 tokens, each known by the hash of itself and of all before it.

So do vLLM and its like: what a prompt has in common with earlier ones counts from its first token, in whole blocks.
"""

from __future__ import annotations

import hashlib
import json
import re

from support.llm import Asked, Reply

BLOCK_TOKENS = 16
_TOKEN = re.compile(r"\w{1,4}|\s+|[^\w\s]")


class PrefixCache:
    """``FakeLLM(PrefixCache())``: every answer tells how many tokens of its prompt were cached.

    Attributes:
        cached: these numbers, by the last words of the prompt.
    """

    def __init__(self) -> None:
        self.cached: dict[str, int] = {}
        self._known: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        tokens = _TOKEN.findall(_as_template(asked))
        blocks = _chained(tokens)
        cached = next((number for number, block in enumerate(blocks) if block not in self._known), len(blocks))
        self._known.update(blocks)
        self.cached[asked.body["messages"][-1]["content"]] = cached * BLOCK_TOKENS
        usage = {
            "prompt_tokens": len(tokens),
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": cached * BLOCK_TOKENS},
        }
        if asked.body.get("max_tokens") == 1:
            return Reply("", usage=usage, finish="length")
        return Reply('{"memories": []}' if "response_format" in asked.body else "ok", usage=usage)


def tokens_of(text: str) -> int:
    """How many tokens the server counts in a text."""
    return len(_TOKEN.findall(text))


def _as_template(asked: Asked) -> str:
    return "".join(f"[{each['role']}] {each['content']}\n" for each in asked.body["messages"])


def _chained(tokens: list[str]) -> list[str]:
    found, before = [], ""
    for at in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = json.dumps([before, *tokens[at : at + BLOCK_TOKENS]])
        before = hashlib.sha256(block.encode()).hexdigest()
        found.append(before)
    return found
