"""When a model's server is sent the head of a cube's prompts, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from support.llm import FakeLLM, drops, fails
from support.prefix_cache import PrefixCache

from memsched import Settings
from memsched.activation.warming import Warming
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError
from memsched.memory.access.permissions import CubeRef
from memsched.policy.block import ActivationBlock, Member
from memsched.tiers.activation_status import ActivationStatus
from memsched.tiers.hot_state import HotState, HotStates

pytestmark = pytest.mark.timeout(20)
HOME = CubeRef("alice", "home")
MINUTE = 60_000


class Clock:
    """Ms since the epoch."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("memsched.activation.warming._now", clock)
    return clock


@pytest.fixture
def fake() -> Any:
    cache = PrefixCache()
    with FakeLLM(cache, warm=cache, beside={"/version": {"version": "0.27"}}) as server:
        yield server


@pytest.fixture
async def states() -> AsyncIterator[HotStates]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield HotStates(server, Keys())
    await server.aclose()


@pytest.fixture
async def make(states: HotStates, fake: FakeLLM, clock: Clock) -> AsyncIterator[Callable[..., Warming]]:
    made: list[LLM] = []

    async def read(_: CubeRef, state: HotState) -> ActivationBlock:
        return ActivationBlock.of(state.block, state.salt)

    def warming(**given: Any) -> Warming:
        settings = Settings.load(**{"llm_model": "m", "llm_base_url": fake.url, **given})
        llm = LLM(settings)
        made.append(llm)
        return Warming(settings, states._server, Keys(), states, llm, read)

    yield warming
    for llm in made:
        await llm.aclose()


async def knows(states: HotStates, *texts: str, asked: int = 0) -> HotState:
    async def compute(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"block": [Member.of(text, text) for text in texts], "asked": asked})

    return (await states.change(HOME, [], compute))[1]


async def test_it_is_sent_once_until_something_changes_or_it_was_long_ago(
    make: Callable[..., Warming], states: HotStates, fake: FakeLLM, clock: Clock
) -> None:
    warming = make()
    state = await knows(states, "Rex eats carrots.")
    assert await warming.due_in(state) == 0
    assert await warming.warm(HOME) is not None
    assert await warming.warm(HOME) is None, "it has it"
    assert await warming.due_in(await states.load(HOME)) is None

    clock.now += 1000
    state = await knows(states, "Rex eats carrots.", "Rex hates cats.")
    assert await warming.due_in(state) == 29_000, "not so soon after the last one"
    assert await warming.warm(HOME) is None
    clock.now += 29_000
    assert await warming.warm(HOME) is not None

    assert await warming.due_in(state, adapter="style-1") is not None, "with an adapter it is another one"
    clock.now += 30 * MINUTE
    assert await warming.due_in(await states.load(HOME)) == 0, "it may have been forgotten"
    assert len(fake.warmed) == 2


async def test_of_several_workers_one_sends_it(
    make: Callable[..., Warming], states: HotStates, fake: FakeLLM, clock: Clock
) -> None:
    await knows(states, "Rex eats carrots.")

    sent = await asyncio.gather(*(make().warm(HOME) for _ in range(4)))

    assert sum(each is not None for each in sent) == 1
    assert len(fake.warmed) == 1


async def test_another_server_model_or_step_is_sent_it_anew(
    make: Callable[..., Warming], states: HotStates, fake: FakeLLM, clock: Clock
) -> None:
    await knows(states, "Rex eats carrots.")
    await make().warm(HOME)
    clock.now += MINUTE

    other = make(llm_model="another")
    assert await other.due_in(await states.load(HOME)) == 0
    warming = make()
    assert await warming.due_in(await states.load(HOME)) is None
    llm = warming._llm
    assert llm is not None
    await states._server.execute("HSET", Keys().ladder(llm.place), "step", "twice")
    assert await make().due_in(await states.load(HOME)) == 0
    await states._server.execute("HSET", Keys().ladder(llm.place), "step", "off")
    assert await make().due_in(await states.load(HOME)) is None


async def test_it_is_sent_while_somebody_talks(make: Callable[..., Warming], states: HotStates, clock: Clock) -> None:
    warming = make(activation_live_minutes=10)
    asked = await knows(states, "Rex eats carrots.", asked=clock.now)
    unasked = await knows(states, "Rex eats carrots.")

    assert warming.is_live(unasked, clock.now - 9 * MINUTE)
    assert not warming.is_live(unasked, clock.now - 10 * MINUTE), "it waited too long in the queue"
    assert warming.is_live(asked, clock.now - 10 * MINUTE)


@pytest.mark.parametrize("reply", [fails(500), drops()], ids=["fails", "is away"])
async def test_what_a_server_did_not_take_it_is_not_expected_to_have(
    make: Callable[..., Warming], states: HotStates, fake: FakeLLM, reply: Any
) -> None:
    warming = make()
    await knows(states, "Rex eats carrots.")
    fake.warm = reply

    with pytest.raises(LLMError):
        await warming.warm(HOME)

    state = await states.load(HOME)
    assert (state.sent.head, state.sent.tokens) == ("", 0)
    assert await warming.due_in(state) is None, "it is not repeated"
    assert (await warming.status(HOME)).sent_at is None
    assert len(fake.warmed) == 1


async def test_it_is_said_what_the_server_has(make: Callable[..., Warming], states: HotStates, clock: Clock) -> None:
    warming = make()
    assert (await warming.status(HOME)).said[-2:] == [
        "There is no block to be sent yet.",
        "No chat found its head in the cache yet, or the server does not say so.",
    ]
    await knows(states, *(f"Rex eats dish number {number}." for number in range(9)))
    before = await warming.status(HOME)
    await warming.warm(HOME)
    after = await warming.status(HOME)

    assert (before.kind, before.step, before.memories, before.sent_at) == ("vllm", "once", 9, None)
    assert "It does not have this head, as far as is known." in before.said
    assert after.sent_at is not None
    assert after.server_tokens > 100
    assert after.cached == 0
    assert any(f"{after.server_tokens} tokens" in sentence for sentence in after.said)
    clock.now += 30 * MINUTE
    assert (await warming.status(HOME)).sent_at is None


async def test_a_head_that_is_too_short_is_not_sent_and_that_is_said(
    make: Callable[..., Warming], states: HotStates, fake: FakeLLM
) -> None:
    warming = make(llm_server="openai", activation_warm="always")
    state = await knows(states, "Rex eats carrots.")

    assert await warming.due_in(state) is None
    assert await warming.warm(HOME) is None
    status = await warming.status(HOME)
    assert status.too_short
    assert "It is too short to be cached by this server, which begins at 1024 tokens." in status.said
    assert await warming.warm(HOME, anyway=True) is not None, "by hand it is sent"
    assert len(fake.warmed) == 1


@pytest.mark.parametrize(
    ("warm", "url", "on"),
    [
        ("free", "http://127.0.0.1:9/v1", True),
        ("free", "https://api.example.com/v1", False),
        ("always", "https://api.example.com/v1", True),
        ("never", "http://127.0.0.1:9/v1", False),
    ],
)
async def test_who_is_sent_anything_unasked(make: Callable[..., Warming], warm: str, url: str, on: bool) -> None:
    assert make(activation_warm=warm, llm_base_url=url).is_on is on


async def test_without_a_model_nothing_is_sent_and_that_is_said(states: HotStates) -> None:
    async def read(_: CubeRef, __: HotState) -> ActivationBlock:
        raise AssertionError

    warming = Warming(Settings.load(), states._server, Keys(), states, None, read)
    state = await knows(states, "Rex eats carrots.")

    assert not warming.is_on
    assert await warming.due_in(state) is None
    assert await warming.warm(HOME) is None
    assert await warming.status(HOME) == ActivationStatus()
    assert ActivationStatus().said == ["No language model is configured: nothing is sent anywhere."]
