"""Requests to a real llama.cpp server with a model of random weights, and what it says of its cache."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from benchmarks.tiny_gguf import Shape, write_adapter, write_model
from memsched.embedded.model_server import ensure_model_server, model_server_pid, release_model_server
from memsched.llm.client import LLM
from memsched.llm.prompts import Message
from memsched.llm.servers import DIALECTS, CacheHint, Step
from memsched.settings import Settings

MODEL = "random.gguf"
_ONE_TOKEN = {
    "max_tokens": 1,
    "temperature": 0,
    "ignore_eos": True,
    "logprobs": True,
    "top_logprobs": 20,
    "grammar": "root ::= [a-z ]+",  # half a letter has no odds
}
_FAR = 0.25
"""Between the odds of one model there were 0.05, between those of two 0.8."""
_DIALECT = DIALECTS["llama_cpp"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Args:
        seconds: until its last token was here; with one token, the time to the first.
        prompt, cached: tokens.
        odds: of what it might have begun with, as logarithms.
    """

    seconds: float
    prompt: int
    cached: int
    odds: Mapping[str, float]

    @property
    def computed(self) -> int:
        return self.prompt - self.cached

    def differs_from(self, other: Asked) -> bool:
        """Whether another model said this. One model's odds differ a little by what it read at once and what before."""
        common = self.odds.keys() & other.odds.keys()
        far = any(abs(self.odds[each] - other.odds[each]) > _FAR for each in common)
        return far or 2 * len(common) < len(other.odds)


class ModelRequests:
    """A server of our own in a folder, and a client of it. Use as a context manager.

    Args:
        slots: how many calls the server works on at once.
        context: tokens of each of these.
        adapters: how many LoRA adapters it has.
    """

    def __init__(self, folder: Path, shape: Shape, *, slots: int = 4, context: int = 4_096, adapters: int = 0) -> None:
        self.folder = folder
        self._slots = slots
        self._context = context
        self._adapters = adapters
        self._shape = shape
        self.settings = Settings.load(
            redis_url="memory://benchmark",
            llm_base_url=f"embedded://{folder}",
            llm_model=MODEL,
            llm_context_tokens=context,
            llm_concurrency=slots,
            llm_budget_seconds=300,
            log_level="error",
        )

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_model(self.folder / MODEL, self._shape)
        server = await asyncio.to_thread(self._ensure)
        if self._adapters:
            for number in range(self._adapters):
                write_adapter(server.adapters / f"adapter-{number}.gguf", self._shape, seed=number + 1)
            await self.kill()
        llm = LLM.from_settings(self.settings)
        assert llm is not None
        self.llm = llm
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.llm.aclose()
        await asyncio.to_thread(release_model_server, self.folder, MODEL)

    async def kill(self) -> None:
        """SIGKILL, then wait until its watchdog has started it again."""
        pid = await asyncio.to_thread(model_server_pid, self.folder, MODEL)
        assert pid is not None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while await asyncio.to_thread(model_server_pid, self.folder, MODEL) in (pid, None):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self._ensure)

    async def ask(self, hint: CacheHint, messages: Sequence[Message], *, cache: bool = True) -> Asked:
        """One chat, as memsched asks it, for one token.

        Args:
            cache: False reads all of the prompt.
        """
        if hint.adapter is not None:
            hint = replace(hint, adapter=await _DIALECT.called(hint.adapter, self.llm.manage))
        shaped = _DIALECT.shape({"messages": list(messages)}, hint, Step.ONCE)
        return await self.send({**shaped, "cache_prompt": cache})

    async def send(self, body: Any) -> Asked:
        """A request as it is."""
        begun = time.perf_counter()
        answer = await self.llm.manage("POST", "/v1/chat/completions", {**_ONE_TOKEN, **body})
        seconds = time.perf_counter() - begun
        cached = int(answer["timings"]["cache_n"])
        prompt = int(answer["usage"]["prompt_tokens"])
        first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return Asked(seconds, prompt, cached, {str(each["bytes"]): float(each["logprob"]) for each in first})

    async def tokens_of(self, text: str) -> int:
        """How many tokens a text has."""
        told = await self.llm.manage("POST", "/tokenize", {"content": text, "add_special": False})
        return len(told["tokens"])

    def _ensure(self) -> Any:
        return ensure_model_server(self.folder, MODEL, context=self._context, slots=self._slots, timeout_seconds=60)


def with_salt(hint: CacheHint, salt: str) -> CacheHint:
    """The same head behind another salt."""
    return replace(hint, head=f"{salt}\n{hint.head.partition(chr(10))[2]}")


def chat(head: str, question: str) -> list[Message]:
    """The messages of a chat with this head."""
    return [{"role": "system", "content": head}, {"role": "user", "content": question}]
