"""Heads of prompts against stand-ins of model servers: is a head found that was warmed, and what follows if not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from support.llm import FakeLLM
from support.prefix_cache import Blocks, Boundaries, PrefixCache, Slots, tokens_of

from memsched import Settings
from memsched.activation.chats import CachedChats, hash_of
from memsched.activation.kept import KeptSlots
from memsched.activation.ladder import MISSES, Ladder
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.llm.client import LLM
from memsched.llm.servers import Caching, Step
from memsched.memory.access.permissions import CubeRef
from memsched.memory_prompt import MemoryPrompt, hint_of, prompt_of
from memsched.policy.block import ActivationBlock, Member
from memsched.policy.salt import new_salt
from memsched.queue.events import newest_events
from memsched.tiers.hot_state import NOTHING_SENT, HotState, HotStates, Sent

pytestmark = pytest.mark.timeout(20)
FACTS = [f"Plant number {number} is called {number * 7919}, and stands in room {number % 7}." for number in range(60)]
_EDGE = 24
"""Tokens before the salt line's end, and in a block of the cache that is not full."""


@dataclass
class Cube:
    """A cube whose block holds these facts."""

    name: str = "home"
    salt: str = field(default_factory=new_salt)
    sent: Sent = NOTHING_SENT

    @property
    def block(self) -> ActivationBlock:
        return ActivationBlock.of([Member.of(str(number), said) for number, said in enumerate(FACTS)], self.salt)

    def prompt(self, question: str, adapter: str | None = None) -> MemoryPrompt:
        return prompt_of(self.block, [], [], question, None, date(2026, 3, 2), adapter=adapter, sent=self.sent)


class Talk:
    """Chats about cubes with one server."""

    def __init__(self, llm: LLM, chats: CachedChats, ladder: Ladder) -> None:
        self.llm = llm
        self._chats = chats
        self._ladder = ladder
        self._number = 0

    async def step(self) -> Step:
        first = (await self.llm.dialect()).first_step(self.llm.model)
        return (await self._ladder.rung(self.llm.place, first)).step

    async def warm(self, cube: Cube, adapter: str | None = None) -> Caching:
        caching = Caching(hint_of(cube.block, adapter), await self.step())
        await self.llm.warm(caching)
        head, tokens = hash_of(caching.hint.head), caching.prompt_tokens or 0
        at = 4_000_000_000_000  # never too long ago
        cube.sent = Sent(version="v", at=at, head=head, tokens=tokens, step=caching.step.value)
        return caching

    async def chat(self, cube: Cube, adapter: str | None = None) -> Caching:
        self._number += 1
        prompt = cube.prompt(f"Question number {self._number}?", adapter)
        caching = await self._chats.caching(self.llm, prompt)
        await self.llm.complete(prompt.messages, task="chat", max_tokens=50, caching=caching)
        await self._chats.answered(self.llm, prompt, caching, CubeRef("alice", cube.name))
        return caching


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield server
    await server.aclose()


@pytest.fixture
async def talk_to(server: Server) -> AsyncIterator[Callable[..., Any]]:
    """Makes a Talk with a stand-in, and what it was asked."""
    made: list[tuple[LLM, FakeLLM]] = []

    def talk(kind: str, cache: PrefixCache, model: str = "m") -> tuple[Talk, FakeLLM]:
        fake = FakeLLM(cache, warm=cache).__enter__()
        settings = Settings.load(llm_model=model, llm_base_url=fake.url, llm_server=kind)
        llm = LLM(settings)
        made.append((llm, fake))
        passing = iter(range(0, 1_000_000, 3600)).__next__
        return Talk(llm, CachedChats(settings, server, Keys()), Ladder(server, Keys(), lambda: float(passing()))), fake

    yield talk
    for llm, fake in made:
        await llm.aclose()
        fake.__exit__(None, None, None)


SERVERS = [
    pytest.param("generic", lambda: PrefixCache(), "m", id="generic"),
    pytest.param("llama_cpp", lambda: PrefixCache(Slots(), tells="timings"), "m", id="llama_cpp"),
    pytest.param("vllm", lambda: PrefixCache(Blocks(), knows=["cache_salt", "model"]), "m", id="vllm"),
    pytest.param("sglang", lambda: PrefixCache(Slots(9), knows=["cache_salt", "lora_path"]), "m", id="sglang"),
    pytest.param("openai", lambda: PrefixCache(Boundaries(), least=1024), "gpt-5.6", id="openai with marks"),
    pytest.param("openai", lambda: PrefixCache(Blocks(), least=1024), "gpt-4o", id="openai without"),
    pytest.param("deepseek", lambda: PrefixCache(Boundaries(2), tells="hit_tokens"), "m", id="deepseek"),
    pytest.param("gateway", lambda: PrefixCache(Boundaries(), least=1024), "sonnet", id="gateway"),
]


@pytest.mark.parametrize(("kind", "cache", "model"), SERVERS)
async def test_the_first_chat_finds_what_was_warmed_as_this_server_caches(
    talk_to: Callable[..., Any], kind: str, cache: Callable[[], PrefixCache], model: str
) -> None:
    talk, _ = talk_to(kind, cache(), model)
    cube = Cube()
    first = await talk.step()

    await talk.warm(cube)
    chats = [await talk.chat(cube) for _ in range(MISSES + 1)]

    head = tokens_of(hint_of(cube.block).head)
    assert all(chat.use.cached is not None and chat.use.cached >= head - _EDGE for chat in chats)
    assert await talk.step() is first


async def test_a_streamed_chat_tells_what_was_cached_too(talk_to: Callable[..., Any]) -> None:
    talk, _ = talk_to("llama_cpp", PrefixCache(Slots(), tells="timings"))
    await talk.warm(cube := Cube())
    prompt = cube.prompt("Which plant is the first?")
    caching = Caching(prompt.hint, Step.ONCE)

    said = "".join([piece async for piece in talk.llm.stream(prompt.messages, task="chat", caching=caching)])

    assert said == "ok"
    assert (caching.use.cached or 0) >= tokens_of(prompt.head) - _EDGE
    assert caching.prompt_tokens == tokens_of(f"[system] {prompt.text}\n[user] Which plant is the first?\n")


@pytest.mark.parametrize(("kind", "cache", "model"), SERVERS)
async def test_who_guesses_what_another_cube_knows_hits_no_more_than_the_salt_line(
    talk_to: Callable[..., Any], kind: str, cache: Callable[[], PrefixCache], model: str
) -> None:
    talk, _ = talk_to(kind, cache(), model)
    own, foreign = Cube("own"), Cube("foreign")

    await talk.warm(own)
    await talk.chat(own)
    guess = await talk.warm(foreign)
    asked = await talk.chat(Cube("another"))

    assert guess.use.cached is not None
    assert guess.use.cached <= _EDGE
    assert asked.use.cached is not None
    assert asked.use.cached <= _EDGE


@pytest.mark.parametrize("rule", [Blocks, lambda: Boundaries(2), Slots], ids=["blocks", "boundaries", "slots"])
async def test_a_cache_that_tells_no_adapters_apart_gives_none_the_others(
    talk_to: Callable[..., Any], rule: Callable[[], Any]
) -> None:
    talk, fake = talk_to("llama_cpp", PrefixCache(rule(), tells="timings"))
    fake.beside = {"/lora-adapters": [{"id": id_, "path": f"/x/{name}.gguf"} for id_, name in enumerate("abc")]}
    cube = Cube()

    used = []
    for adapter in (None, "a", None, "b", "a"):
        await talk.warm(cube, adapter)
        used.append(await talk.chat(cube, adapter))
    heads = {each.hint.head.partition("\n")[0] for each in used}

    assert len(heads) == 3
    assert all(f"{cube.block.text}" in each.hint.head for each in used)
    fresh = await talk.warm(cube, "c")
    assert (fresh.use.cached or 0) <= _EDGE


@pytest.mark.parametrize(
    ("kind", "model", "common", "steps"),
    [
        ("generic", "m", 2, [Step.ONCE, Step.TWICE]),
        ("generic", "m", 3, [Step.ONCE, Step.TWICE, Step.THRICE]),
        ("generic", "m", 0, [Step.ONCE, Step.TWICE, Step.THRICE, Step.OFF]),
        ("gateway", "m", 0, [Step.MARK, Step.ONCE, Step.TWICE, Step.THRICE, Step.OFF]),
    ],
    ids=["twice", "thrice", "off", "off after a mark"],
)
async def test_a_server_that_did_not_keep_it_is_warmed_in_the_next_way(
    talk_to: Callable[..., Any], server: Server, kind: str, model: str, common: int, steps: list[Step]
) -> None:
    cache = PrefixCache(Boundaries(common), heeds_marks=False)
    talk, fake = talk_to(kind, cache, model)

    seen = [await talk.step()]
    for number in range(len(steps) * MISSES):
        cube = Cube(salt=f"{number:016d}")  # its head changes before each chat, so that no chat warms the next one
        await talk.warm(cube)
        await talk.chat(cube)
        if (step := await talk.step()) is not seen[-1]:
            seen.append(step)

    assert seen == steps
    events = await server.call(newest_events(Keys().events, 100))
    told = [each.metadata for each in events if isinstance(each.metadata, dict)]
    assert [each["after"] for each in told] == [each.value for each in steps[1:]]
    assert all("3 chats in a row found" in each.log_content for each in events)
    assert max(told[0]["cached"]) <= _EDGE
    if steps[-1] is Step.OFF:
        warmed = len(fake.warmed)
        await talk.warm(Cube())
        assert len(fake.warmed) == warmed
        left = await server.execute("PTTL", Keys().ladder(talk.llm.place))
        assert 0 < left <= 24 * 3600 * 1000, "after a day it begins anew"
        await server.execute("DEL", Keys().ladder(talk.llm.place))
        assert await talk.step() is steps[0]


async def test_a_mark_that_a_server_does_not_know_is_left_out_and_the_ladder_goes_on(
    talk_to: Callable[..., Any],
) -> None:
    cache = PrefixCache(Boundaries(2), refuses=["prompt_cache_breakpoint"])
    talk, fake = talk_to("openai", cache, "gpt-9")

    assert await talk.step() is Step.MARK
    for number in range(2 * MISSES):
        cube = Cube(salt=f"{number:016d}")
        await talk.warm(cube)
        await talk.chat(cube)

    refused = [each for each in (*fake.warmed, *fake.asked) if isinstance(each.body["messages"][0]["content"], list)]
    assert len(refused) == 1, "it is learnt once"
    assert all("prompt_cache_key" in each.body for each in fake.asked)
    assert await talk.step() is Step.TWICE
    await talk.warm(cube := Cube())
    hit = await talk.chat(cube)
    assert hit.use.cached == tokens_of(f"[system] {hit.hint.head}")


@pytest.mark.parametrize(
    ("kind", "field"), [("vllm", "cache_salt"), ("openai", "prompt_cache_key"), ("llama_cpp", "cache_prompt")]
)
async def test_a_field_that_a_server_refuses_is_learnt_once_and_left_out(
    talk_to: Callable[..., Any], kind: str, field: str
) -> None:
    talk, fake = talk_to(kind, PrefixCache(refuses=[field]))

    await talk.warm(cube := Cube())
    chats = [await talk.chat(cube) for _ in range(3)]

    assert sum(field in each.body for each in (*fake.warmed, *fake.asked)) == 1
    assert all(chat.prompt_tokens for chat in chats)


@pytest.mark.parametrize(
    ("kind", "tells"), [("generic", "null"), ("vllm", "null"), ("llama_cpp", ""), ("ollama", ""), ("deepseek", "null")]
)
async def test_a_server_that_says_nothing_is_warmed_on_and_nothing_is_learnt_of_it(
    talk_to: Callable[..., Any], server: Server, kind: str, tells: str
) -> None:
    talk, _ = talk_to(kind, PrefixCache(Boundaries(), tells=tells))
    first = await talk.step()

    for number in range(2 * MISSES):
        cube = Cube(salt=f"{number:016d}")
        await talk.warm(cube)
        chat = await talk.chat(cube)
        assert chat.use.cached is None

    assert await talk.step() is first
    assert await server.call(newest_events(Keys().events, 100)) == []


async def test_a_server_that_begins_anew_is_not_taken_for_one_that_keeps_nothing(talk_to: Callable[..., Any]) -> None:
    cache = PrefixCache(Slots(20), tells="timings")
    talk, _ = talk_to("llama_cpp", cache)
    cubes = [Cube(f"cube {number}") for number in range(3 * MISSES)]
    for cube in cubes:
        await talk.warm(cube)

    for _ in range(2):
        cache.forget()
        for cube in cubes:
            assert (await talk.chat(cube)).use.cached in range(_EDGE)
        for cube in cubes:
            assert ((await talk.chat(cube)).use.cached or 0) > _EDGE

    assert await talk.step() is Step.ONCE


async def test_a_head_that_the_server_forgot_is_sent_again(talk_to: Callable[..., Any], server: Server) -> None:
    cache = PrefixCache()
    talk, _ = talk_to("generic", cache)
    states, cube = HotStates(server, Keys()), Cube()
    await talk.warm(cube)

    async def was_sent(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"sent": cube.sent})

    await states.change(ref := CubeRef("alice", cube.name), [], was_sent)

    await talk.chat(cube)
    assert (await states.load(ref)).sent == cube.sent
    cache.forget()
    await talk.chat(cube)

    assert (await states.load(ref)).sent == Sent(at=cube.sent.at), "not sooner than it may be sent again"


async def test_what_one_process_learnt_another_knows(talk_to: Callable[..., Any], server: Server) -> None:
    talk, fake = talk_to("generic", PrefixCache(Boundaries(0)))
    for number in range(MISSES):
        cube = Cube(salt=f"{number:016d}")
        await talk.warm(cube)
        await talk.chat(cube)

    other = Ladder(server, Keys())
    assert (await other.rung(talk.llm.place, Step.ONCE)).step is Step.TWICE
    assert (await other.rung(f"{talk.llm.place} of another", Step.ONCE)).step is Step.ONCE
    assert fake.warmed


async def test_a_chat_whose_head_nobody_sent_before_proves_nothing(talk_to: Callable[..., Any]) -> None:
    talk, _ = talk_to("generic", PrefixCache())

    for number in range(3 * MISSES):
        await talk.chat(Cube(salt=f"{number:016d}"))

    assert await talk.step() is Step.ONCE


async def test_a_head_too_short_for_this_server_proves_nothing(
    talk_to: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, _ = talk_to("openai", PrefixCache(least=10_000), "gpt-4o")
    monkeypatch.setattr("memsched.llm.servers.openai.OpenAI.least_tokens", 100_000)
    cube = Cube()

    for _ in range(3 * MISSES):
        assert (await talk.chat(cube)).use.cached == 0

    assert await talk.step() is Step.ONCE


async def test_a_head_that_a_chat_did_not_find_is_no_longer_believed_to_be_held(
    talk_to: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    monkeypatch.setattr(KeptSlots, "lost", lambda _, hint: told.append(hint.head))
    talk, _ = talk_to("llama_cpp", PrefixCache(Slots(), tells="timings"))
    cube = Cube()

    missed = await talk.chat(cube)
    await talk.chat(cube)

    assert told == [missed.hint.head]
