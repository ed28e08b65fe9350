"""``scheduler.prompt``: what goes before a model call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from support.memories import idle, said

from memsched import AsyncMemScheduler, AsyncMOS, CubeForbidden, MemScheduler
from memsched.errors import InvalidArgument
from memsched.lexicon import estimate_tokens
from memsched.llm.prompts import CHAT
from memsched.memory.access.permissions import Permission
from memsched.memory.embedding.openai import OpenAIEmbedder
from memsched.memory.store.errors import StoreUnavailable
from memsched.memory_prompt import Sufficiency

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
SAID = ("Rex eats carrots.", "The boat is in the harbour of Kiel.", "Grandmother's clock stopped at four.")
QUESTION = "What does Rex eat?"


@pytest.fixture
async def make(quick_schedulers: Callable[..., AsyncMemScheduler]) -> Callable[..., Any]:
    async def made(**given: Any) -> AsyncMemScheduler:
        scheduler = quick_schedulers(**given)
        await scheduler.start()
        await scheduler.submit_messages(said(text, minute) for minute, text in enumerate(SAID))
        await idle(scheduler)
        return scheduler

    return made


@pytest.mark.parametrize(
    ("query", "search", "reason", "searched"),
    [
        ("Where is the boat?", "auto", "answers", False),
        ("What is the capital of France?", "auto", "nothing_fits", True),
        ("Which animals were mentioned?", "auto", "nothing_fits", True),
        ("Where is the boat?", "always", "holds_the_best", True),
        ("Where is the boat?", "never", "not_searched", False),
        (" ", "auto", "nothing_asked", False),
    ],
)
async def test_it_searches_only_where_what_is_near_does_not_answer(
    make: Callable[..., Any], query: str, search: str, reason: str, searched: bool
) -> None:
    scheduler = await make()

    prompt = await scheduler.prompt("alice", "home", query, search=search)

    assert (prompt.sufficient.reason, prompt.sufficient.searched) == (reason, searched)
    assert bool(prompt.found) == searched
    assert prompt.sufficient.value is (reason not in ("not_searched", "nothing_fits"))


async def test_nothing_is_no_answer(make: Callable[..., Any]) -> None:
    prompt = await (await make()).prompt("nobody", "empty", "What is my shoe size?")

    assert (prompt.sufficient.value, prompt.sufficient.reason) == (False, "nothing_fits")


async def test_what_is_no_way_to_search_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidArgument, match="auto, never or always"):
        await (await make()).prompt("alice", "home", "x", search="sometimes")


async def test_it_begins_with_the_head_and_tells_what_was_found_and_what_is_near(make: Callable[..., Any]) -> None:
    scheduler = await make()
    block = await scheduler.activation("alice", "home")

    asked = await scheduler.prompt("alice", "home", QUESTION)
    unasked = await scheduler.prompt("alice", "home")

    assert asked.activation == block
    assert asked.head == f"{block.salt}\n{CHAT.system}\n\n{block.text}"
    assert asked.text.startswith(asked.head)
    assert re.fullmatch("[0-9a-f]{16}", block.salt)
    assert asked.messages == [{"role": "system", "content": asked.text}, {"role": "user", "content": QUESTION}]
    assert asked.found[0].memory == SAID[0]
    assert next(iter(asked.told.values())).endswith(SAID[0])
    assert set(asked.memory_ids) == {each.memory_id for each in asked.working_set}
    assert asked.enough
    assert unasked.text.startswith(asked.head)
    assert (unasked.messages, unasked.found, unasked.enough) == ([unasked.messages[0]], [], True)
    assert asked.messages_after([{"role": "user", "content": "Hi"}])[1:] == [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": QUESTION},
    ]


async def test_it_is_not_enough_where_search_finds_what_is_not_near(make: Callable[..., Any]) -> None:
    scheduler = await make(working_set_size=1, activation_max_members=1)

    asked = await scheduler.prompt("alice", "home", "Rex, the boat, grandmother's clock")

    assert len(asked.found) == len(SAID)
    assert not asked.enough
    assert all(any(text in told for told in asked.told.values()) for text in SAID)


async def test_it_has_so_many_tokens_at_most_and_the_block_whole_or_not_at_all(make: Callable[..., Any]) -> None:
    scheduler = await make()
    whole = await scheduler.prompt("alice", "home", QUESTION)
    least = await scheduler.prompt("alice", "home", QUESTION, max_tokens=1)

    for tokens in range(estimate_tokens(least.text), estimate_tokens(whole.text) + 1, 3):
        prompt = await scheduler.prompt("alice", "home", QUESTION, max_tokens=tokens)
        assert estimate_tokens(prompt.text) <= tokens
        assert prompt.activation.text in ("", whole.activation.text)
        assert list(prompt.told.items()) == list(whole.told.items())[: len(prompt.told)]
    assert (least.told, least.activation.text) == ({}, "")


async def test_it_goes_on_with_what_is_near_while_the_store_is_away(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = await make()

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("http://store", "connection refused")

    monkeypatch.setattr(scheduler.retriever, "search", away)
    prompt = await scheduler.prompt("alice", "home", QUESTION)

    assert (prompt.found, prompt.sufficient) == ([], Sufficiency(value=False, reason="search_failed", searched=False))
    assert prompt.text.startswith(prompt.head)
    assert prompt.activation.text in prompt.head
    assert SAID[0] in prompt.text


@pytest.mark.parametrize("search", ["auto", "always"])
async def test_it_does_not_wait_for_a_search_that_hangs_and_for_a_while_not_at_all(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    scheduler = await make(prompt_search_seconds=0.2)
    asked = 0

    async def hang(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(60)

    monkeypatch.setattr(scheduler.retriever, "search", hang)
    async with asyncio.timeout(5):
        prompts = [await scheduler.prompt("alice", "home", "What is a quark?", search=search) for _ in range(3)]

    assert {each.sufficient.reason for each in prompts} == {"search_failed"}
    assert all(SAID[0] in each.text for each in prompts)
    assert asked == 1


@pytest.mark.parametrize("question", [QUESTION, "What is a quark?"])
async def test_it_does_not_wait_for_an_embedding_model_that_never_answered(
    make: Callable[..., Any],
    schedulers_at: Callable[..., AsyncMemScheduler],
    monkeypatch: pytest.MonkeyPatch,
    question: str,
) -> None:
    there = await make()
    given = {
        "memory": True,
        "prompt_search_seconds": 0.2,
        "embedding_model": "openai:away",
        "prefix": there.keys.prefix,
    }
    scheduler = schedulers_at(there.settings.redis_url, **given)

    async def hang(_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(OpenAIEmbedder, "prepare", hang)
    monkeypatch.setattr("memsched.handlers.lazy_services._OPENING_SECONDS", 0.2)
    async with asyncio.timeout(5):
        prompt = await scheduler.prompt("alice", "home", question, search="auto")

    assert prompt.sufficient.reason == "search_failed"
    assert SAID[0] in prompt.text


async def test_it_is_for_who_may_read_the_cube_and_says_what_it_cannot_take(make: Callable[..., Any]) -> None:
    scheduler = await make()
    cubes = (await scheduler.memory()).cubes
    name = (await cubes.share("alice", "home", "bob", Permission.READ, accepted=True)).name

    assert SAID[0] in (await scheduler.prompt("bob", name, QUESTION)).text
    await cubes.revoke("alice", "home", "bob")
    with pytest.raises(CubeForbidden):
        await scheduler.prompt("bob", name, QUESTION)
    with pytest.raises(InvalidArgument, match="max_tokens"):
        await scheduler.prompt("alice", "home", QUESTION, max_tokens=0)
    with pytest.raises(InvalidArgument, match="query"):
        await scheduler.prompt("alice", "home", 5)
    assert callable(MemScheduler.prompt)
    assert callable(AsyncMOS.prompt)


async def test_what_was_said_is_dated_by_the_speakers_own_clock(make: Callable[..., Any]) -> None:
    scheduler = await make()
    evening = datetime(2026, 3, 2, 20, 30, tzinfo=timezone(timedelta(hours=-8)))
    talk = [{"role": "user", "content": "My dentist appointment is tomorrow.", "timestamp": evening.isoformat()}]
    alone, before = "My haircut appointment is tomorrow.", "We booked the harbour tour."
    told_before = said(before, timestamp=evening.replace(2026, 2, 28))
    messages = said("", chat_history=talk), said(alone, timestamp=evening), told_before
    await scheduler.submit_messages(messages)
    await idle(scheduler)

    asked = await scheduler.prompt("alice", "home", "Which appointment is on 3 March 2026?")
    near = await scheduler.working_set("alice", "home")
    found = await scheduler.retriever.search("appointment on 2 March 2026", "alice", "home")
    (tour, *_) = await scheduler.retriever.search("harbour tour in February 2026", "alice", "home")

    assert all(f"2026-03-02 {text}" in asked.text for text in (talk[0]["content"], alone))
    assert {each.local_at.isoformat() for each in near if "appointment" in each.text} == {evening.isoformat()}
    items = [each.item for each in found if "appointment" in each.item.text]
    assert {(item.at, item.utc_offset) for item in items} == {(evening.astimezone(UTC), -8 * 60)}
    assert (tour.memory, tour.parts["time"] > 0) == (before, True)
