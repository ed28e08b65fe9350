"""From what was said to memories: nothing is lost, the same is kept once, a correction wins over what it corrects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memories import conversation, idle, memories_of, put, said

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.errors import InvalidMessage
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.splitting import MAX_TEXT_CHARACTERS
from memsched.memory.ingest.turns import turns_of
from memsched.messages import LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE, ScheduleMessageItem
from memsched.mos.options import MosOptions

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
SLOWLY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

PEOPLE = ["Anna", "Hanna", "Ben", "Bengt", "my sister", "Mr. Li", "Ann-Marie", "O'Neill", "José"]
THINGS = ["nuts", "peanuts", "nut oil", "cats", "penicillin", "gluten", "birch pollen", "E102", "milk"]
TEMPLATES = [
    "{who} is allergic to {what}.",
    "{who} hates {what}.",
    "{who} cannot stand {what}",
    "{who} loves {what}!",
    "{who} has {what} at home.",
    "{who} is afraid of {what}.",
    "{who}: {what}?! Never.",
    "{what} make {who} sick.",
    "{who} works with {what}.",
    "{who} eats {what} every day.",
    "{who} does not eat {what}.",
    "{who}'s favourite: {what}",
]


@pytest.fixture
async def scheduler(quick_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = quick_schedulers()
    await made.start()
    return made


async def read(scheduler: AsyncMemScheduler, cube: str, *messages: ScheduleMessageItem) -> None:
    """As the handler of ``add`` reads, one message after another."""
    reader = (await scheduler.memory()).writer
    for message in messages:
        await reader.write_turns(CubeRef("alice", cube), {message.item_id: turns_of(message)})


async def texts(scheduler: AsyncMemScheduler, cube: str, query: str, top_k: int = 3) -> list[str]:
    services = await scheduler.memory()
    return [each.memory for each in await services.search.search(CubeRef("alice", cube), query, top_k)]


@pytest.mark.long
async def test_short_facts_survive_beside_facts_that_differ_in_one_word(scheduler: AsyncMemScheduler) -> None:
    fact = st.builds(
        lambda form, who, what: form.format(who=who, what=what),
        st.sampled_from(TEMPLATES),
        st.sampled_from(PEOPLE),
        st.sampled_from(THINGS),
    )

    @SLOWLY
    @given(facts=st.lists(fact, min_size=1, max_size=8, unique=True))
    async def survive(facts: list[str]) -> None:
        cube = str(uuid4())
        await read(scheduler, cube, *(said(text, number, mem_cube_id=cube) for number, text in enumerate(facts)))
        kept = {memory.text: memory for memory in await memories_of(scheduler, cube=cube)}
        assert set(kept) == set(facts)
        assert not any(memory.superseded_by for memory in kept.values())
        for text in facts:
            assert text in await texts(scheduler, cube, text)

    await _run(survive)


async def _run(test: Any) -> None:
    """A property of coroutines: hypothesis calls plain functions, so each example runs to its end in this loop."""
    inner = test.hypothesis.inner_test
    loop = asyncio.get_running_loop()

    def blocking(**values: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(**values), loop).result()

    test.hypothesis.inner_test = blocking
    await asyncio.to_thread(test)


def corrections(count: int) -> list[tuple[list[str], str, str, str]]:
    """(other things said, what was said, what corrects it, a question about it), made up."""
    chance = random.Random(7)
    cities = ["Lisbon", "Porto", "Rome", "Oslo", "Hamburg", "Kyiv", "Lima", "Graz", "Delhi", "Turin"]
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    dogs = ["Rex", "Max", "Bella", "Luna", "Rocky", "Milo"]
    foods = ["carrots", "peanut butter", "rice", "salmon", "apples", "cheese"]
    colours = ["red", "green", "blue", "yellow", "white"]
    forms = [
        (
            "I live in {a}.",
            [
                "Actually, I live in {b}.",
                "I moved to {b}.",
                "Correction: I live in {b} now, not in {a}.",
                "I no longer live in {a}, I live in {b}.",
            ],
            "Where do I live?",
            cities,
        ),
        (
            "My sister works in {a}.",
            ["Sorry, my sister works in {b}.", "My sister works in {b} now.", "No, my sister works in {b}, not {a}."],
            "Where does my sister work?",
            cities,
        ),
        (
            "The meeting is on {a}.",
            ["Update: the meeting is on {b}.", "The meeting is on {b}, not on {a}.", "Wait, the meeting is on {b}."],
            "When is the meeting?",
            days,
        ),
        (
            "My dog is called {a}.",
            ["Actually my dog is called {b}.", "My dog is not called {a} but {b}.", "I meant: my dog is called {b}."],
            "What is the name of my dog?",
            dogs,
        ),
        (
            "My favourite food is {a}.",
            [
                "My favourite food is no longer {a}, it is {b}.",
                "I changed my mind, my favourite food is {b}.",
                "In fact, my favourite food is {b}.",
            ],
            "What is my favourite food?",
            foods,
        ),
        (
            "The front door of our house is {a}.",
            [
                "I was wrong. The front door of our house is {b}.",
                "Oops, the front door of our house is {b}.",
                "The front door of our house is {b} now.",
            ],
            "Which colour is the front door?",
            colours,
        ),
    ]
    noise = [
        "It rains today.",
        "We talked about books.",
        "Bob repairs his bicycle.",
        "The train was late again.",
        "Carol bakes bread on Sundays.",
        "The neighbours have a new cat.",
    ]
    made = []
    for _ in range(count):
        old, news, question, values = chance.choice(forms)
        a, b = chance.sample(values, 2)
        new = chance.choice(news).format(a=a, b=b)
        made.append((chance.sample(noise, 4), old.format(a=a), new, question))
    return made


@pytest.mark.parametrize("count", [25, pytest.param(100, marks=pytest.mark.long)])
async def test_a_correction_wins_in_a_hundred_of_a_hundred_cases(scheduler: AsyncMemScheduler, count: int) -> None:
    async def lost(others: list[str], old: str, new: str, question: str) -> list[object]:
        cube = str(uuid4())
        talk = [others[0], old, others[1], others[2], new, others[3]]
        await read(scheduler, cube, *(said(text, 10 * number, mem_cube_id=cube) for number, text in enumerate(talk)))
        by_text = {memory.text: memory for memory in await memories_of(scheduler, cube=cube)}
        first = (await texts(scheduler, cube, question))[0]
        replaced = {text for text, memory in by_text.items() if memory.superseded_by}
        won = first == new and replaced == {old} and by_text[old].superseded_by == by_text[new].memory_id
        return [] if won else [(old, new, first, replaced)]

    assert await asyncio.gather(*(lost(*case) for case in corrections(count))) == [[]] * count


async def test_a_correction_in_the_same_batch_is_told_once(scheduler: AsyncMemScheduler) -> None:
    older = said("We moved to Rome in May.", 0, item_id="older")
    newer = said("Actually, we moved to Rome in June.", 9, item_id="newer")
    writer = (await scheduler.memory()).writer

    written = await writer.write_turns(
        CubeRef("alice", "home"), {each.item_id: turns_of(each) for each in (older, newer)}
    )

    (pair,) = written["newer"].corrected
    assert [each.text for each in pair] == [older.content, newer.content]
    assert not written["older"].corrected


async def test_what_is_said_again_is_kept_once_with_both_sources(scheduler: AsyncMemScheduler) -> None:
    await read(scheduler, "home", said("My sister is allergic to nuts.", 0, item_id="one"))
    await read(scheduler, "home", said("my sister is allergic to  NUTS!", 9, item_id="two"))

    (memory,) = await memories_of(scheduler)

    assert memory.text == "My sister is allergic to nuts."
    assert set(memory.sources) == {"one#0", "two#0"}


async def test_a_picture_is_found_by_its_caption_and_told_from_another_one(scheduler: AsyncMemScheduler) -> None:
    seen = ("a puppy on a beach", "a wedding cake", "a wedding cake")
    for number, caption in enumerate(seen):
        history = [{"role": "user", "content": "Look at this!", "blip_caption": caption}]
        await read(scheduler, "home", said("", number, item_id=f"m{number}", chat_history=history))
    long = [{"role": "user", "content": "We walked on. " * 100, "alt": "a lighthouse"}]
    await read(scheduler, "home", said("", 9, item_id="long", chat_history=long))

    dog, cake, *parts = sorted(await memories_of(scheduler), key=lambda each: (each.at, each.part))
    services = await scheduler.memory()
    (first, *_) = await services.search.search(CubeRef("alice", "home"), "puppy", 3)

    assert (dog.text, dog.caption, dog.indexed_text) == (
        "Look at this!",
        "a puppy on a beach",
        "Look at this! [picture: a puppy on a beach]",
    )
    assert (cake.caption, set(cake.sources)) == ("a wedding cake", {"m1#0", "m2#0"})
    assert [each.caption for each in parts] == ["a lighthouse", ""]
    assert first.item == dog
    assert first.parts["words"] > 0


@pytest.mark.parametrize(
    "pair",
    [
        ("I like nuts.", "I do not like nuts."),
        ("Is he late?", "He is late."),
        ("Max bit Rex.", "Rex bit Max."),
        ("It costs 12 euros.", "It costs 13 euros."),
    ],
)
async def test_what_means_something_else_is_never_taken_for_the_same(
    scheduler: AsyncMemScheduler, pair: tuple[str, str]
) -> None:
    await read(scheduler, "home", *(said(text, number) for number, text in enumerate(pair)))

    assert {memory.text for memory in await memories_of(scheduler)} == set(pair)


async def test_a_long_utterance_is_split_and_nothing_of_it_is_lost(scheduler: AsyncMemScheduler) -> None:
    words = [f"word{number}" for number in range(3000)]
    await read(scheduler, "home", said(" ".join(words), item_id="long"))

    parts = sorted(await memories_of(scheduler), key=lambda memory: memory.part)

    assert len(parts) > 1
    assert max(len(part.text) for part in parts) <= MAX_TEXT_CHARACTERS
    assert "".join(part.text for part in parts) == " ".join(words)
    assert [part.part for part in parts] == list(range(len(parts)))


async def test_lasting_facts_about_the_user_are_told_apart(scheduler: AsyncMemScheduler) -> None:
    talk = conversation(
        ("Alice", "I am allergic to nuts."),
        ("Alice", "The train was late."),
        ("Bob", "I live in Rome."),
        ("Alice", "Do I like tea?"),
    )
    await scheduler.submit_messages(talk)
    await idle(scheduler)

    types = {memory.text: memory.memory_type for memory in await memories_of(scheduler)}

    assert types == {
        "I am allergic to nuts.": USER_MEMORY_TYPE,
        "The train was late.": LONG_TERM_MEMORY_TYPE,
        "I live in Rome.": LONG_TERM_MEMORY_TYPE,
        "Do I like tea?": LONG_TERM_MEMORY_TYPE,
    }


async def test_who_spoke_when_and_in_which_session_is_kept(scheduler: AsyncMemScheduler) -> None:
    talk = conversation(("Alice", "Hello Bob."), ("Bob", "Hello Alice, how is Max?"), minute=3, session_id="evening")
    await read(scheduler, "home", talk)

    first, second = sorted(await memories_of(scheduler), key=lambda memory: memory.turn)

    assert [(each.speaker, each.session_id, each.turn) for each in (first, second)] == [
        ("Alice", "evening", 0),
        ("Bob", "evening", 1),
    ]
    assert first.at <= second.at


async def test_messages_of_one_session_that_are_stored_at_once_get_places_of_their_own(
    scheduler: AsyncMemScheduler,
) -> None:
    """As two workers do it: neither sees in the store what the other one has not stored yet."""
    services = await scheduler.memory()
    messages = [conversation(("Alice", f"This is thing {n}."), ("Bob", f"And {n}?"), session_id="s") for n in range(8)]

    await asyncio.gather(
        *(services.writer.write_turns(CubeRef("alice", "home"), {each.item_id: turns_of(each)}) for each in messages)
    )

    assert sorted(memory.turn for memory in await memories_of(scheduler)) == list(range(16))


async def test_a_message_that_comes_again_makes_no_second_memory(scheduler: AsyncMemScheduler) -> None:
    talk = conversation(("Alice", "We got a puppy."), ("Alice", "It is called Rex."), item_id="talk")
    await read(scheduler, "home", talk)
    before = {memory.memory_id: memory for memory in await memories_of(scheduler)}

    await read(scheduler, "home", talk, talk)

    assert {memory.memory_id: memory for memory in await memories_of(scheduler)} == before


async def test_a_correction_by_an_id_takes_the_place_of_what_the_id_stands_for_now(
    scheduler: AsyncMemScheduler,
) -> None:
    await put(scheduler, said("I love green tea.", session_id="s1"))
    await idle(scheduler)
    (first,) = await memories_of(scheduler)

    for minute, text in enumerate(("I love black tea.", "I love white tea."), 1):
        await put(scheduler, said(text, minute, "mem_feedback", info={"memory_id": first.memory_id}))
        await idle(scheduler)

    (now,) = [each for each in await memories_of(scheduler) if each.superseded_by is None]
    assert now.text == "I love white tea."
    assert (now.session_id, now.tags) == ("s1", first.tags)
    assert now.is_voice_of(first)


@pytest.mark.parametrize(("how", "kept"), [("mask", ["Pay with [card number]."]), ("drop", [])])
async def test_a_secret_is_nowhere(
    quick_schedulers: Callable[..., AsyncMemScheduler], how: str, kept: list[str]
) -> None:
    scheduler = quick_schedulers(secrets=how)
    await scheduler.start()
    card = "4242" * 4

    await put(scheduler, said(f"Pay with {card}."))
    await idle(scheduler)

    assert [each.text for each in await memories_of(scheduler)] == kept
    server = await scheduler.server()
    for key in await server.execute("KEYS", "*"):
        if b":stream" in key:
            assert card not in str(await server.execute("XRANGE", key, "-", "+"))


RESENT = {
    "by its id": [{"id": "m1"}, {"id": "m2"}, {"id": "m3"}],
    "by its time": [{"timestamp": f"2024-03-01T10:0{minute}:00Z"} for minute in range(3)],
    "by its place": [{}, {}, {}],
}


@pytest.mark.parametrize("away", ["deleted", "forgotten"])
@pytest.mark.parametrize("known", RESENT)
async def test_what_is_gone_stays_gone_when_its_history_comes_again(
    scheduler: AsyncMemScheduler, known: str, away: str
) -> None:
    texts = ("user", "I live in Oslo."), ("assistant", "Nice."), ("user", "I like tea.")
    history = [{"role": role, "content": text, **more} for (role, text), more in zip(texts, RESENT[known], strict=True)]
    await put(scheduler, said("", chat_history=history[:2], session_id="s"))
    await idle(scheduler)
    (oslo,) = [each for each in await memories_of(scheduler) if "Oslo" in each.text]
    if away == "deleted":
        await (await scheduler.memory()).deletion.delete(CubeRef("alice", "home"), [oslo], user_id="alice", name="home")
    else:
        await put(scheduler, said("Forget that I live in Oslo.", 1))
        await idle(scheduler)

    for minute in (2, 3):
        await put(scheduler, said("", minute, chat_history=history, session_id="s"))
        await idle(scheduler)

    there = {each.text for each in await memories_of(scheduler) if each.status == "activated"}
    assert there == {"Nice.", "I like tea."}

    await put(scheduler, said("I live in Oslo.", 4, session_id="s"))
    await idle(scheduler)

    (anew,) = [each for each in await memories_of(scheduler) if "Oslo" in each.text and each.status == "activated"]
    assert anew.at == said("", 4).timestamp


async def test_what_is_to_be_forgotten_is_archived_and_told_and_comes_back(scheduler: AsyncMemScheduler) -> None:
    await put(scheduler, said("I like jazz."))
    await put(scheduler, said("I like old trains.", 1))
    await idle(scheduler)

    await put(scheduler, said("Please forget that I like jazz.", 2))
    await idle(scheduler)

    (jazz,) = [each for each in await memories_of(scheduler) if each.status == "archived"]
    assert (jazz.text, jazz.archived_because) == ("I like jazz.", "asked")
    assert len(await memories_of(scheduler)) == 2
    assert await scheduler.restore("alice", "home", jazz.memory_id)


async def test_a_request_is_followed_in_what_is_read_at_once_and_beside_what_else_is_said(
    scheduler: AsyncMemScheduler,
) -> None:
    await put(scheduler, said("I like jazz."))
    await put(scheduler, said("My old address is Elm Street 5.", 1))
    await idle(scheduler)

    await put(scheduler, said("Please forget that I like jazz.", 2, "mem_read"))
    await put(scheduler, said("I moved to Porto. Please forget my old address.", 3))
    await idle(scheduler)

    assert {each.text: each.status for each in await memories_of(scheduler)} == {
        "I like jazz.": "archived",
        "My old address is Elm Street 5.": "archived",
        "I moved to Porto.": "activated",
    }


async def test_a_request_that_names_nothing_remembered_is_remembered_as_any_turn(scheduler: AsyncMemScheduler) -> None:
    await put(scheduler, said("My mother lives in Shanghai."))
    await put(scheduler, said("Forget that I live in Shanghai.", 1))
    await put(scheduler, said("Forget that noise!", 2))
    talk = ("Alice", "I smoke."), ("Alice", "Please forget that I smoke."), ("Alice", "My dog is called Max.")
    for _ in range(2):
        await put(scheduler, conversation(*talk, minute=3, item_id="talk"))
        await idle(scheduler)

    status = {each.text: each.status for each in await memories_of(scheduler)}
    assert status == {
        "My mother lives in Shanghai.": "activated",
        "Forget that I live in Shanghai.": "activated",
        "Forget that noise!": "activated",
        "I smoke.": "archived",
        "My dog is called Max.": "activated",
    }


async def test_a_request_reaches_only_what_was_said_before_it_in_whatever_order_it_comes(
    scheduler: AsyncMemScheduler,
) -> None:
    await put(scheduler, said("I own a red car.", 9))
    await put(scheduler, said("I like old trains.", 1))
    await idle(scheduler)

    for number, text in enumerate(("Please forget that I own a red car.", "Please forget that I like old trains.")):
        await put(scheduler, said(text, 3 + number))
    talk = ("Alice", "Please forget that I like tea."), ("Alice", "I like tea.")
    await put(scheduler, conversation(*talk, minute=5, item_id="talk"))
    newest_first = [
        {"role": "user", "content": text, "timestamp": f"2026-01-0{day}T10:00:00Z"}
        for day, text in ((3, "I like rum."), (2, "Please forget that I like rum and that I smoke."), (1, "I smoke."))
    ]
    await put(scheduler, said("", 6, chat_history=newest_first, item_id="newest-first"))
    await idle(scheduler)

    status = {each.text: each.status for each in await memories_of(scheduler)}
    assert {status[text] for text in ("I own a red car.", "I like tea.", "I like rum.")} == {"activated"}
    assert {status[text] for text in ("I like old trains.", "I smoke.")} == {"archived"}
    assert not [text for text in status if "rum and" in text]


@pytest.mark.parametrize(
    ("label", "known"), [("add", []), ("pref_add", ["I like jazz."])], ids=["add-named-nothing", "pref_add-named-some"]
)
async def test_what_was_said_before_a_request_and_comes_after_it_is_put_away_too(
    scheduler: AsyncMemScheduler, label: str, known: list[str]
) -> None:
    for text in known:
        await put(scheduler, said(text, 1, label))
    await put(scheduler, said("Please forget everything about jazz.", 5, label))
    await idle(scheduler)

    for minute, text in enumerate(["I saw a jazz concert.", "I like jazz.", "Tea is fine.", "I go to jazz clubs."], 3):
        await put(scheduler, said(text, minute, label))
    await idle(scheduler)

    there = {each.text for each in await memories_of(scheduler) if each.status == "activated"}
    assert there == {"Tea is fine.", "I go to jazz clubs."}


async def test_a_request_that_was_undone_reaches_nothing_that_comes_later(scheduler: AsyncMemScheduler) -> None:
    await put(scheduler, said("I like jazz."))
    await put(scheduler, said("I like old trains."))
    await idle(scheduler)
    for text in ("Please forget everything about jazz.", "Forget everything about old trains."):
        await put(scheduler, said(text, 5))
    await idle(scheduler)
    away = {each.text: each for each in await memories_of(scheduler) if each.status == "archived"}
    await scheduler.restore("alice", "home", away["I like jazz."].memory_id)
    services = await scheduler.memory()
    trains = [away["I like old trains."]]
    await services.deletion.delete(CubeRef("alice", "home"), trains, user_id="alice", name="home")

    await put(scheduler, said("I saw a jazz concert.", 2))
    await idle(scheduler)

    assert {each.text: each.status for each in await memories_of(scheduler)} == {
        "I like jazz.": "activated",
        "I saw a jazz concert.": "activated",
    }
    assert await services.asked.since(CubeRef("alice", "home"), trains[0].at) == []


async def test_what_another_said_in_a_shared_cube_is_not_forgotten_for_them(scheduler: AsyncMemScheduler) -> None:
    await put(scheduler, said("My garden has roses."))
    await idle(scheduler)
    mos = AsyncMOS.over(scheduler, MosOptions())
    await mos.share_cube_with_user("home", "bob", permission="write", user_id="alice")
    await mos.accept_cube("alice/home", "bob")
    for text in ("My garden has tulips.", "Forget everything about my garden"):
        await put(scheduler, said(text, user_id="bob", mem_cube_id="alice/home"))
        await idle(scheduler)

    status = {each.text: each.status for each in await memories_of(scheduler)}
    assert status == {"My garden has roses.": "activated", "My garden has tulips.": "archived"}


async def test_tags_are_kept_with_what_is_remembered_and_the_same_text_with_others_is_another_memory(
    scheduler: AsyncMemScheduler,
) -> None:
    mos = AsyncMOS.over(scheduler, MosOptions(user_id="alice"))
    text = "The blood count of May is normal."
    for tags in (None, ["Medical"], ["medical", "medical"]):
        await mos.add(memory_content=text, mem_cube_id="home", tags=tags, wait=True)

    kept = [each for each in await memories_of(scheduler) if each.text == text]
    assert sorted(each.tags for each in kept) == [[], ["medical"]]
    for bad in ("medical", [7]):
        with pytest.raises(InvalidMessage, match="info.tags"):
            await mos.add(memory_content=text, mem_cube_id="home", tags=bad)  # type: ignore[arg-type]
