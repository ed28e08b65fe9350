"""What the activation block is worth on a real llama.cpp server, with a model of random weights: in ratios, which say
the same on any machine.

``replay``: 200 turns of made-up talk through the real pipeline; each fourth turn is a question, whose prompt goes to
the server. Beside memsched's way stand others with the same memories: no block, a block written anew at each change of
the working set, and the original's way, which sends a cache of the memories and then the memories once more.
``ttft``: the time to the first token with a head of 1,000 tokens, warmed, restored after a kill, and cold.
``preload``: the same through the scheduler, with ``preload`` before it.
``foreign``: what another's guess of a block hits.
``adapters``: answers of two adapters and of none in turn, compared with those of a server that had cached nothing.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.model_requests import Asked, ModelRequests, chat, with_salt
from benchmarks.talk import Talk
from benchmarks.targets import Results, Target, at_least, at_most
from benchmarks.tiny_gguf import Shape
from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.activation.kept import KeptSlots
from memsched.embedded.teardown import end_servers
from memsched.llm.servers import CacheHint, Caching, Step
from memsched.memory.access.permissions import CubeRef
from memsched.memory_prompt import MemoryPrompt, head_of, hint_of, prompt_of
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL
from memsched.policy.block import ActivationBlock, Member
from memsched.policy.salt import new_salt
from memsched.tiers.hot_state import WorkingMemory

TURNS = 200
_ASKED_EVERY = 4
_FOUND = 5
_USER, _CUBE = "ann", "talk"
_PATIENCE = 300.0
_HEAD_TOKENS = 1_000
_REPEATS = 5
_PRELOADS = 3
_ADAPTED = 80
_WIDE = 32_768
"""Tokens of context: of made-up words each syllable is one or more."""
_SMALL = Shape(context=_WIDE)
_LARGE = Shape(width=512, layers=6, heads=8, kv_heads=4, feed_forward=1024)
WAYS = ("no_block", "rewritten", "twice", "memsched")

TARGETS: dict[str, Target] = {
    "block_reuse": at_least("block_reuse", 0.93, "of the block's tokens"),
    "ttft_warm_cold": at_most("ttft_warm_cold", 0.20, f"of cold, at {_HEAD_TOKENS:,} tokens"),
    "restore_cold": at_most("restore_cold", 0.10, "of cold, after kill -9"),
    "preload_cold": at_most("preload_cold", 0.25, "of cold"),
    "wasted": at_most("wasted", 0.25, "warmed and never used / saved"),
    "foreign_tokens": lambda results: (
        f"<= {results['salt_line_tokens']:g}, the salt line",
        results["foreign_tokens"] <= results["salt_line_tokens"],
    ),
    "wrong_adapter": at_most("wrong_adapter", 0, f"of {_ADAPTED}"),
}


@dataclass(slots=True)
class Way:
    """What the prompts of one way came to.

    Args:
        block, reused: tokens of the blocks, and of these found in the cache; of all but the first prompt.
    """

    asked: list[Asked] = field(default_factory=list)
    block: int = 0
    reused: int = 0

    def add(self, asked: Asked, block_tokens: int) -> None:
        if self.asked:
            self.block += block_tokens
            self.reused += min(asked.cached, block_tokens)
        self.asked.append(asked)


@dataclass(slots=True)
class Warmed:
    """What was computed for warming, in stretches of a head, and not found by a chat so far."""

    waiting: list[tuple[int, int]] = field(default_factory=list)
    wasted: int = 0
    saved: int = 0

    def warm(self, cached: int, tokens: int) -> None:
        """What stands behind ``cached`` is another text now: what waited there is of no use any more."""
        self.wasted += sum(end - max(begin, cached) for begin, end in self.waiting if end > cached)
        kept = [(begin, min(end, cached)) for begin, end in self.waiting if begin < cached]
        self.waiting = [*kept, (cached, tokens)]

    def chat(self, cached: int) -> None:
        self.saved += cached
        self.waiting = [(max(begin, cached), end) for begin, end in self.waiting if end > cached]

    @property
    def ratio(self) -> float:
        """Never used / saved; what waits for a chat when all is over counts as never used."""
        return (self.wasted + sum(end - begin for begin, end in self.waiting)) / self.saved


class ActivationBenchmark:
    """All steps in order."""

    STEPS: tuple[str, ...] = ("replay", "ttft", "preload", "foreign", "adapters")

    def __init__(self, results: Results) -> None:
        self.results = results
        self.talk = Talk()

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        for step in only or self.STEPS:
            print(f"{step} ...", file=sys.stderr, flush=True)
            folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
            try:
                await getattr(self, f"_{step}")(folder)
            finally:
                await asyncio.to_thread(end_servers, folder)
                shutil.rmtree(folder, ignore_errors=True)

    # -- the ways -------------------------------------------------------------------------------------------------

    async def _replay(self, folder: Path) -> None:
        ways, warmed = {name: Way() for name in WAYS}, Warmed()
        salts = {name: new_salt() for name in WAYS}
        async with (
            ModelRequests(folder / "llm", _SMALL, context=_WIDE) as model,
            _scheduler(folder, model) as scheduler,
        ):
            for turn in range(TURNS):
                asks = turn % _ASKED_EVERY == _ASKED_EVERY - 1
                if not asks:
                    await _tell(scheduler, turn, ADD_TASK_LABEL, self.talk.sentence(8))
                    await self._warm(model, scheduler, warmed)
                    continue
                question = self.talk.question()
                prompt = await scheduler.prompt(_USER, _CUBE, question, top_k=_FOUND)
                near = await scheduler.working_set(_USER, _CUBE)
                for name in WAYS:
                    head, messages = _as(name, salts[name], prompt, near, question)
                    asked = await model.ask(replace(prompt.hint, head=head), messages)
                    ways[name].add(asked, await model.tokens_of(head) if head else 0)
                    if name == "memsched":
                        warmed.chat(min(asked.cached, await model.tokens_of(head)))
                await _tell(scheduler, turn, QUERY_TASK_LABEL, question)
                said = (prompt.found[0].item.text if prompt.found else near[0].said) if near else "I do not know."
                await _tell(scheduler, turn, ANSWER_TASK_LABEL, said)
                await self._warm(model, scheduler, warmed)
        self._tell_ways(ways)
        self.results["block_reuse"] = ways["memsched"].reused / ways["memsched"].block
        self.results["wasted"] = warmed.ratio

    async def _warm(self, model: ModelRequests, scheduler: AsyncMemScheduler, warmed: Warmed) -> None:
        """As ``activation_update``: each version of the block once."""
        block = await scheduler.activation(_USER, _CUBE)
        if not block.text or block.version == getattr(self, "_version", None):
            return
        self._version = block.version
        hint = hint_of(block)
        asked = await model.ask(hint, chat(hint.head, "."))
        warmed.warm(asked.cached, await model.tokens_of(hint.head))

    def _tell_ways(self, ways: dict[str, Way]) -> None:
        cold = statistics.fmean(each.computed for each in ways["no_block"].asked[1:])
        for name, way in ways.items():
            asked = way.asked[1:]
            self.results[f"{name}_prompt_tokens"] = statistics.fmean(each.prompt for each in asked)
            self.results[f"{name}_computed_tokens"] = statistics.fmean(each.computed for each in asked)
            self.results[f"{name}_block_reuse"] = way.reused / way.block if way.block else 0.0
            self.results[f"{name}_computed_to_no_block"] = self.results[f"{name}_computed_tokens"] / cold

    # -- the time to the first token --------------------------------------------------------------------------------

    async def _ttft(self, folder: Path) -> None:
        async with ModelRequests(folder / "llm", _LARGE) as model:
            block = await self._block_of(model, _HEAD_TOKENS)
            kept = KeptSlots(model.settings, model.llm)
            cold, warm, restored, reading = [], [], [], []
            for number in range(_REPEATS):
                messages = chat(hint_of(block).head, f"And {number}?")
                cold.append(await _seconds(model, with_salt(hint_of(block), new_salt()), messages))
                hint = hint_of(replace(block, salt=new_salt()))
                await kept.warm(CubeRef(_USER, _CUBE), Caching(hint, Step.ONCE), [], _yes)
                warm.append(await _seconds(model, hint, messages))
                await model.kill()
                begun = time.perf_counter()
                assert await kept.restore(hint)
                reading.append(time.perf_counter() - begun)
                restored.append(reading[-1] + await _seconds(model, hint, messages))
        self.results["cold_seconds"] = statistics.median(cold)
        self.results["restore_alone_seconds"] = statistics.median(reading)
        self.results["ttft_warm_cold"] = statistics.median(warm) / statistics.median(cold)
        self.results["restore_cold"] = statistics.median(restored) / statistics.median(cold)

    async def _preload(self, folder: Path) -> None:
        """Cubes with the same memories: before the first question of one it is said that a talk begins."""
        spent: dict[bool, list[float]] = {True: [], False: []}
        talks = [[self.talk.sentence(8) for _ in range(20)] for _ in range(2)]
        cubes = [f"cube {number}" for number in range(2 * _PRELOADS)]
        async with ModelRequests(folder / "llm", _LARGE, context=8_192) as model:
            async with _scheduler(folder, model) as scheduler:
                for cube in cubes:
                    for sentences in talks:
                        await _tell(scheduler, 0, ADD_TASK_LABEL, sentences, cube)
            async with _scheduler(folder, model, activation_warm="free") as scheduler:
                for number, cube in enumerate(cubes):
                    preloads = number % 2 == 0
                    if preloads:
                        await scheduler.preload(_USER, cube)
                        await scheduler.wait(timeout=_PATIENCE)
                    begun = time.perf_counter()
                    prompt = await scheduler.prompt(_USER, cube, "And?", top_k=_FOUND)
                    await model.ask(prompt.hint, prompt.messages)
                    spent[preloads].append(time.perf_counter() - begun)
        self.results["preload_cold"] = statistics.median(spent[True]) / statistics.median(spent[False])

    async def _block_of(self, model: ModelRequests, tokens: int) -> ActivationBlock:
        """A block whose head has so many tokens."""
        members: list[Member] = []
        while True:
            members.append(Member.of(str(len(members)), self.talk.sentence(8)))
            block = ActivationBlock.of(members, new_salt())
            if await model.tokens_of(head_of(block)) >= tokens:
                return block

    # -- what nobody may hit ----------------------------------------------------------------------------------------

    async def _foreign(self, folder: Path) -> None:
        """Somebody guesses a whole block right, with the salt of their own; and as it would be without salts."""
        async with ModelRequests(folder / "llm", _SMALL) as model:
            block = await self._block_of(model, _HEAD_TOKENS)
            hint, question = hint_of(block), "What is it?"
            await model.ask(hint, chat(hint.head, question))
            guess = with_salt(hint, new_salt())
            found = await model.ask(guess, chat(guess.head, question))
            bare = with_salt(hint, "")
            await model.ask(bare, chat(bare.head, question))
            guessed = await model.ask(bare, chat(bare.head, "Which one is it?"))
            line = f"<|start|>system\n{block.salt}\n"
            self.results["salt_line_tokens"] = await model.tokens_of(line)
        self.results["foreign_tokens"] = found.cached
        self.results["foreign_tokens_without_salt"] = guessed.cached

    async def _adapters(self, folder: Path) -> None:
        """Requests that name their adapter, or none aloud; and how it is when those without one say nothing."""
        for name in ("wrong_adapter", "wrong_adapter_unnamed"):
            async with ModelRequests(folder / name, _SMALL, slots=2, adapters=2) as model:
                self.results[name] = await self._wrong(model, named=name == "wrong_adapter")

    async def _wrong(self, model: ModelRequests, *, named: bool) -> int:
        chance = random.Random(1)
        blocks = [
            ActivationBlock.of([Member.of(str(number), self.talk.sentence(8)) for number in range(8)], new_salt())
            for _ in range(3)
        ]
        hints = [hint_of(block, adapter) for block in blocks for adapter in (None, "adapter-0", "adapter-1")]
        if not named:  # nothing tells adapters apart, then: not the salt either
            hints = [replace(hint, head=hints[number // 3 * 3].head) for number, hint in enumerate(hints)]
        right = [await self._said(model, each, cache=False, named=True) for each in hints]
        wrong = 0
        for _ in range(_ADAPTED):
            number = chance.randrange(len(hints))
            wrong += (await self._said(model, hints[number], cache=True, named=named)).differs_from(right[number])
        return wrong

    @staticmethod
    async def _said(model: ModelRequests, hint: CacheHint, *, cache: bool, named: bool) -> Asked:
        messages = chat(hint.head, "And then?")
        if named or hint.adapter is not None:
            return await model.ask(hint, messages, cache=cache)
        return await model.send({"messages": messages})


def _as(
    name: str, salt: str, prompt: MemoryPrompt, near: Sequence[WorkingMemory], question: str
) -> tuple[str, list[Any]]:
    """The head that shall be cached, and the prompt, in one of the ways."""
    if name == "memsched":
        return prompt.head, list(prompt.messages)
    nothing = ActivationBlock.of([], salt)
    block = ActivationBlock.of([Member.of(each.memory_id, each.said) for each in near], salt)
    without = prompt_of(nothing, near, prompt.found, question, None, datetime.now(UTC).date())
    if name == "no_block":
        return "", list(without.messages)
    if name == "twice":
        return head_of(block), chat(f"{head_of(block)}{without.text}", question)
    after = prompt_of(block, near, prompt.found, question, None, datetime.now(UTC).date())
    return head_of(block), list(after.messages)


@asynccontextmanager
async def _scheduler(folder: Path, model: ModelRequests, **given: Any) -> AsyncIterator[AsyncMemScheduler]:
    """One with workers; its model is the real server's, and does nothing but what a test of warming asks."""
    of_model = {
        "llm_base_url": model.settings.llm_base_url,
        "llm_model": model.settings.llm_model,
        "llm_context_tokens": model.settings.llm_context_tokens,
        "llm_concurrency": model.settings.llm_concurrency,
        "llm_budget_seconds": model.settings.llm_budget_seconds,
        "activation_interval_seconds": 0,
    }
    settings = {"activation_warm": "never", **given, **(of_model if given else {})}
    async with AsyncMemScheduler(redis_url=f"embedded://{folder}", log_level="error", **settings) as scheduler:
        await scheduler.start()
        yield scheduler


async def _tell(
    scheduler: AsyncMemScheduler, turn: int, label: str, said: str | Sequence[str], cube: str = _CUBE
) -> None:
    """One message; what is to be remembered may be many turns."""
    told: dict[str, Any] = {"content": said}
    if label == ADD_TASK_LABEL:
        turns = [said] if isinstance(said, str) else said
        told = {"content": "", "chat_history": [{"speaker": "Anna", "content": each} for each in turns]}
    message = ScheduleMessageItem(
        user_id=_USER, mem_cube_id=cube, label=label, session_id=f"session {turn // 50}", **told
    )
    await scheduler.submit_messages(message)
    await scheduler.wait(user_id=_USER, timeout=_PATIENCE)


async def _seconds(model: ModelRequests, hint: CacheHint, messages: Sequence[Any]) -> float:
    shown = [{**messages[0], "content": hint.head}, *messages[1:]]
    return (await model.ask(hint, shown)).seconds


async def _yes() -> bool:
    return True
