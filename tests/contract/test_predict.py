"""What is typed brings memories near in places of its own, and is gone with the question; a preload makes ready."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from support.memories import idle, memories_of, said, snapshot

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.errors import InvalidArgument
from memsched.memory.access.permissions import CubeRef, Permission

pytestmark = pytest.mark.timeout(60)
BOAT = "The boat has a leak below the engine."
TOLD = [said(BOAT, 0), *(said(f"Number {number} of the long list was ticked off.", number) for number in range(1, 9))]


@pytest.fixture
async def scheduler(memory_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = memory_schedulers(working_set_size=4, predict_slots=2, predict_delay_ms=50)
    await made.start()
    await made.submit_messages(TOLD)
    await idle(made)
    return made


def typed(text: str, minute: float) -> ScheduleMessageItem:
    return said(text, minute, "predict")


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


async def test_what_is_no_text_is_refused(scheduler: AsyncMemScheduler) -> None:
    for typed_so_far in (None, 5):
        with pytest.raises(InvalidArgument, match="text=.*must be a text"):
            await scheduler.predict("alice", "home", typed_so_far)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="role=7: it must be a text"):
        await scheduler.working_set("alice", "home", role=7)  # type: ignore[arg-type]


async def predicted(scheduler: AsyncMemScheduler) -> list[str]:
    working_set = await scheduler.working_set("alice", "home")
    assert len(working_set) == 4
    return [each.text for each in working_set if each.sources == ["predicted"]]


async def test_what_is_typed_is_near_and_gone_with_the_question(scheduler: AsyncMemScheduler) -> None:
    before = await snapshot(scheduler)
    assert BOAT not in [each.text for each in await scheduler.working_set("alice", "home")]

    await scheduler.predict("alice", "home", "Where is the le")
    await scheduler.predict("alice", "home", "Where is the leak of the boat")
    await idle(scheduler)
    near = await scheduler.working_set("alice", "home")
    state = await (await scheduler.memory()).states.load(CubeRef("alice", "home"))

    assert (await predicted(scheduler))[0] == BOAT
    assert [each.memory_id for each in near[:2]] == [memory_id for memory_id, _ in before.working_set[:2]]
    assert (state.talk, state.log) == ([], [])
    await tell(scheduler, said("Thanks, that is all.", 2_000_000, "query"))
    assert await predicted(scheduler) == []


async def test_only_what_was_typed_last_is_looked_at(scheduler: AsyncMemScheduler) -> None:
    searched = []
    services = await scheduler.memory()
    search = services.search.search

    async def spied(ref: CubeRef, query: str, *args: object, **more: object) -> object:
        searched.append(query)
        return await search(ref, query, *args, **more)  # type: ignore[arg-type]

    services.search.search = spied  # type: ignore[assignment,method-assign]
    for text in ("The b", "The boat", "The boat's engine"):
        await scheduler.predict("alice", "home", text)
    await idle(scheduler)

    assert searched == ["The boat's engine"]


async def test_what_comes_after_its_question_changes_nothing(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("How long is the list?", 30, "query"), said("It has nine numbers.", 31, "answer"))

    await tell(scheduler, typed("leak of the boat", 29))
    assert await predicted(scheduler) == []
    await tell(scheduler, typed("leak of the boat", 32))
    await tell(scheduler, typed("of the list", 31.5))
    assert BOAT in [each.text for each in await scheduler.working_set("alice", "home")]


async def test_a_question_ends_it_whatever_its_clock_says(scheduler: AsyncMemScheduler) -> None:
    for question in (said("Thanks, that is all.", 60, "query"), said("Thanks!", 20, "query")):
        await scheduler.predict("alice", "home", "leak of the boat")
        await idle(scheduler)
        assert BOAT in await predicted(scheduler)
        await tell(scheduler, question)
        assert await predicted(scheduler) == []


async def test_messages_of_ones_own_are_acted_on_beside_those_of_the_face(scheduler: AsyncMemScheduler) -> None:
    await scheduler.predict("alice", "home", "of the list")
    await idle(scheduler)

    await tell(scheduler, said("leak of the boat", label="predict", timestamp=datetime.now(UTC)))

    assert BOAT in await predicted(scheduler)


async def test_each_sees_what_they_type_themselves(scheduler: AsyncMemScheduler) -> None:
    services = await scheduler.memory()
    name = (await services.cubes.share("alice", "home", "bob", Permission.WRITE, accepted=True)).name

    async def for_bob() -> list[str]:
        return [each.text for each in await scheduler.working_set("bob", name) if each.sources == ["predicted"]]

    await scheduler.predict("alice", "home", "leak of the boat")
    await idle(scheduler)
    assert await for_bob() == []
    await scheduler.predict("alice", "home", "leak of the boat")
    await scheduler.predict("bob", name, "the boat")
    await idle(scheduler)
    assert BOAT in await predicted(scheduler)
    assert BOAT in await for_bob()
    await tell(scheduler, said("Thanks, that is all.", 60, "query"))
    assert (await predicted(scheduler), await for_bob()) == ([], [])


async def test_what_is_reserved_keeps_its_place_and_what_is_deleted_is_not_predicted(
    scheduler: AsyncMemScheduler,
) -> None:
    allergy = "Alice is allergic to penicillin."
    await tell(scheduler, said(allergy, 10), *(said(f"Box {each} was packed.", 11 + each) for each in range(6)))

    await tell(scheduler, typed("leak of the boat engine", 40))
    texts = [each.text for each in await scheduler.working_set("alice", "home")]
    assert {allergy, BOAT} <= set(texts)

    (boat,) = [each for each in await memories_of(scheduler) if each.text == BOAT]
    await (await scheduler.memory()).deletion.delete(boat.ref, [boat], user_id="alice", name="home")
    assert BOAT not in [each.text for each in await scheduler.working_set("alice", "home")]


async def test_who_may_only_read_predicts_nothing(scheduler: AsyncMemScheduler) -> None:
    services = await scheduler.memory()
    name = (await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)).name

    await scheduler.predict("bob", name, "leak of the boat")
    await tell(scheduler, said("leak of the boat", 40, "predict", user_id="bob", mem_cube_id=name))

    assert await predicted(scheduler) == []


async def test_what_is_typed_in_one_conversation_takes_no_place_in_another(scheduler: AsyncMemScheduler) -> None:
    async def sources(session_id: str | None) -> set[str]:
        return {source for each in await scheduler.working_set("alice", "home", session_id) for source in each.sources}

    await scheduler.predict("alice", "home", "leak of the boat", "monday")
    await idle(scheduler)

    assert "predicted" in await sources("monday")
    assert "predicted" in await sources(None)
    assert "predicted" not in await sources("tuesday")
    await scheduler.predict("alice", "home", "leak of the boat")
    await idle(scheduler)
    assert "predicted" in await sources("tuesday"), "nobody said for which conversation"


async def test_a_preload_makes_the_set_ready_once_a_minute(scheduler: AsyncMemScheduler) -> None:
    before = await snapshot(scheduler)
    server = await scheduler.server()
    await server.execute("HDEL", scheduler.keys.cube("alice", "home").hot, "set")
    assert await scheduler.working_set("alice", "home") == []

    for _ in range(3):
        await scheduler.preload("alice", "home", "monday")
    await idle(scheduler)

    assert await snapshot(scheduler) == before
