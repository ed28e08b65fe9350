"""The activation block of a cube, through the real pipeline: who sees it, when it changes, what a server is sent."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from support.llm import FakeLLM, fails, hangs
from support.memories import idle, memories_of, said
from support.outcome import dead_letters
from support.prefix_cache import Boundaries, PrefixCache, tokens_of
from support.processes import clean_environment
from support.stories import CHATTER, HOUSE, RENOVATION, REQUEST

from memsched import AsyncMemScheduler, AsyncMOS, CubeForbidden, MemScheduler
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import LeavingMemory
from memsched.memory_prompt import head_of
from memsched.policy.block import ActivationBlock, line_of

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
HOME = CubeRef("alice", "home")
MINUTES = 24 * 60
MakeScheduler = Callable[..., AsyncMemScheduler]


@pytest.fixture
def make(schedulers_at: MakeScheduler) -> MakeScheduler:
    url = f"memory://{uuid4()}"
    return lambda **given: schedulers_at(url, **{"memory": True, **given})


@pytest.fixture
def cache() -> Iterator[FakeLLM]:
    prefixes = PrefixCache()
    with FakeLLM(prefixes, warm=prefixes) as server:
        yield server


def with_model(server: FakeLLM, **given: Any) -> dict[str, Any]:
    return {"llm_model": "m", "llm_base_url": server.url, "activation_interval_seconds": 0.0, **given}


async def tell(scheduler: AsyncMemScheduler, *messages: Any) -> ActivationBlock:
    """Tell a cube something; returns its block then."""
    await scheduler.submit_messages(messages)
    await idle(scheduler)
    return await scheduler.activation("alice", "home")


async def test_it_grows_at_its_end_and_a_message_that_comes_again_changes_no_byte(make: MakeScheduler) -> None:
    scheduler = make()
    await scheduler.start()
    first, second = said("Rex eats carrots."), said("Rex hates the\nvacuum cleaner.", 1)

    one = await tell(scheduler, first)
    two = await tell(scheduler, second)
    again = await tell(scheduler, said("What does Rex eat?", 2, "query"), first, second)

    assert two.text.startswith(one.text.removesuffix("</data>\n"))
    assert two.text.endswith(f"{line_of('Rex hates the vacuum cleaner.')}</data>\n")
    assert again == two
    assert two.version != one.version
    assert two.memory_ids == [memory.memory_id for memory in sorted(await memories_of(scheduler), key=lambda m: m.at)]


async def test_what_was_corrected_or_deleted_leaves_at_once(make: MakeScheduler) -> None:
    scheduler = make()
    await scheduler.start()
    await tell(scheduler, said("I live in Bern."), said("My locker has the number 4711.", 1), said("I like tea.", 2))

    corrected = await tell(scheduler, said("Actually, I live in Basel, not in Bern.", 3))
    assert line_of("I live in Bern.") not in corrected.text
    assert "Basel" in corrected.text

    services = await scheduler.memory()
    (locker,) = [memory for memory in await memories_of(scheduler) if "4711" in memory.text]
    await services.deletion.delete(HOME, [locker], user_id="alice", name="home")
    left = await scheduler.activation("alice", "home")
    assert "4711" not in left.text
    assert left.memory_ids == [each for each in corrected.memory_ids if each != locker.memory_id]

    await services.deletion.delete_all(HOME, user_id="alice", name="home")
    assert await scheduler.activation("alice", "home") == ActivationBlock.of([])


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_it_holds_the_second_theme_and_not_the_first(make: MakeScheduler, language: str) -> None:
    scheduler = make()
    await scheduler.start()
    house, renovation = ({line_of(text) for _, text in each[language]} for each in (HOUSE, RENOVATION))
    chatter = {line_of(text) for text in CHATTER}

    first = await tell(scheduler, *(said(text, day * MINUTES) for day, text in HOUSE[language]))
    for day, text in RENOVATION[language]:
        await tell(scheduler, said(text, day * MINUTES))
    last = await tell(scheduler, said(REQUEST[language], 34 * MINUTES, "query"))

    assert house - chatter <= undated(first.text)
    lines = undated(last.text)
    assert renovation - chatter <= lines
    assert not lines & (house - chatter)
    pinned = first.memory_ids[0]
    await scheduler.pin("alice", "home", pinned)
    assert pinned in (await scheduler.activation("alice", "home")).memory_ids, "whatever its theme"
    await scheduler.unpin("alice", "home", pinned)
    await scheduler.archive("alice", "home", last.memory_ids[0])
    assert {pinned, last.memory_ids[0]}.isdisjoint((await scheduler.activation("alice", "home")).memory_ids)


def undated(text: str) -> set[str]:
    """The lines, without the days on which they were said."""
    return {re.sub(r'^"\d{4}-\d\d-\d\d ', '"', line) for line in text.splitlines(keepends=True)}


async def test_it_is_shown_to_who_may_read_the_cube(make: MakeScheduler, memory_place: dict[str, Any]) -> None:
    scheduler = make(**{name: value for name, value in memory_place.items() if name != "memory"})
    await scheduler.start()
    block = await tell(scheduler, said("Rex eats carrots."))
    services = await scheduler.memory()
    await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)

    assert await scheduler.activation("bob", "alice/home") == block
    assert await scheduler.activation("carl", "home") == ActivationBlock.of([])
    environment = clean_environment(**{f"MEMSCHED_{name.upper()}": str(value) for name, value in memory_place.items()})
    shown, again, as_json, status, sync = await asyncio.gather(
        printed(environment, "--user", "bob", "--cube", "alice/home"),
        printed(environment, "show", "--user", "bob", "--cube", "alice/home"),
        printed(environment, "show", "--user", "alice", "--cube", "home", "--json"),
        printed(environment, "status", "--user", "bob", "--cube", "alice/home"),
        asyncio.to_thread(_read_sync, memory_place),
    )
    assert shown == again == block.text
    assert status == "No language model is configured: nothing is sent anywhere.\n"
    assert json.loads(as_json)["version"] == block.version
    assert sync == block
    await services.cubes.revoke("alice", "home", "bob")
    with pytest.raises(CubeForbidden):
        await scheduler.activation("bob", "alice/home")


def _read_sync(place: dict[str, Any]) -> ActivationBlock:
    scheduler = MemScheduler(**place)
    try:
        return scheduler.activation("alice", "home")
    finally:
        scheduler.stop()


async def printed(environment: dict[str, str], *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "memsched.cli", "activation", *words), stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


# -- a model's server ---------------------------------------------------------------------------------------------


async def test_the_server_is_sent_each_version_once_and_not_more_often_than_it_should(
    make: MakeScheduler, cache: FakeLLM
) -> None:
    scheduler = make(**with_model(cache))
    await scheduler.start()

    block = await tell(scheduler, said("Rex eats carrots."))
    await tell(scheduler, said("What does Rex eat?", 1, "query"), said("Carrots.", 2, "answer"))

    (warm_up,) = cache.warmed
    assert warm_up.body["messages"][0] == {"role": "system", "content": head_of(block)}
    events = [each for each in await scheduler.get_web_log_messages() if each.label == "activation_update"]
    assert [each.metadata["version"] for each in events] == [block.version]
    assert [(each.metadata["kind"], each.metadata["step"], each.metadata["cached"]) for each in events] == [
        ("generic", "once", 0)
    ]
    status = await scheduler.activation_status("alice", "home")
    assert status.sent_at is not None
    assert (await scheduler.explain("alice", "home")).activation == status
    services = await scheduler.memory()
    name = (await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)).name
    with pytest.raises(CubeForbidden):
        await scheduler.warm("bob", name)
    assert len(cache.warmed) == 1
    await scheduler.warm("alice", "home")
    assert cache.warmed.pop().body == warm_up.body, "by hand also what it has"
    await scheduler.stop()
    later = make(**with_model(cache, activation_interval_seconds=3600))
    await later.start()
    await tell(later, said("Rex hates the vacuum cleaner.", 3))
    assert len(cache.warmed) == 1


async def test_what_changed_within_the_interval_is_sent_at_its_end(make: MakeScheduler, cache: FakeLLM) -> None:
    scheduler = make(**with_model(cache, activation_interval_seconds=1.0))
    await scheduler.start()
    for number in range(4):
        block = await tell(scheduler, said(f"Rex likes dish number {number}.", number))

    deadline = asyncio.get_running_loop().time() + 10
    while cache.warmed[-1].body["messages"][0]["content"] != head_of(block):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    assert len(cache.warmed) <= 4


class NoPlants:
    """Nobody is told of plants, and nobody but bob of carrots."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        if "plant" in memory.text:
            return None
        return memory.text if reader == "bob" else memory.text.replace("carrots", "[X]")


async def test_the_server_is_sent_what_the_owner_may_read(make: MakeScheduler, cache: FakeLLM) -> None:
    scheduler = make(**with_model(cache), permissions=f"{__name__}:NoPlants")
    await scheduler.start()

    block = await tell(scheduler, said("Rex eats carrots."), said("One of my plants is called Ada.", 1))

    assert {each.body["messages"][0]["content"] for each in cache.warmed} == {head_of(block)}
    assert "[X]" in block.text
    assert "plants" not in block.text


@pytest.mark.parametrize("reply", [fails(500), hangs()], ids=["fails", "hangs"])
async def test_a_server_that_does_not_take_it_costs_nothing_but_the_warm_cache(make: MakeScheduler, reply: Any) -> None:
    with FakeLLM(warm=reply) as server:
        scheduler = make(**with_model(server, llm_budget_seconds=0.5))
        await scheduler.start()

        block = await tell(scheduler, said("Rex eats carrots."))

        assert len(server.warmed) == 1, "it is not repeated"
        assert block.memory_ids
        assert await dead_letters(scheduler) == []
        services = await scheduler.memory()
        assert services.llm is not None
        assert sum(count for (task, _), count in services.llm.counters.fallbacks.items() if task == "warm") == 1


async def test_no_server_is_sent_anything_where_that_is_said(make: MakeScheduler, cache: FakeLLM) -> None:
    scheduler = make(**with_model(cache, activation_warm="never"))
    await scheduler.start()

    await tell(scheduler, said("Rex eats carrots."))

    assert cache.warmed == []


@pytest.fixture
async def make_mos(cache: FakeLLM) -> AsyncIterator[Callable[..., AsyncMOS]]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    made: list[AsyncMOS] = []

    def make(**given: Any) -> AsyncMOS:
        made.append(AsyncMOS(redis_url=f"memory://{uuid4()}", user_id="alice", **with_model(cache, **given)))
        return made[-1]

    yield make
    for mos in made:
        await mos.stop(grace_seconds=0)


FACTS = [f"One of my plants is called {name}." for name in ("Ada", "Bob", "Cleo", "Dan", "Eve", "Fay")]
_EDGE = 32
"""Tokens of a prompt that fill no block of the cache, or that belong to the message and not to its text."""


async def knowing(mos: AsyncMOS) -> ActivationBlock:
    for fact in FACTS:
        await mos.add(memory_content=fact, mem_cube_id="home", wait=True)
    await mos.wait()
    return await mos.activation("home")


async def cached_of(mos: AsyncMOS, cache: FakeLLM, question: str) -> int:
    """How many tokens of a chat's prompt the server had."""
    await mos.chat(question, mem_cube_id="home", history=[])
    await mos.wait()
    assert isinstance(cache.warm, PrefixCache)
    return cache.warm.cached[question]


def prompt_of(cache: FakeLLM, question: str) -> str:
    (prompt,) = [each.prompt for each in cache.asked if each.body["messages"][-1]["content"] == question]
    return prompt


@pytest.mark.parametrize("kind", ["generic", "deepseek"])
async def test_the_first_chat_finds_its_block_in_the_servers_cache(
    make_mos: Callable[..., AsyncMOS], cache: FakeLLM, kind: str
) -> None:
    if kind == "deepseek":
        cache.always = cache.warm = PrefixCache(Boundaries(2), tells="hit_tokens")
    mos = make_mos(llm_server=kind)
    block = await knowing(mos)

    found = await cached_of(mos, cache, "What is the first plant called?")

    assert prompt_of(cache, "What is the first plant called?").startswith(head_of(block))
    assert found >= tokens_of(head_of(block)) - _EDGE


async def test_the_next_chat_finds_the_block_of_the_one_before_until_it_is_written_anew(
    make_mos: Callable[..., AsyncMOS], cache: FakeLLM
) -> None:
    mos = make_mos(activation_warm="never")
    block = await knowing(mos)

    first = await cached_of(mos, cache, "What is the first plant called?")
    second = await cached_of(mos, cache, "And the last one?")
    (ada,) = [each for each in (await mos.get_all("home"))["text_mem"][0]["memories"] if each.text == FACTS[0]]
    await mos.delete(ada.memory_id, "home")
    third = await cached_of(mos, cache, "How many plants do I have?")

    assert first == 0
    assert second >= tokens_of(head_of(block)) - _EDGE
    assert third <= _EDGE, "what was deleted is not to be hit: the salt is another one"
    assert "Ada" not in prompt_of(cache, "How many plants do I have?")
    services = await mos.mem_scheduler.memory()
    assert services.llm is not None
    told = services.llm.counters.as_dict()
    assert second + third <= told["cached_tokens"] < told["cached_of_tokens"] == told["input_tokens"]
