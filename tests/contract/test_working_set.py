"""Whose memories are seen by whom, and what the working set holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.memories import FIRST, found, idle, memories_of, put, said, texts_of
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.errors import CubeForbidden, UnknownCube
from memsched.memory.access.permissions import CubeRef, Permission

pytestmark = pytest.mark.timeout(60)

Schedulers = Callable[..., AsyncMemScheduler]


@pytest.fixture
async def scheduler(memory_schedulers: Schedulers) -> AsyncMemScheduler:
    made = memory_schedulers()
    await made.start()
    return made


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


# -- two tenants -----------------------------------------------------------------------------------------------------


async def test_tenants_with_equal_cube_ids_and_texts_never_see_each_other(scheduler: AsyncMemScheduler) -> None:
    # given two users whose cubes, item ids and words are the same, but for one secret each
    common = ["We talked about the budget of the project.", "The project begins in March."]
    for user, secret in (("alice", "The budget of the project is 5000 euros."), ("bob", "The budget is 7 dollars.")):
        for number, text in enumerate([*common, secret]):
            await put(scheduler, said(text, number, user_id=user, item_id=f"same-{number}"))
        await put(scheduler, said("What is the budget of the project?", 5, "query", user_id=user, item_id="same-q"))
    await idle(scheduler)
    assert await dead_letters(scheduler) == []

    # then each finds, and has at hand, what was said to them, and their own copy of what was said to both
    for user, own, foreign in (("alice", "5000", "7 dollars"), ("bob", "7 dollars", "5000")):
        for texts in (await texts_of(scheduler, user), await found(scheduler, "budget of the project", user)):
            assert len(texts) == 3
            assert any(own in text for text in texts)
            assert not any(foreign in text for text in texts)
    alices, bobs = [{memory.memory_id for memory in await memories_of(scheduler, user)} for user in ("alice", "bob")]
    assert not alices & bobs

    # and the events of each speak of their own
    events = await scheduler.get_web_log_messages(1000)
    for user, foreign in (("alice", "7 dollars"), ("bob", "5000")):
        own_events = [event.model_dump_json() for event in events if event.user_id == user]
        assert {"add", "mem_update", "query"} <= {event.label for event in events if event.user_id == user}
        assert not any(foreign in event for event in own_events)


async def test_a_memory_id_of_a_strangers_cube_is_of_no_use(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("The code of the safe is kumquat.", user_id="alice"))
    (secret,) = await memories_of(scheduler, "alice")
    wrong = said("It is 1.", 1, "mem_feedback", user_id="bob", info={"memory_id": secret.memory_id})
    used = said("The code of the safe is kumquat.", 1, "answer", user_id="bob", info={"memory_ids": [secret.memory_id]})

    await tell(scheduler, said("I like boats.", user_id="bob"), wrong, used)

    assert [letter.item_id for letter in await dead_letters(scheduler)] == [wrong.item_id]
    assert (await memories_of(scheduler, "alice")) == [secret]
    events = [event for event in await scheduler.get_web_log_messages(100) if event.user_id == "bob"]
    answered = next(event for event in events if event.log_content.startswith("The answer used"))
    assert answered.metadata == []
    assert "kumquat" not in "".join(text for text in await texts_of(scheduler, "bob"))


# -- permissions -----------------------------------------------------------------------------------------------------


async def share(scheduler: AsyncMemScheduler, permission: Permission) -> str:
    services = await scheduler.memory()
    await services.cubes.register("alice", "home")
    return (await services.cubes.share("alice", "home", "bob", permission, accepted=True)).name


async def test_who_may_only_read_cannot_write_but_may_ask(scheduler: AsyncMemScheduler) -> None:
    name = await share(scheduler, Permission.READ)
    await tell(scheduler, said("The key is under the mat.", 0))
    before = await texts_of(scheduler)
    refused = [
        said("The key is gone.", 1, label, user_id="bob", mem_cube_id=name)
        for label in ("add", "mem_read", "pref_add", "mem_feedback", "answer", "mem_update", "mem_organize")
    ]
    asked = said("Where is the key?", 2, "query", user_id="bob", mem_cube_id=name)
    neighbours = [said("Carol likes skating.", 1, user_id="carol"), said("The mat is red.", 3)]

    await tell(scheduler, *refused[:3], *neighbours, *refused[3:], asked)

    letters = await dead_letters(scheduler)
    assert {letter.item_id for letter in letters} == {message.item_id for message in refused}
    assert {letter.reason for letter in letters} == {"rejected"}
    assert all("shares it for reading only" in letter.error for letter in letters)
    assert await found(scheduler, "key mat", "bob", name) == await found(scheduler, "key mat")
    assert await texts_of(scheduler, "bob", name) == await texts_of(scheduler)
    assert set(await texts_of(scheduler)) == {*before, "The mat is red."}
    assert await texts_of(scheduler, "carol") == ["Carol likes skating."]


async def test_a_revoked_share_ends_at_once_for_every_way_to_the_cube(scheduler: AsyncMemScheduler) -> None:
    name = await share(scheduler, Permission.WRITE)
    await tell(scheduler, said("Bob was here.", 0, user_id="bob", mem_cube_id=name))
    assert await texts_of(scheduler) == ["Bob was here."]
    await (await scheduler.memory()).cubes.revoke("alice", "home", "bob")
    late = [said("Still here.", 1, label, user_id="bob", mem_cube_id=name) for label in ("add", "query", "pref_add")]

    await tell(scheduler, *late, said("Bob has left.", 2))

    letters = await dead_letters(scheduler)
    assert {letter.item_id for letter in letters} == {message.item_id for message in late}
    assert all("is no longer" in letter.error for letter in letters)
    assert {memory.text for memory in await memories_of(scheduler)} == {"Bob was here.", "Bob has left."}
    with pytest.raises(CubeForbidden):
        await scheduler.retriever.search("here", "bob", name)
    with pytest.raises(CubeForbidden):
        await scheduler.working_set("bob", name)
    assert await memories_of(scheduler, "bob", name) == []


async def test_unknown_cubes_are_refused_where_they_must_be_registered(memory_schedulers: Schedulers) -> None:
    scheduler = memory_schedulers(auto_register_cubes=False)
    await scheduler.start()
    await (await scheduler.memory()).cubes.register("alice", "home")
    unknown = said("Hello", user_id="mallory", mem_cube_id="nowhere")

    await tell(scheduler, unknown, said("My cat is called Tom."))

    (letter,) = await dead_letters(scheduler)
    assert letter.item_id == unknown.item_id
    assert "register the cube first" in letter.error
    assert await texts_of(scheduler) == ["My cat is called Tom."]
    with pytest.raises(UnknownCube):
        await scheduler.retriever.search("cat", "mallory", "nowhere")
    with pytest.raises(UnknownCube):
        await scheduler.working_set("mallory", "nowhere")


# -- what it holds ---------------------------------------------------------------------------------------------------


async def test_it_holds_what_the_question_needs_and_what_must_not_be_forgotten(scheduler: AsyncMemScheduler) -> None:
    noise = [said(f"Train number {number} leaves from platform {number % 7}.", number) for number in range(60)]
    await tell(
        scheduler, said("My sister Ann is allergic to nuts.", -5), said("Rex sleeps in the blue basket.", -4), *noise
    )

    await tell(scheduler, said("Where does Rex sleep?", 100, "query"))

    working_set = await scheduler.working_set("alice", "home")
    assert len(working_set) == 20
    texts = [memory.text for memory in working_set]
    assert "Rex sleeps in the blue basket." in texts[:3]
    assert "My sister Ann is allergic to nuts." in texts
    scores = [memory.score for memory in working_set]
    assert scores == sorted(scores, reverse=True)
    for memory in working_set:
        assert sum(memory.parts.values()) == pytest.approx(memory.score, abs=1e-5)


async def test_what_an_answer_used_stays_nearer_than_its_like(scheduler: AsyncMemScheduler) -> None:
    rooms = [
        said(f"Guest {name} sleeps in the {colour} room.", number)
        for number, (name, colour) in enumerate([("Ada", "red"), ("Ben", "green"), ("Cem", "blue")])
    ]
    await tell(scheduler, *rooms, said("Which guest sleeps in which room?", 10, "query"))

    await tell(scheduler, said("Guest Ben sleeps in the green room.", 11, "answer"))

    assert (await texts_of(scheduler))[0] == "Guest Ben sleeps in the green room."
    used = {memory.text: memory.use_count for memory in await memories_of(scheduler)}
    assert used == {
        "Guest Ada sleeps in the red room.": 0,
        "Guest Ben sleeps in the green room.": 1,
        "Guest Cem sleeps in the blue room.": 0,
    }


async def test_a_question_that_the_set_answers_brings_nothing_new_in(scheduler: AsyncMemScheduler) -> None:
    await tell(
        scheduler,
        *(
            said(text, number)
            for number, text in enumerate(
                ["Rex eats carrots.", "Bob repairs motorcycles.", "The lake is frozen in January."]
            )
        ),
    )
    await tell(scheduler, said("What does Rex eat?", 10, "query"))
    before = set(await texts_of(scheduler))

    await tell(scheduler, said("Rex eats carrots?", 11, "query"))

    assert set(await texts_of(scheduler)) == before


async def test_an_event_whose_clock_is_ahead_does_not_freeze_the_talk(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, *(said(f"Guest {number} has room {number}.", number) for number in range(30)))
    await tell(
        scheduler, said("Who has room 3?", item_id="ahead", label="query", timestamp=datetime(2999, 1, 1, tzinfo=UTC))
    )
    await tell(scheduler, said("Who has room 7?", item_id="now", label="query", timestamp=datetime.now(UTC)))

    services = await scheduler.memory()
    state = await services.states.load(CubeRef("alice", "home"))
    assert [event.event_id for event in state.log][-1] == state.talk[-1].event_id
    assert "room 7" in state.talk[-1].text


async def test_a_burst_of_months_ends_as_one_message_after_the_other(scheduler: AsyncMemScheduler) -> None:
    rooms = [said(f"Guest {number} has room {number % 5} and key {number % 3}.", number) for number in range(8)]
    talk = [
        message
        for day in range(1, 9)
        for message in (
            said(f"Which room has guest {day % 8}, and which key?", 1440 * day, "query", item_id=f"q{day}"),
            said(f"Guest {day % 8} has room {day % 8 % 5} and key {day % 8 % 3}.", 1440 * day + 1, "answer"),
        )
    ]

    async def end(user: str) -> tuple[object, object]:
        state = await (await scheduler.memory()).states.load(CubeRef(user, "home"))
        texts = {each.memory_id: each.text for each in await memories_of(scheduler, user)}
        log = [(entry.at, [texts[each] for each in entry.credited]) for entry in state.log]
        return log, [each.text for each in state.working_set]

    def of(user: str, messages: list[ScheduleMessageItem]) -> list[ScheduleMessageItem]:
        return [each.model_copy(update={"user_id": user}) for each in messages]

    await tell(scheduler, *of("alice", rooms), *of("bob", rooms))
    await tell(scheduler, *of("bob", talk[::-1]))
    for message in of("alice", talk):
        await tell(scheduler, message)

    assert await end("bob") == await end("alice")


async def test_it_is_read_in_one_round_trip(scheduler: AsyncMemScheduler, monkeypatch: Any) -> None:
    await tell(scheduler, said("Rex eats carrots."))
    server = await scheduler.server()
    calls = []
    run = type(server).run

    async def counted(self: Any, commands: Any) -> Any:
        calls.append(len(commands))
        return await run(self, commands)

    monkeypatch.setattr(type(server), "run", counted)
    other = AsyncMemScheduler(scheduler.settings)
    try:
        assert [memory.text for memory in await other.working_set("alice", "home")] == ["Rex eats carrots."]
        await other.working_set("alice", "home")
        calls.clear()
        await other.working_set("alice", "home")
        assert calls.count(2) == 1
    finally:
        await other.stop()


async def test_an_archived_memory_leaves_and_comes_back_when_it_is_restored(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("Rex eats carrots."), said("Rex hates the vacuum cleaner.", 1))
    memory = next(each for each in await memories_of(scheduler) if "carrots" in each.text)

    def feedback(action: str) -> ScheduleMessageItem:
        return said("", 5, "mem_feedback", info={"memory_id": memory.memory_id, "action": action})

    await tell(scheduler, feedback("archive"))
    assert "Rex eats carrots." not in await texts_of(scheduler)
    assert "Rex eats carrots." not in await found(scheduler, "what does Rex eat")
    assert "Rex eats carrots." in await found(scheduler, "what does Rex eat", search_args={"include_archived": True})
    await tell(scheduler, feedback("restore"))
    assert "Rex eats carrots." in await texts_of(scheduler)
    assert memory.created_at > FIRST
