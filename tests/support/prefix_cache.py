"""A model server's prefix cache, by three rules of where a cached prefix may end; servers differ in that.

``Blocks``: whole blocks of 16 tokens, each known by the hash of itself and of all before it (vLLM and its like).
``Boundaries``: exactly where a request said so, where it ended, or what requests had in common.
``Slots``: a few slots, each with the tokens that it computed last (llama.cpp).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Protocol

from support.llm import Asked, Reply, fails, text_of

BLOCK_TOKENS = 16
_ALIKE = 0.1
"""Of a prompt, what a slot must hold of it to be taken for that."""
MARKS = ("prompt_cache_breakpoint", "cache_control")
_TOKEN = re.compile(r"\w{1,4}|\s+|[^\w\s]")


class Rule(Protocol):
    """What a cache has of a prompt; from then on it has what the rule keeps of it."""

    def read(self, tokens: Sequence[str], marks: Sequence[int]) -> int: ...
    def forget(self) -> None: ...


class Blocks:
    """Any number of whole blocks from the first token on."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def read(self, tokens: Sequence[str], _marks: Sequence[int]) -> int:
        blocks = _chained(tokens)
        cached = next((number for number, block in enumerate(blocks) if block not in self._known), len(blocks))
        self._known.update(blocks)
        return cached * BLOCK_TOKENS

    def forget(self) -> None:
        self._known.clear()


class Boundaries:
    """Whole prefixes: what was marked, where a request ended, and what several requests had in common.

    Args:
        common: of so many requests; 0: it does not look for that.
    """

    def __init__(self, common: int = 0) -> None:
        self._common = common
        self._ends: set[tuple[str, ...]] = set()
        self._seen: list[tuple[str, ...]] = []

    def read(self, tokens: Sequence[str], marks: Sequence[int]) -> int:
        whole = tuple(tokens)
        cached = max((len(end) for end in self._ends if whole[: len(end)] == end), default=0)
        alike = [_in_common(whole, before) for before in self._seen]
        for length in {each for each in alike if self._common and each}:
            if sum(each >= length for each in alike) >= self._common - 1:
                self._ends.add(whole[:length])
        self._seen.append(whole)
        self._ends.update((whole, *(whole[:mark] for mark in marks)))
        return cached

    def forget(self) -> None:
        self._ends.clear()
        self._seen.clear()


class Slots:
    """The longest prefix, to the token, that one of the slots holds; the one used longest ago is overwritten."""

    def __init__(self, count: int = 4) -> None:
        self._count = count
        self._slots: OrderedDict[int, Sequence[str]] = OrderedDict()

    def read(self, tokens: Sequence[str], _marks: Sequence[int]) -> int:
        alike = {number: _in_common(tokens, held) for number, held in self._slots.items()}
        best = max(alike, key=lambda number: alike[number], default=0)
        if not alike or alike[best] < _ALIKE * len(tokens):
            best = len(alike) if len(alike) < self._count else next(iter(self._slots))
        cached = alike.get(best, 0)
        self._slots[best] = tokens
        self._slots.move_to_end(best)
        return cached

    def forget(self) -> None:
        self._slots.clear()


class PrefixCache:
    """``FakeLLM(PrefixCache())``: every answer tells how many tokens of its prompt were cached.

    Args:
        tells: where: "details", "hit_tokens", "timings"; "null": where others do, but nothing; "": nowhere.
        knows: fields of a request that keep caches apart (``cache_salt``, ``lora``, ``model``, ...).
        refuses: fields that it answers with 400, and names.
        least: shorter prompts are not cached.
        heeds_marks: else it takes them, and does nothing with them.

    Attributes:
        cached: these numbers, by the last words of the prompt.
    """

    def __init__(
        self,
        rule: Rule | None = None,
        *,
        tells: str = "details",
        knows: Sequence[str] = (),
        refuses: Sequence[str] = (),
        least: int = 0,
        heeds_marks: bool = True,
    ) -> None:
        self.cached: dict[str, int] = {}
        self.rule = rule or Blocks()
        self._tells = tells
        self._knows = knows
        self._refuses = refuses
        self._least = least
        self._heeds_marks = heeds_marks

    def forget(self) -> None:
        """What was cached is no more: the server began anew, or it was too long ago."""
        self.rule.forget()

    def __call__(self, asked: Asked) -> Reply:
        said = json.dumps(asked.body)
        if refused := next((name for name in self._refuses if f'"{name}":' in said), None):
            return fails(400, f"Unrecognized request argument supplied: {refused}")
        tokens, marks = _tokens_of(asked)
        marks = marks if self._heeds_marks else []
        apart = [json.dumps([name, asked.body[name]]) for name in self._knows if name in asked.body]
        cached = 0
        if len(tokens) >= self._least:
            cached = self.rule.read([*apart, *tokens], [len(apart) + mark for mark in marks])
        cached = max(0, cached - len(apart))
        self.cached[text_of(asked.body["messages"][-1]["content"])] = cached
        usage, timings = self._told(len(tokens), cached)
        if asked.body.get("max_tokens") == 1:
            return Reply("", usage=usage, timings=timings, finish="length")
        text = '{"memories": []}' if "response_format" in asked.body else "ok"
        return Reply(text, usage=usage, timings=timings)

    def _told(self, tokens: int, cached: int) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        usage: dict[str, Any] = {"prompt_tokens": tokens, "completion_tokens": 1}
        if self._tells in ("details", "null"):
            usage["prompt_tokens_details"] = {"cached_tokens": cached} if self._tells == "details" else None
        elif self._tells == "hit_tokens":
            usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": tokens - cached}
        return usage, {"cache_n": cached, "prompt_n": tokens - cached} if self._tells == "timings" else None


def tokens_of(text: str) -> int:
    """How many tokens the server counts in a text."""
    return len(_TOKEN.findall(text))


def _tokens_of(asked: Asked) -> tuple[list[str], list[int]]:
    """The prompt as the model reads it, and after how many tokens a part of it is marked."""
    tokens: list[str] = []
    marks: list[int] = []
    for each in asked.body["messages"]:
        parts = each["content"] if isinstance(each["content"], list) else [{"text": each["content"]}]
        tokens += _TOKEN.findall(f"[{each['role']}] ")
        for part in parts:
            tokens += _TOKEN.findall(part["text"])
            if any(mark in part for mark in MARKS):
                marks.append(len(tokens))
        tokens += _TOKEN.findall("\n")
    return tokens, marks


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _chained(tokens: Sequence[str]) -> list[str]:
    found, before = [], ""
    for at in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = json.dumps([before, *tokens[at : at + BLOCK_TOKENS]])
        before = hashlib.sha256(block.encode()).hexdigest()
        found.append(before)
    return found
