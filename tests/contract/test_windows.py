"""A memory is found by what was said around it, whoever wrote, died or came late, and never by what is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.memories import FIRST, conversation, idle, memories_of
from support.windows import as_dict, assert_windows_follow_from_texts, stored_words

from memsched import AsyncMemScheduler
from memsched.handlers.services import MemoryServices
from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import Turn
from memsched.memory.search.arguments import SearchArgs
from memsched.memory.search.bm25 import index_of
from memsched.memory.search.window import Surroundings, own_name, window_vector
from memsched.memory.store.store import MemoryStore

HOME = CubeRef("alice", "home")
WORDS = (
    "apple bridge candle desert engine falcon garden hammer island jungle kettle ladder marble needle orchid".split()
)


class NoSecrets:
    """A permission hook."""

    def release(self, _reader: str, _purpose: str, memory: Any) -> str | None:
        return None if "secret" in memory.text else str(memory.text)


class Died(Exception):
    """What happens to a writer in the middle."""


@pytest.fixture
async def services(quick_schedulers: Callable[..., AsyncMemScheduler]) -> MemoryServices:
    scheduler = quick_schedulers()
    await scheduler.start()
    return await scheduler.memory()


def turn(number: int, text: str, session: str = "s1") -> Turn:
    speaker = ("Ann", "Ben", "")[number % 3]
    return Turn(number, text, speaker, speaker == "Ann", FIRST + timedelta(minutes=number), session, "")


def messages(chance: random.Random) -> dict[str, list[Turn]]:
    """Some turns of two sessions, and some of none, of which some are long, ask, or repeat another one."""
    said: dict[str, list[Turn]] = {}
    for name in range(6):
        session = chance.choice(["s1", "s1", "s2", ""])
        said[f"m{name}"] = [
            turn(
                number, " ".join(chance.choices(WORDS, k=chance.choice([3, 3, 3, 180]))) + chance.choice("?."), session
            )
            for number in range(chance.randint(1, 3))
        ]
    return said


@pytest.mark.parametrize("seed", range(4))
async def test_orders_repetitions_and_crashes_end_in_vectors_that_follow_from_the_texts(
    services: MemoryServices, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    call = MemoryStore._call
    mortal = 0.05

    async def slow_and_mortal(self: MemoryStore, ask: Any) -> Any:
        await asyncio.sleep(chance.random() / 200)
        dies = chance.random() < mortal
        if dies and chance.random() < 0.5:
            raise Died
        answer = await call(self, ask)
        if dies:
            raise Died
        await asyncio.sleep(chance.random() / 200)
        return answer

    monkeypatch.setattr(MemoryStore, "_call", slow_and_mortal)

    async def until_done(work: Callable[[], Any]) -> None:
        for _ in range(chance.choice([1, 2])):  # what was done comes again now and then
            while True:
                try:
                    await work()
                    break
                except Died:
                    continue

    async def forget_some() -> None:
        await asyncio.sleep(chance.random() / 5)
        there = [memory async for memory, _ in services.store.scan(HOME)]
        if there:
            gone = [each.memory_id for each in chance.sample(there, min(2, len(there)))]
            await until_done(lambda: services.forgetting.forget(HOME, gone))

    said = messages(chance)
    writing = [until_done(lambda name=name: services.writer.write_turns(HOME, {name: said[name]})) for name in said]
    chance.shuffle(writing)
    await asyncio.gather(*writing, until_done(forget_some))
    mortal = 0.0

    left = await assert_windows_follow_from_texts(services.store, HOME)

    assert len(left) > 2
    assert all(each.text for each in left)


async def test_no_word_of_a_deleted_memory_finds_what_was_said_around_it(services: MemoryServices) -> None:
    texts = [" ".join(WORDS[at : at + 2]) for at in range(0, 14, 2)]
    texts[3] += "?"
    talk = [turn(number, text) for number, text in enumerate(texts)]
    gone = (await services.writer.write_turns(HOME, {"m": talk}))["m"].added[3]
    lost = stems(gone.text)
    assert all([await services.search.search(HOME, word, 10) for word in lost])

    await services.forgetting.forget(HOME, [gone.memory_id])

    for word in lost:
        assert not await services.search.search(HOME, word, 10, "lexical"), word
    left = await assert_windows_follow_from_texts(services.store, HOME)
    vectors = await stored_words(services.store, HOME, left)
    assert not {index_of(name) for stem in lost for name in (stem, own_name(stem))} & {
        index for vector in vectors.values() for index in vector
    }


async def test_with_a_permission_hook_a_memory_is_found_by_its_own_words_only(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = quick_schedulers(permissions=f"{__name__}:NoSecrets")
    await scheduler.start()
    await scheduler.submit_messages(
        [conversation(("Ann", "The secret cake is for Ben."), ("Ben", "I bought candles."), session_id="s")]
    )
    await idle(scheduler)

    for word in ("secret", "cake"):
        assert not await scheduler.retriever.search(word, "alice", "home", method="lexical")
    assert [each.memory for each in await scheduler.retriever.search("candles", "alice", "home")] == [
        "I bought candles."
    ]


async def test_own_words_alone_if_it_is_asked_for(services: MemoryServices) -> None:
    await services.writer.write_turns(HOME, {"m": [turn(0, "Have you seen the falcon?"), turn(1, "Yes, on Monday.")]})

    both = await services.search.search(HOME, "falcon", 10, "lexical")
    own = await services.search.search(HOME, "falcon", 10, "lexical", SearchArgs(neighbours=False))

    assert len(both) == 2
    assert [each.memory for each in own] == ["Have you seen the falcon?"]


async def test_who_names_words_gets_what_has_them_first(services: MemoryServices) -> None:
    talk = [turn(0, "Have you seen the falcon?"), turn(1, "Yes, yesterday at the bridge, for an hour.")]
    await services.writer.write_turns(HOME, {"m": talk})

    found = await services.search.search(HOME, "falcon", 10)

    assert [each.memory for each in found] == [each.text for each in talk]


async def test_the_window_of_a_turn_is_as_wide_as_three_parts_of_a_long_one(services: MemoryServices) -> None:
    long = " ".join(f"Word{number} {'filler ' * 130}." for number in range(8))
    written = (await services.writer.write_turns(HOME, {"m": [turn(0, long), turn(1, "And then?")]}))["m"].added
    assert len(written) == 9

    words = Surroundings(written).words(written[-1])

    assert {"word7", "word6", "word5"} <= words.keys()
    assert "word4" not in words
    assert [words[f"word{number}"].memory_id for number in (5, 6, 7)] == [each.memory_id for each in written[5:8]]


async def test_what_a_vector_holds(services: MemoryServices) -> None:
    (asked, answer) = (
        await services.writer.write_turns(HOME, {"m": [turn(0, "Is the falcon back?"), turn(1, "Since March.")]})
    )["m"].added
    surroundings = Surroundings([asked, answer])

    first, second = (as_dict(window_vector(HOME, each, surroundings)) for each in (asked, answer))

    assert second[index_of("falcon")] == first[index_of("falcon")], "an answer has its question's words in full"
    assert first[index_of("march")] == pytest.approx(0.75 * second[index_of("march")], abs=1e-4)
    assert index_of(own_name("falcon")) in first
    assert index_of(own_name("falcon")) not in second
    assert index_of(f"speaker\n{HOME.tenant}\nben") in second
    assert len(await assert_windows_follow_from_texts(services.store, HOME)) == 2


async def test_a_late_turn_comes_into_the_windows_of_those_that_are_there(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = quick_schedulers()
    await scheduler.start()
    for number, text in enumerate(["The falcon is back.", "It sits on the bridge.", "Ben saw it from the garden."]):
        await scheduler.submit_messages([conversation(("Ann", text), session_id="s", minute=9 - number)])
        await idle(scheduler)

    found = await scheduler.retriever.search("falcon", "alice", "home", method="lexical")

    assert len(found) == len(await memories_of(scheduler)) == 3
