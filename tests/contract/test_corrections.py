"""What is put aside says why and by what, and can be brought back; nothing depends on the order of arrival."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from support.memories import FIRST, conversation, found, idle, memories_of, said, texts_of

from memsched import AsyncMemScheduler
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import Revision
from memsched.memory.ingest.supersession import MOST_LINKS, Claim
from memsched.memory.ingest.turns import turns_of
from memsched.memory.ingest.writer import Statement
from memsched.memory.model import Memory
from memsched.memory.search.arguments import InvalidSearch
from memsched.memory.search.hybrid import HybridSearch
from memsched.messages import ScheduleMessageItem

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
HOME = CubeRef("alice", "home")
ROME, MILAN, OSLO = "I live in Rome.", "Actually, I live in Milan.", "Actually, I live in Oslo."


@pytest.fixture
async def scheduler(quick_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = quick_schedulers()
    await made.start()
    return made


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    """One after another, as the handler of ``add`` stores them."""
    writer = (await scheduler.memory()).writer
    for message in messages:
        cube = CubeRef(message.user_id, message.mem_cube_id)
        await writer.write_turns(cube, {message.item_id: turns_of(message)}, message.user_id)


async def known(scheduler: AsyncMemScheduler, cube: str = "home") -> dict[str, Memory]:
    return {memory.text: memory for memory in await memories_of(scheduler, cube=cube)}


async def by(scheduler: AsyncMemScheduler, cube: str = "home") -> dict[str, str]:
    """Of what is superseded, the text of what supersedes it."""
    memories = await memories_of(scheduler, cube=cube)
    texts = {memory.memory_id: memory.text for memory in memories}
    return {memory.text: texts[memory.superseded_by] for memory in memories if memory.superseded_by}


async def fact(scheduler: AsyncMemScheduler, turn: str, text: str, key: str = "model/0") -> Memory:
    """What a model took from a turn, as ``mem_read`` stores it."""
    source = (await known(scheduler))[turn]
    statement = Statement(
        key=key,
        text=text,
        kind="fact",
        about_user=True,
        at=source.at,
        session_id=source.session_id,
        turn=source.turn,
        sources=source.sources,
        derived_from=[source.memory_id],
        said_by=source.speaker,
    )
    item_id = next(iter(source.sources)).partition("#")[0]
    (await (await scheduler.memory()).writer.write_statements(HOME, item_id, [statement], "alice"))
    return (await known(scheduler))[text]


async def test_a_superseded_memory_says_by_what_why_and_until_when_it_held(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said(ROME, 0), said(MILAN, 9))

    older, newer = (await known(scheduler))[ROME], (await known(scheduler))[MILAN]

    assert (older.superseded_by, newer.replaces) == (newer.memory_id, [older.memory_id])
    assert older.superseded_because
    assert (older.valid_from, older.valid_until) == (older.at, newer.at)
    assert (newer.valid_from, newer.valid_until) == (newer.at, None)


async def test_the_order_of_arrival_changes_nothing(scheduler: AsyncMemScheduler) -> None:
    for order in itertools.permutations([(ROME, 0), (MILAN, 5), (OSLO, 9)]):
        cube = str(order)
        await tell(scheduler, *(said(text, minute, mem_cube_id=cube) for text, minute in order))

        assert await by(scheduler, cube) == {ROME: MILAN, MILAN: OSLO}, order
        memories = await known(scheduler, cube)
        assert {text: memory.version for text, memory in memories.items()} == {ROME: 1, MILAN: 2, OSLO: 3}, order
        assert memories[OSLO].replaces == [memories[MILAN].memory_id], order


async def test_another_voice_corrects_nothing(scheduler: AsyncMemScheduler) -> None:
    await tell(
        scheduler,
        conversation(("Alice", ROME), ("Bob", MILAN)),
        said("", 5, chat_history=[{"role": "assistant", "content": OSLO}]),
    )

    assert await by(scheduler) == {}
    assert not any(memory.may_be_revised_by for memory in (await known(scheduler)).values())


async def test_a_part_of_a_long_text_corrects_nothing_and_is_not_looked_at(
    scheduler: AsyncMemScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Any] = []
    search_each = HybridSearch.search_each

    async def searching(self: HybridSearch, ref: CubeRef, queries: Any, top_k: int) -> Any:
        searched.extend(queries)
        return await search_each(self, ref, queries, top_k)

    monkeypatch.setattr(HybridSearch, "search_each", searching)
    report = "\n\n".join(f"Chapter {number}. {'It was a long day. ' * 25}" for number in range(20))

    await tell(scheduler, said(ROME, 0), said(f"{report}\n\n{MILAN}", 5), said("I live in Oslo.", 9))

    assert await by(scheduler) == {ROME: "I live in Oslo."}
    assert len(searched) == 2  # for the two short ones


async def test_a_name_is_the_same_with_capitals_and_without(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said(ROME, 0, user_name="Ana\u0301"), said(MILAN, 5, user_name="an\u00e1"))

    assert await by(scheduler) == {ROME: MILAN}


async def test_what_was_restored_stays_so_whatever_comes_again(scheduler: AsyncMemScheduler) -> None:
    talk = [said(ROME, 0, item_id="rome"), said(MILAN, 5, item_id="milan")]
    await scheduler.submit_messages(talk)
    await idle(scheduler)
    older = (await known(scheduler))[ROME]
    assert await texts_of(scheduler) == [MILAN]

    assert await scheduler.restore("alice", "home", older.memory_id)

    assert sorted(await texts_of(scheduler)) == [MILAN, ROME]
    await tell(scheduler, *talk, said("I live in Graz, actually.", 4))
    memories = await known(scheduler)
    assert await by(scheduler) in ({}, {"I live in Graz, actually.": MILAN})
    assert (memories[ROME].valid_until, memories[ROME].superseded_because) == (None, "")
    assert older.memory_id not in memories[MILAN].replaces
    assert not await scheduler.restore("alice", "home", older.memory_id)
    events = [event for event in await scheduler.get_web_log_messages() if event.label == "restore"]
    assert [event.metadata for event in events] == [
        {"memory_id": older.memory_id, "superseded_by": memories[MILAN].memory_id}
    ]

    await tell(scheduler, said(OSLO, 9))  # said after that, it counts
    assert (await by(scheduler))[ROME] == OSLO


async def test_what_was_merged_and_restored_is_not_merged_again(scheduler: AsyncMemScheduler) -> None:
    older = "We painted the kitchen walls with bright yellow paint."
    await tell(scheduler, said(older, 0), said(f"Oh, {older[0].lower()}{older[1:]}", 60))
    await scheduler.submit_messages(said("", 70, "mem_organize"))
    await idle(scheduler)
    merged = (await known(scheduler))[older]
    assert merged.status == "archived"

    assert await scheduler.restore("alice", "home", merged.memory_id)
    await scheduler.submit_messages(said("", 80, "mem_organize"))
    await idle(scheduler)

    memory = (await known(scheduler))[older]
    assert (memory.status, memory.superseded_by) == ("activated", None)


async def test_what_a_deleted_memory_had_superseded_holds_again(scheduler: AsyncMemScheduler) -> None:
    await scheduler.submit_messages([said(ROME, 0), said(MILAN, 5), said("My dog is called Rex.", 7), said(OSLO, 9)])
    await idle(scheduler)
    services, memories = await scheduler.memory(), await known(scheduler)

    await services.deletion.delete(HOME, [memories[MILAN]], user_id="alice", name="home")
    assert await by(scheduler) == {ROME: OSLO}

    await services.deletion.delete(HOME, [(await known(scheduler))[OSLO]], user_id="alice", name="home")
    assert await by(scheduler) == {}
    assert (await known(scheduler))[ROME].valid_until is None
    assert sorted(await texts_of(scheduler)) == [ROME, "My dog is called Rex."]
    *_, event = [event for event in await scheduler.get_web_log_messages() if event.label == "delete"]
    assert event.metadata == [{"memory_id": memories[OSLO].memory_id, "had_superseded": [memories[ROME].memory_id]}]


async def link(scheduler: AsyncMemScheduler, older: str, newer: str) -> None:
    """As where the rule is not sure."""
    services, memories = await scheduler.memory(), await known(scheduler)
    claim = Claim(memories[older].memory_id, memories[newer].memory_id, Revision("may_revise", "it may have changed"))
    await services.corrections.supersession.settle(HOME, [claim])


async def test_what_may_revise_a_memory_stands_before_it_and_hides_nothing(scheduler: AsyncMemScheduler) -> None:
    moved = "The lorry brought all our boxes to Milan."
    await tell(scheduler, said(ROME, 0), said("Bob lives in Graz.", 2), said(moved, 9))
    await scheduler.submit_messages(said("Where do I live?", 10, "query"))
    await idle(scheduler)
    assert (await found(scheduler, "Where do I live?"))[0] != moved

    await link(scheduler, ROME, moved)

    first, second, *_ = await scheduler.retriever.search("Where do I live?", "alice", "home")
    assert (first.memory, second.memory) == (moved, ROME)
    assert first.parts["linked"] > 0
    assert sum(first.parts.values()) == pytest.approx(first.points)
    assert second.item.may_be_revised_by == {first.id: "it may have changed"}
    assert first.item.may_revise == {second.id: "it may have changed"}
    assert not second.item.superseded_by
    await scheduler.submit_messages(said("", 11, "mem_update"))
    await idle(scheduler)
    (rome,) = [each for each in await scheduler.working_set("alice", "home") if each.text == ROME]
    assert rome.may_be_revised_by == [first.id]
    assert (
        f"(may be revised by a later statement) {ROME}"
        in (await scheduler.prompt("alice", "home", "Where do I live?")).text
    )

    services = await scheduler.memory()
    await services.deletion.delete(HOME, [first.item], user_id="alice", name="home")
    assert (await known(scheduler))[ROME].may_be_revised_by == {}


async def test_what_may_be_revised_and_was_said_again_since_is_found(scheduler: AsyncMemScheduler) -> None:
    older, newer = "My old bicycle in the cellar is red.", "My bicycle in the cellar is red."
    await tell(scheduler, said(older, 0), said(newer, 5))
    await link(scheduler, older, newer)
    memories = await known(scheduler)
    # As it is while a writer, who stores first that it was said again, has not looked yet at what that corrects.
    again = int((FIRST + timedelta(hours=1)).timestamp() * 1000)
    await (await scheduler.memory()).store.patch(HOME, {memories[older].memory_id: {"last_said": again}})

    assert sorted(await found(scheduler, "Which bicycle in the cellar is red?")) == [newer, older]


async def test_of_many_links_the_newest_stay_in_whatever_order_they_came(scheduler: AsyncMemScheduler) -> None:
    texts = [f"The lorry went to town number {number}." for number in range(MOST_LINKS + 3)]
    await tell(scheduler, said(ROME, 0), *(said(text, 1 + number) for number, text in enumerate(texts)))

    for text in [*texts[1::2], *texts[::-2]]:
        await link(scheduler, ROME, text)

    memories = await known(scheduler)
    assert memories[ROME].may_be_revised_by.keys() == {memories[text].memory_id for text in texts[3:]}
    assert [text for text in texts if memories[text].may_revise] == texts[3:]


async def test_a_search_as_of_a_time_finds_what_held_then(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said(ROME, 0), said(MILAN, 5), said(OSLO, 9))

    async def as_of(minute: float) -> list[str]:
        at = (FIRST + timedelta(minutes=minute)).isoformat()
        results = await scheduler.retriever.search("Where do I live?", "alice", "home", search_args={"at": at})
        assert not results[0].parts.get("superseded")
        return [result.memory for result in results]

    assert await as_of(0) == await as_of(4) == [ROME]
    assert await as_of(5) == [MILAN, ROME]
    assert (await as_of(20))[0] == OSLO
    with pytest.raises(InvalidSearch, match="at: .*time zone"):
        await scheduler.retriever.search("Rome?", "alice", "home", search_args={"at": "2026-01-05"})
    with pytest.raises(InvalidSearch, match="search_args: at"):
        await scheduler.retriever.search("Rome?", "alice", "home", search_args={"at": "yesterday"})


class TestResentHistories:
    """Chat programs send the whole history with each turn, under a new id and without times."""

    NICE, GOT = "Nice city!", "Got it, Milan."

    async def talk(self, scheduler: AsyncMemScheduler, *turns: str, minute: float, **fields: Any) -> None:
        """Alice and an assistant in turn."""
        roles = ("user", "assistant")
        history = [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]
        await tell(scheduler, said("", minute, chat_history=history, **fields))

    async def test_a_superseded_statement_in_it_is_a_repeat(self, scheduler: AsyncMemScheduler) -> None:
        turns = [ROME, self.NICE, MILAN, self.GOT, "What is the weather like?", "Fine.", "Thanks."]
        for minute, count in enumerate((1, 3, 5, 7)):
            await self.talk(scheduler, *turns[:count], minute=minute)

        assert sorted(each.text for each in await memories_of(scheduler)) == sorted(turns)
        assert await by(scheduler) == {ROME: MILAN}

    async def test_in_it_somebody_may_say_it_anew_once_and_again(self, scheduler: AsyncMemScheduler) -> None:
        turns = [ROME, self.NICE, MILAN, self.GOT, ROME, "Back again!", "Yes, with all I have."]
        for minute, count in enumerate((1, 3, 5, 7)):
            await self.talk(scheduler, *turns[:count], minute=minute)

        memories = await memories_of(scheduler)
        assert sorted(each.text for each in memories) == sorted(turns)
        assert [each.text for each in memories if each.superseded_by] in ([ROME, MILAN], [MILAN, ROME])

    async def test_one_that_was_corrected_elsewhere_is_a_repeat_too(self, scheduler: AsyncMemScheduler) -> None:
        turns = ["Hello there, my friend.", "Hello, good to see you.", ROME, self.NICE, "Is it warm there?", "It is."]
        await self.talk(scheduler, *turns[:4], minute=0)
        await tell(scheduler, said(MILAN, 5))

        await self.talk(scheduler, *turns, minute=9)
        await self.talk(scheduler, *turns[2:], "And sunny?", minute=9)

        assert len(await memories_of(scheduler)) == 8
        assert await by(scheduler) == {ROME: MILAN}

    @pytest.mark.parametrize("after", [(), ("Nice city!",), ("Got it.", "Is it warm there?")])
    async def test_who_says_it_anew_alone_means_it(self, scheduler: AsyncMemScheduler, after: tuple[str, ...]) -> None:
        await self.talk(scheduler, ROME, after[0] if after else "Got it.", minute=0)
        await tell(scheduler, said(MILAN, 5))

        await self.talk(scheduler, ROME, *after, minute=9)

        assert await by(scheduler) == {ROME: MILAN, MILAN: ROME}

    async def test_times_of_turns_tell(self, scheduler: AsyncMemScheduler) -> None:
        times = [{"timestamp": (FIRST + timedelta(minutes=minute)).isoformat()} for minute in (0, 5, 9)]
        turns = [{"role": "user", "content": text} for text in (ROME, MILAN, ROME)]
        timed = [{**turn, **at} for turn, at in zip(turns, times, strict=True)]
        await tell(scheduler, said("", 0, chat_history=timed[:1]), said("", 5, chat_history=timed[1:2]))

        await tell(scheduler, said("", 20, chat_history=timed[:2]))
        assert await by(scheduler) == {ROME: MILAN}
        await tell(scheduler, said("", 21, chat_history=timed[1:]))
        assert await by(scheduler) == {ROME: MILAN, MILAN: ROME}

    async def test_all_in_one_message_counts_in_order(self, scheduler: AsyncMemScheduler) -> None:
        await self.talk(scheduler, ROME, "Ah.", MILAN, "Oh.", ROME, "Back!", minute=0)

        assert await by(scheduler) == {ROME: MILAN, MILAN: ROME}


class TestStatementsAndTurns:
    """A statement and the turn that it was taken from share their fate."""

    async def test_no_statement_is_corrected_by_its_own_turn_or_another_of_it(
        self, scheduler: AsyncMemScheduler
    ) -> None:
        await tell(scheduler, said(MILAN, 0, user_name="Alice"))
        await fact(scheduler, MILAN, "Alice lives in Milan.")
        await fact(scheduler, MILAN, "Actually, Alice lives in Rome.", "model/1")

        assert await by(scheduler) == {}

    @pytest.mark.parametrize("late", [False, True])
    async def test_a_superseded_turn_takes_what_was_taken_from_it_with_it_and_brings_it_back(
        self, scheduler: AsyncMemScheduler, late: bool
    ) -> None:
        await tell(scheduler, said(ROME, 0, user_name="Alice"))
        if not late:
            await fact(scheduler, ROME, "Alice lives in Rome.")
        await tell(scheduler, said(MILAN, 5, user_name="Alice"))
        if late:
            await fact(scheduler, ROME, "Alice lives in Rome.")
        await fact(scheduler, MILAN, "Alice lives in Milan.")
        assert await by(scheduler) == {ROME: MILAN, "Alice lives in Rome.": MILAN}

        undone = (await known(scheduler))[ROME if late else "Alice lives in Rome."]
        await scheduler.restore("alice", "home", undone.memory_id)

        assert await by(scheduler) == {}
        await fact(scheduler, MILAN, "Actually, Alice lives in Milan.", "model/1")
        assert await by(scheduler) == {}

    async def test_a_superseded_statement_takes_its_turn_along_if_that_says_no_more(
        self, scheduler: AsyncMemScheduler
    ) -> None:
        services = await scheduler.memory()
        two = "I live in Rome, and my dog Rex loves carrots."
        await tell(scheduler, said(ROME, 0, user_name="Alice"), said(two, 1, user_name="Alice", mem_cube_id="home"))
        await tell(scheduler, said("Hm, Milan by now.", 5, user_name="Alice"))
        rome, also = await fact(scheduler, ROME, "Alice lives in Rome."), await fact(scheduler, two, "Rome is home.")
        milan = await fact(scheduler, "Hm, Milan by now.", "Alice lives in Milan.")

        await services.corrections.supersession.supersede(HOME, [rome, also], milan, "she said so")

        superseded = await by(scheduler)
        assert superseded.pop(ROME) == "Hm, Milan by now."
        assert superseded == {"Alice lives in Rome.": milan.text, "Rome is home.": milan.text}
        turn = (await known(scheduler))[two]
        assert list(turn.may_be_revised_by.values()) == ["she said so"]

    async def test_feedback_on_a_turn_reaches_what_was_taken_from_it(self, scheduler: AsyncMemScheduler) -> None:
        await tell(scheduler, said(ROME, 0, user_name="Alice"))
        await fact(scheduler, ROME, "Alice lives in Rome.")
        turn = (await known(scheduler))[ROME]
        told: dict[str, Any] = {"info": {"memory_id": turn.memory_id}, "item_id": "f"}

        await scheduler.submit_messages(said("I live in Bern.", 5, "mem_feedback", **told))
        await idle(scheduler)

        assert await by(scheduler) == dict.fromkeys([ROME, "Alice lives in Rome."], "I live in Bern.")
        events = [event for event in await scheduler.get_web_log_messages() if "Corrected" in event.log_content]
        assert len(events) == 2
        assert "somebody said that it is wrong" in events[0].log_content


SMOKE, NOT = "I smoke.", "I don't smoke."
TEA, NO_TEA = "I like tea.", "I don't like tea."
GOOGLE, META = "I work at Google.", "I now work at Meta."
IN_MILAN = "I live in Milan."


class TestSaidAgain:
    """Of the statements of one slot the one that was told last stands, also if it is told while it still holds."""

    @staticmethod
    async def standing(scheduler: AsyncMemScheduler, query: str, cube: str) -> str:
        first, *_ = await scheduler.retriever.search(query, "alice", cube)
        assert not first.item.superseded_by
        return first.memory

    @pytest.mark.parametrize(
        ("query", "texts"),
        [
            ("Do I smoke?", [SMOKE, NOT, SMOKE, NOT]),
            ("Do I smoke?", [NOT, SMOKE, NOT, SMOKE]),
            ("Do I like tea?", [TEA, NO_TEA, TEA, NO_TEA]),
            ("Do I like tea?", [TEA, NO_TEA, TEA]),
            ("Where do I live?", [ROME, IN_MILAN, ROME, IN_MILAN]),
            ("Where do I work?", [GOOGLE, META, GOOGLE]),
            ("Where do I work?", [META, GOOGLE, META]),
        ],
    )
    async def test_in_whatever_order_they_arrive_and_when_they_come_again(
        self, scheduler: AsyncMemScheduler, query: str, texts: list[str]
    ) -> None:
        told = list(enumerate(texts))
        for number, order in enumerate(
            (told, told[::-1], told[1:] + told[:1], told[::2] + told[1::2], told[1::2] + told[::2])
        ):
            cube = f"cube {number}"
            messages = [said(text, 5 * place, item_id=str(place), mem_cube_id=cube) for place, text in order]
            await tell(scheduler, *messages)
            assert await self.standing(scheduler, query, cube) == texts[-1], order
            before = [each.model_dump(exclude={"updated_at"}) for each in await memories_of(scheduler, cube=cube)]

            await tell(scheduler, *messages[::-1])

            after = [each.model_dump(exclude={"updated_at"}) for each in await memories_of(scheduler, cube=cube)]
            assert after == before, order

    async def test_in_one_message_and_in_one_batch_of_messages(self, scheduler: AsyncMemScheduler) -> None:
        writer, texts = (await scheduler.memory()).writer, [SMOKE, NOT, SMOKE, NOT]
        await tell(scheduler, said("", 0, chat_history=texts[:2]), said("", 5, chat_history=texts[2:]))
        batch = [said(text, minute, mem_cube_id="batch") for minute, text in enumerate(texts)]
        await writer.write_turns(CubeRef("alice", "batch"), {each.item_id: turns_of(each) for each in batch}, "alice")

        for cube in ("home", "batch"):
            assert await self.standing(scheduler, "Do I smoke?", cube) == NOT

    @pytest.mark.parametrize("minute", [4.0, 9.0])
    async def test_what_was_restored_holds_until_the_other_is_told_again(
        self, scheduler: AsyncMemScheduler, minute: float
    ) -> None:
        await tell(scheduler, said(ROME, 0), said(IN_MILAN, 3), said(IN_MILAN, 5))
        supersession = (await scheduler.memory()).corrections.supersession
        await supersession.restore(HOME, (await known(scheduler))[ROME].memory_id)

        await tell(scheduler, again := said(IN_MILAN, minute), again)

        assert await by(scheduler) == ({ROME: IN_MILAN} if minute > 5 else {})
        assert (await known(scheduler))[IN_MILAN].replaces == [(await known(scheduler))[ROME].memory_id] * (minute > 5)

    async def test_a_history_that_is_sent_once_more_tells_nothing_again(self, scheduler: AsyncMemScheduler) -> None:
        turns = [GOOGLE, "Nice job!", "Is it far?", "Not at all.", "Good."]
        history = [
            {"role": role, "content": text} for role, text in zip(("user", "assistant") * 3, turns, strict=False)
        ]
        await tell(scheduler, said("", 0, chat_history=history[:4]), said(META, 5), said("", 9, chat_history=history))

        assert await by(scheduler) == {GOOGLE: META}
        await tell(scheduler, said(GOOGLE, 12))
        assert await self.standing(scheduler, "Where do I work?", "home") == GOOGLE


class TestSeveralCorrectors:
    """What two statements correct holds again when both are gone, and not before."""

    MEAT = "I eat meat."
    NO_MEAT = ("I don't eat meat.", "I no longer eat meat.")

    async def told(self, scheduler: AsyncMemScheduler, order: Sequence[int] = (0, 1, 2)) -> None:
        messages = [said(text, 5 * place) for place, text in enumerate((self.MEAT, *self.NO_MEAT))]
        await tell(scheduler, *(messages[place] for place in order))
        assert await by(scheduler) == {self.MEAT: self.NO_MEAT[0]}

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    @pytest.mark.parametrize("first", [0, 1])
    async def test_deleting_one_leaves_the_other(
        self, scheduler: AsyncMemScheduler, order: Sequence[int], first: int
    ) -> None:
        await self.told(scheduler, order)
        await fact(scheduler, self.MEAT, "Alice eats meat.")
        services, one, other = await scheduler.memory(), self.NO_MEAT[first], self.NO_MEAT[1 - first]
        assert (await by(scheduler))["Alice eats meat."] == self.NO_MEAT[0]

        await services.deletion.delete(HOME, [(await known(scheduler))[one]], user_id="alice", name="home")
        assert await by(scheduler) == dict.fromkeys([self.MEAT, "Alice eats meat."], other)
        meat = (await known(scheduler))[self.MEAT]
        assert (meat.valid_until, meat.superseded_because) == (
            (await known(scheduler))[other].at,
            'denies "I eat meat"',
        )

        await services.deletion.delete(HOME, [(await known(scheduler))[other]], user_id="alice", name="home")
        assert await by(scheduler) == {}
        assert (await known(scheduler))[self.MEAT].valid_until is None

    async def test_a_deleted_correction_by_hand_leaves_the_one_before(self, scheduler: AsyncMemScheduler) -> None:
        await self.told(scheduler)
        await tell(scheduler, said("My plate is green now.", 20))
        services, memories = await scheduler.memory(), await known(scheduler)
        newer = memories["My plate is green now."]
        await services.corrections.supersession.supersede(HOME, [memories[self.MEAT]], newer, "somebody said so")
        assert await by(scheduler) == {self.MEAT: newer.text}

        await services.deletion.delete(HOME, [newer], user_id="alice", name="home")

        assert await by(scheduler) == {self.MEAT: self.NO_MEAT[0]}

    async def test_undoing_it_undoes_both(self, scheduler: AsyncMemScheduler) -> None:
        await self.told(scheduler)
        await scheduler.restore("alice", "home", (await known(scheduler))[self.MEAT].memory_id)
        assert await by(scheduler) == {}

        services, memories = await scheduler.memory(), await known(scheduler)
        await services.deletion.delete(HOME, [memories[self.NO_MEAT[0]]], user_id="alice", name="home")
        assert await by(scheduler) == {}
        assert memories[self.MEAT].correctors == []


@pytest.mark.parametrize("names", [(None, "Alice"), ("Alice", None), ("Alice", "Ally")])
async def test_a_user_corrects_themselves_under_each_name_and_without_one(
    scheduler: AsyncMemScheduler, names: tuple[str | None, str | None]
) -> None:
    await tell(scheduler, said("I live in Lisbon.", 0, user_name=names[0]))
    await tell(scheduler, said("I moved to Porto.", 1, user_name=names[1]))
    await tell(scheduler, conversation(("Bob", "I moved to Rome."), minute=2))

    by = {each.text: each.superseded_by for each in await memories_of(scheduler)}
    ids = {each.text: each.memory_id for each in await memories_of(scheduler)}
    assert by == {"I live in Lisbon.": ids["I moved to Porto."], "I moved to Porto.": None, "I moved to Rome.": None}
