"""What the handlers of memory's own labels do, and that their events are true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from support.conditions import until
from support.memories import FIRST, conversation, found, idle, memories_of, put, said, snapshot, texts_of
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, HandlerContext, ScheduleLogForWebItem, ScheduleMessageItem
from memsched.memory.access.permissions import Permission
from memsched.messages import USER_MEMORY_TYPE

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]


@pytest.fixture
async def scheduler(quick_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = quick_schedulers()
    await made.start()
    return made


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> list[ScheduleLogForWebItem]:
    """The events of these messages and what follows from them."""
    await scheduler.submit_messages(messages)
    await idle(scheduler)
    events: list[ScheduleLogForWebItem] = await scheduler.get_web_log_messages(1000)
    return events


def of(events: list[ScheduleLogForWebItem], label: str) -> ScheduleLogForWebItem:
    """The one of this label, beside what it says of the working set."""
    found = [event for event in events if event.label == label]
    (event,) = [event for event in found if event.label != "answer" or "came_in" not in event.metadata]
    return event


# -- answer ----------------------------------------------------------------------------------------------------------


async def test_an_answer_may_name_memories_that_there_are_not_but_only_in_a_list(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("The garage door is green.", 0))
    (kept,) = await memories_of(scheduler)
    named: list[Any] = [kept.memory_id, "7", str(uuid4()), None, {"id": 1}]
    good = said("The garage door is green.", 1, "answer", info={"memory_ids": named})
    wrong = [said("Yes.", 2, "answer", info={"memory_ids": each}) for each in ("7", {"a": 1}, 7)]

    await tell(scheduler, good, *wrong)

    letters = await dead_letters(scheduler)
    assert {letter.item_id for letter in letters} == {message.item_id for message in wrong}
    assert {(letter.reason, sum(letter.attempts.values())) for letter in letters} == {("rejected", 0)}
    assert all("memory_ids" in letter.error for letter in letters)
    assert (await memories_of(scheduler))[0].use_count == 1


# -- mem_update --------------------------------------------------------------------------------------------------------


async def test_what_got_no_vector_is_kept_beside_the_others_and_embedded_later(
    scheduler: AsyncMemScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.handlers.embed_later._FIRST_SECONDS", 0.2)
    services = await scheduler.memory()
    embed, tries = services.embedder.embed_documents, []

    async def embed_documents(texts: Sequence[str]) -> list[list[float]]:
        tries.extend(text for text in texts if "zebra" in text)
        vectors = await embed(texts)
        missing = "zebra" if len(tries) < 3 else "no text"
        return [[0.0] * len(each) if missing in text else each for text, each in zip(texts, vectors, strict=True)]

    monkeypatch.setattr(services.embedder, "embed_documents", embed_documents)
    monkeypatch.setattr(type(services.embedder), "may_embed_later", True)

    await tell(scheduler, said("My cat is called Tom.", 0), said("I saw a zebra today.", 1))

    kept = {memory.text: memory for memory in await memories_of(scheduler)}
    assert set(kept) == {"My cat is called Tom.", "I saw a zebra today."}
    zebra, ref = kept["I saw a zebra today."], kept["I saw a zebra today."].ref

    async def has_vector() -> bool:
        return any((await services.store.vectors(ref, [zebra.memory_id]))[zebra.memory_id][0])

    await until(has_vector, "it to be embedded")
    assert len(tries) == 3


# -- mem_organize ----------------------------------------------------------------------------------------------------


async def test_organizing_merges_what_says_the_same_and_tells_what(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("We painted the kitchen walls with bright yellow paint.", 0, item_id="one"))
    await tell(scheduler, said("Oh, we painted the kitchen walls with bright yellow paint!", 60, item_id="two"))
    others = [
        "We painted the kitchen walls in bright green.",
        "We did not paint the kitchen walls with yellow.",
        "Max weighs 12 kilos now.",
        "Max weighs 13 kilos now.",
    ]
    await tell(scheduler, *(said(text, 100 + number) for number, text in enumerate(others)))

    events = await tell(scheduler, said("", 200, "mem_organize"))

    memories = {memory.text: memory for memory in await memories_of(scheduler)}
    old = memories["We painted the kitchen walls with bright yellow paint."]
    kept = memories["Oh, we painted the kitchen walls with bright yellow paint!"]
    assert (old.status, old.superseded_by) == ("archived", kept.memory_id)
    assert set(kept.sources) == {"one#0", "two#0"}
    assert all(memories[text].status == "activated" for text in others)
    told = [event for event in events if event.label == "mem_organize"]
    assert [event.metadata for event in told if "Merged" in event.log_content] == [
        {
            "kept": kept.memory_id,
            "merged": [
                {
                    "memory_id": old.memory_id,
                    "text": old.text,
                    "because": "the same words, but for an interjection",
                }
            ],
        }
    ]
    assert any(event.log_content.startswith("Organized: 1 ") for event in told)
    assert old.text not in await found(scheduler, "kitchen walls")
    assert old.text not in await texts_of(scheduler)

    # and once more there is nothing to do
    events = await tell(scheduler, said("", 201, "mem_organize"))
    assert any(event.log_content.startswith("Organized: 0 ") for event in events)


# -- a cube of several users -----------------------------------------------------------------------------------------


async def test_users_who_write_to_one_cube_may_use_the_same_ids(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Max barks.", 0, item_id="3"))  # so that there is a cube to share
    services = await scheduler.memory()
    await services.cubes.share("alice", "home", "bob", Permission.WRITE, name="alices", accepted=True)
    ours = {"alice": "home", "bob": "alices"}

    def each(label: str, item_id: str, **contents: str) -> list[ScheduleMessageItem]:
        return [
            said(text, 1, label, user_id=user, mem_cube_id=ours[user], item_id=item_id)
            for user, text in contents.items()
        ]

    talk = [
        conversation((user, f"{user} keeps {pet}."), ("Carol", f"Carol feeds {pet}."), item_id="2")
        for user, pet in {"alice": "a parrot", "bob": "two goats"}.items()
    ]
    talk[1] = talk[1].model_copy(update={"user_id": "bob", "mem_cube_id": "alices"})
    sent = [
        *each("add", "1", alice="Rex eats carrots.", bob="The boiler is in the cellar."),
        *talk,
        *each("pref_add", "1", alice="I prefer tea.", bob="I prefer coffee."),
    ]
    await tell(scheduler, *sent)
    await tell(scheduler, *each("answer", "1", alice="Rex eats carrots.", bob="The boiler is in the cellar."))

    memories = {memory.text: memory for memory in await memories_of(scheduler)}
    assert len(memories) == 9
    assert memories["Rex eats carrots."].sources.keys() == {"1#0"}
    assert memories["The boiler is in the cellar."].sources.keys() == {"bob/1#0"}
    assert len({memory.session_id for memory in memories.values() if memory.session_id}) == 2
    assert (await snapshot(scheduler)).words["#"] == 9
    assert {memories[text].use_count for text in ("Rex eats carrots.", "The boiler is in the cellar.")} == {1}

    # said by the other too: that is another one's word
    await tell(scheduler, *each("add", "3", bob="Max barks."))
    kept = [memory for memory in await memories_of(scheduler) if memory.text == "Max barks."]
    assert {(each.speaker, *each.sources) for each in kept} == {("", "3#0"), ("bob", "bob/3#0")}


# -- mem_feedback ----------------------------------------------------------------------------------------------------


async def test_feedback_in_plain_words_corrects_what_it_is_about(scheduler: AsyncMemScheduler) -> None:
    await tell(
        scheduler,
        said("The meeting with Carol is on Friday.", 0),
        said("Carol likes tulips.", 1),
        said("The kitchen is yellow.", 2),
    )

    events = await tell(scheduler, said("The meeting with Carol is on Monday.", 9, "mem_feedback", item_id="fb"))

    memories = {memory.text: memory for memory in await memories_of(scheduler)}
    new = memories["The meeting with Carol is on Monday."]
    assert memories["The meeting with Carol is on Friday."].superseded_by == new.memory_id
    assert {text for text, memory in memories.items() if memory.superseded_by} == {
        "The meeting with Carol is on Friday."
    }
    assert (await found(scheduler, "When is the meeting with Carol?"))[0] == new.text
    assert "The meeting with Carol is on Friday." not in await texts_of(scheduler)
    assert any("The meeting with Carol is on Monday." in event.log_content for event in events)


async def test_feedback_that_fits_nothing_is_remembered_and_corrects_nothing(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Carol likes tulips.", 0))

    await tell(scheduler, said("The garage door is broken.", 5, "mem_feedback"))

    memories = await memories_of(scheduler)
    assert {memory.text for memory in memories} == {"Carol likes tulips.", "The garage door is broken."}
    assert not any(memory.superseded_by for memory in memories)


async def test_feedback_by_id_corrects_that_memory_whatever_the_words(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Carol likes tulips.", 0), said("Carol likes roses.", 1))
    tulips = next(memory for memory in await memories_of(scheduler) if "tulips" in memory.text)

    await tell(scheduler, said("Ben it was.", 5, "mem_feedback", info={"memory_id": tulips.memory_id}))

    memories = {memory.text: memory for memory in await memories_of(scheduler)}
    assert memories["Carol likes tulips."].superseded_by == memories["Ben it was."].memory_id
    assert memories["Carol likes roses."].superseded_by is None


@pytest.mark.parametrize(
    ("content", "info", "why"),
    [
        ("", None, "content must say"),
        ("x", {"memory_id": "nonsense"}, "the cube has no memory"),
        ("x", {"memory_id": str(uuid4())}, "the cube has no memory"),
        ("x", {"action": "burn"}, "info.action"),
        ("x", {"action": "archive"}, "needs info.memory_id"),
    ],
)
async def test_feedback_that_makes_no_sense_says_why_and_stops_nothing(
    scheduler: AsyncMemScheduler, content: str, info: dict[str, Any] | None, why: str
) -> None:
    await tell(scheduler, said(content, 0, "mem_feedback", info=info), said("Carol likes tulips.", 1))

    (letter,) = await dead_letters(scheduler)
    assert why in letter.error
    assert await texts_of(scheduler) == ["Carol likes tulips."]


# -- pref_add --------------------------------------------------------------------------------------------------------


async def test_a_preference_is_about_the_user_and_found_as_one(scheduler: AsyncMemScheduler) -> None:
    history = conversation(
        ("Alice", "I prefer trains to planes."),
        ("Alice", "The train was late."),
        ("Bob", "I love planes."),
        minute=3,
        label="pref_add",
    )
    await tell(scheduler, said("Only short answers, please", 0, "pref_add"), history)

    memories = {memory.text: memory for memory in await memories_of(scheduler)}
    assert memories.keys() == {"Only short answers, please", "I prefer trains to planes."}
    for memory in memories.values():
        assert (memory.kind, memory.memory_type) == ("preference", USER_MEMORY_TYPE)
        assert memory.importance >= 0.6
    assert "I prefer trains to planes." in await found(scheduler, "trains", search_args={"tags": ["preference"]})


async def test_a_request_to_forget_among_preferences_is_followed(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("I like jazz.", 0))
    await tell(scheduler, said("Please forget that I like jazz.", 2, "pref_add"))

    assert await found(scheduler, "jazz") == []


# -- query, answer, add ----------------------------------------------------------------------------------------------


async def test_a_question_makes_the_set_ready_and_both_are_told(scheduler: AsyncMemScheduler) -> None:
    events = await tell(scheduler, said("Rex sleeps in the blue basket.", 0, item_id="a"))
    assert of(events, "add").log_content == "Remembered 1 memory: Rex sleeps in the blue basket."
    assert of(events, "add").current_memory_sizes["long_term_memory_size"] == 1

    events = await tell(scheduler, said("Where does Rex sleep?", 5, "query", item_id="q"))

    assert any(event.label == "query" and "Where does Rex sleep?" in event.log_content for event in events)
    update = [event for event in events if event.label == "mem_update"][-1]
    assert update.to_memory_type == "WorkingMemory"
    assert update.current_memory_sizes["working_memory_size"] == len(await texts_of(scheduler)) == 1


async def test_only_what_the_answer_used_is_counted_once(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Rex sleeps in the blue basket.", 0), said("Bob repairs old motorcycles.", 1))
    answer = said("In the blue basket, that is where Rex sleeps.", 9, "answer", item_id="n")

    events = await tell(scheduler, answer)
    await tell(scheduler, answer)

    used = {memory.text: (memory.use_count, memory.last_used_at) for memory in await memories_of(scheduler)}
    assert used["Bob repairs old motorcycles."] == (0, None)
    assert used["Rex sleeps in the blue basket."] == (1, FIRST + timedelta(minutes=9))
    told = of(events, "answer")
    assert told.log_content.startswith("The answer used 1 of 2 memories")
    assert isinstance(told.metadata, list)
    assert [each["text"] for each in told.metadata] == ["Rex sleeps in the blue basket."]


async def test_a_preference_that_answers_go_by_is_used_though_it_is_not_near(memory_schedulers: Any) -> None:
    scheduler = memory_schedulers(working_set_size=1)
    await scheduler.start()
    await tell(scheduler, said("I prefer diagrams to long texts.", 0, "pref_add"))
    await tell(scheduler, said("My sister Ann is allergic to nuts.", 1))
    assert await texts_of(scheduler) == ["My sister Ann is allergic to nuts."]

    answer = said("A cell looks so, since you prefer diagrams to long texts: (o)", 9, "answer", item_id="n")
    await tell(scheduler, answer)

    used = {memory.text: memory.use_count for memory in await memories_of(scheduler)}
    assert used == {"I prefer diagrams to long texts.": 1, "My sister Ann is allergic to nuts.": 0}


async def test_what_is_said_twice_is_told_as_known(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Rex sleeps in the blue basket.", 0))

    events = await tell(scheduler, said("rex sleeps in the BLUE basket!", 5))

    assert [event.log_content for event in events if event.label == "add"][-1].startswith("Said before, kept once")


async def test_a_handler_of_ones_own_takes_the_place_of_a_built_in_one(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = quick_schedulers()
    seen: list[str] = []

    async def own(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
        seen.extend(message.content for message in messages)

    scheduler.register_handlers({"query": own})
    await scheduler.start()
    await tell(scheduler, said("Rex sleeps in the blue basket.", 0), said("Where does Rex sleep?", 5, "query"))

    assert seen == ["Where does Rex sleep?"]
    assert await texts_of(scheduler) == ["Rex sleeps in the blue basket."]


@pytest.mark.parametrize("label", ["add", "mem_read", "pref_add", "query", "answer"])
@pytest.mark.parametrize("history", [[7], [{}], [{"content": 7}], [{"role": "user"}], [None]])
async def test_a_conversation_that_is_none_stops_nothing(
    scheduler: AsyncMemScheduler, label: str, history: list[Any]
) -> None:
    broken = said("", 0, label, item_id="broken").model_copy(update={"chat_history": history})
    await put(scheduler, broken)
    await tell(scheduler, said("Carol likes tulips.", 5))

    assert "Carol likes tulips." in await texts_of(scheduler)
    assert {letter.item_id for letter in await dead_letters(scheduler)} <= {"broken"}


# -- sizes -----------------------------------------------------------------------------------------------------------


async def test_what_is_too_long_is_a_dead_letter_with_the_reason_and_its_neighbours_are_stored(
    scheduler: AsyncMemScheduler,
) -> None:
    long = said("a " * 250_001, item_id="content")
    turn = conversation(("Alice", "I like tea."), ("Alice", "b " * 250_001)).model_copy(update={"item_id": "turn"})
    correction = said("c " * 5001, 0, "mem_feedback", item_id="correction")

    await tell(scheduler, said("My car is blue.", item_id="before"), long, turn, correction, said("My cat is Max."))

    reasons = {letter.item_id: letter.error for letter in await dead_letters(scheduler)}
    assert reasons.keys() == {"content", "turn", "correction"}
    assert "content has 500,002 characters, the limit is 500,000" in reasons["content"]
    assert "chat_history[1] has 500,002 characters" in reasons["turn"]
    assert "content has 10,002 characters, the limit is 10,000" in reasons["correction"]
    assert set(await texts_of(scheduler)) == {"My car is blue.", "My cat is Max."}


async def test_in_anothers_cube_i_is_whoever_says_it(scheduler: AsyncMemScheduler) -> None:
    cubes = (await scheduler.memory()).cubes
    await cubes.create_user("ben", "Ben")
    await cubes.register("alice", "home")
    for user in ("ben", "cleo"):
        await cubes.share("alice", "home", user, Permission.WRITE, accepted=True)
    told = ("I live in Rome.", "I am allergic to nuts.")
    await scheduler.submit_messages([said(text, minute) for minute, text in enumerate(told)])
    await idle(scheduler)
    for minute, (user, text) in enumerate(
        [("ben", "Actually, I live in Oslo."), ("cleo", told[1]), ("ben", "I am no longer allergic to nuts.")], 5
    ):
        await scheduler.submit_messages(said(text, minute, user_id=user, mem_cube_id="alice/home"))
        await idle(scheduler)

    memories = await memories_of(scheduler)

    assert {each.indexed_text for each in memories} == {
        *told,
        "Ben: Actually, I live in Oslo.",
        "cleo: I am allergic to nuts.",
        "Ben: I am no longer allergic to nuts.",
    }
    assert [each.text for each in memories if each.superseded_by] == []
