"""The state of a cube that changes by compare-and-set: the order of messages, and who writes, make no difference."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import memory

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.policy.block import Member
from memsched.policy.talk import Answered, TalkEvent
from memsched.tiers.hot_state import HotState, HotStateContested, HotStates, Sent, Use, WorkingMemory, mark_of

HOME, OTHER = CubeRef("alice", "home"), CubeRef("bob", "home")
EVENTS = st.builds(
    lambda number, at, text: TalkEvent(event_id=f"e{number}", at=at, text=text),
    st.integers(0, 9),
    st.integers(0, 3),
    st.sampled_from("abcdef"),
)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield server
    await server.aclose()


@pytest.fixture
def states(server: Server) -> HotStates:
    return HotStates(server, Keys())


def answered(state: HotState, name: str) -> HotState:
    log = [*state.log, Answered(event_id=name, at=1, credited=["m"])]
    return state.model_copy(update={"log": sorted(log, key=lambda event: event.order)})


def used(memory_id: str, use: Use) -> HotState:
    return HotState(uses={memory_id: use})


def one_of_each_id(events: list[TalkEvent]) -> list[TalkEvent]:
    return list({event.event_id: event for event in events}.values())


@given(st.lists(EVENTS, max_size=10).map(one_of_each_id), st.randoms(use_true_random=False))
def test_talk_is_the_same_in_whatever_order_and_groups_it_arrives(events: list[TalkEvent], chance: Random) -> None:
    together = HotState().with_talk(events)
    chance.shuffle(events)

    in_parts = HotState()
    while events:
        part = [events.pop() for _ in range(chance.randint(1, len(events)))]
        in_parts = in_parts.with_talk(part)

    assert in_parts == together
    assert [event.order for event in together.talk] == sorted(event.order for event in together.talk)


def test_an_event_that_comes_again_keeps_what_was_found_for_it() -> None:
    found = TalkEvent(event_id="e1", at=1, text="a", hits=[("m", 1.0)])

    assert HotState(talk=[found]).with_talk([TalkEvent(event_id="e1", at=1, text="a")]).talk == [found]


async def test_uses_are_counted_where_they_are_stored_and_forgotten_with_the_memory(states: HotStates) -> None:
    async def once_more(state: HotState, _: set[str]) -> HotState:
        before = await states.uses(HOME, ["often"])
        return used("often", before.get("often", Use(0, 0)).again(9 - state.version))

    for number in range(3):
        await states.change(HOME, [f"answer-{number}"], once_more)

    assert await states.uses(HOME, ["often", "never"]) == {"often": Use(3, 9)}
    assert (await states.load(HOME)).uses == {}, "read by whoever asks for it, and not with each message"
    await states.forget_uses(HOME, ["often", "never"])
    assert await states.uses(HOME, ["often"]) == {}


async def test_a_cube_keeps_its_salt_until_a_member_of_its_block_is_no_more(states: HotStates) -> None:
    one, other = Member.of("one", "Rex eats carrots."), Member.of("other", "Rex hates cats.")

    async def has_a_block(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"block": [one]})

    def without(memory_id: str) -> Callable[[HotState, set[str]], Awaitable[HotState]]:
        async def compute(state: HotState, _: set[str]) -> HotState:
            return state.without({memory_id})

        return compute

    salts = [
        (await states.change(HOME, [], compute))[1].salt
        for compute in (has_a_block, has_a_block, without(other.memory_id), without(one.memory_id))
    ]

    assert all(re.fullmatch("[0-9a-f]{16}", salt) for salt in salts)
    assert salts[0] == salts[1] == salts[2] != salts[3] == (await states.load(HOME)).salt


def test_only_what_changed_is_written() -> None:
    full = HotState(
        talk=[TalkEvent(event_id="e", at=1, text="a")], working_set=[WorkingMemory.of(memory("Rex eats."), 0.5, {})]
    )
    changed = full.model_copy(update={"log": [Answered(event_id="e", at=1, credited=["m"])]})

    assert full.fields_beside(full) == []
    assert changed.fields_beside(full) == ["log", '[{"event_id":"e","at":1,"credited":["m"]}]']


async def test_what_is_written_is_read_again(states: HotStates) -> None:
    full = HotState(
        talk=[TalkEvent(event_id='"e', at=1, text="Où?\n", hits=[("m", 0.5)]), TalkEvent(event_id="f", at=2, text="b")],
        log=[Answered(event_id='"e', at=1, credited=["m"])],
        working_set=[WorkingMemory.of(memory("Rex eats.", speaker="Bob"), 0.12345678901, {"near": 0.12345678901})],
        salt="0123456789abcdef",
        sent=Sent(version="v", at=1, head="h", tokens=9, cached=0, step="once"),
    )

    async def compute(before: HotState, known: set[str]) -> HotState:
        assert (before, known) == (HotState(), set())
        return full

    _, after = await states.change(HOME, [mark_of("add", "m1")], compute)

    assert after == await states.load(HOME) == full.model_copy(update={"version": 1})
    assert after.working_set[0].score == 0.123456789
    assert after.working_set[0].said == "Bob: Rex eats."
    assert await states.load(OTHER) == HotState()


async def test_what_is_near_is_read_anew_with_each_change_and_is_the_readers_own_list(server: Server) -> None:
    """Also where a version comes a second time, as after everything in a cube was deleted."""
    states = HotStates(server, Keys())
    first, other = (
        WorkingMemory.of(memory("Rex eats.", memory_id="m", speaker=name), 0.5, {}) for name in ("Bob", "Eve")
    )

    async def near(ref: CubeRef) -> list[WorkingMemory]:
        return await server.call(states.working_set_command(ref, "alice"))

    async def written(ref: CubeRef, memory: WorkingMemory) -> None:
        async def compute(state: HotState, _: set[str]) -> HotState:
            return state.model_copy(update={"working_set": [memory]})

        await states.change(ref, [], compute)

    await written(HOME, first)
    found = await near(HOME)
    assert found == [first]
    found.clear()
    assert await near(HOME) == [first], "nobody changes what others read"
    assert await near(OTHER) == []
    await written(OTHER, other)
    assert (await near(HOME), await near(OTHER)) == ([first], [other])
    await server.execute("DEL", Keys().cube(HOME.user_id, HOME.mem_cube_id).hot)
    assert await near(HOME) == []
    await written(HOME, other)
    assert await near(HOME) == [other]
    assert len({first, other}) == 2, "one id is not one memory: its text may be another one"


async def test_messages_that_are_in_it_already_change_nothing(states: HotStates) -> None:
    seen: list[set[str]] = []

    async def compute(state: HotState, known: set[str]) -> HotState:
        seen.append(known)
        return answered(state, "x")

    await states.change(HOME, ["a"], compute)
    await states.change(HOME, ["a"], compute)
    before, after = await states.change(HOME, ["a", "b"], compute)
    again, same = await states.change(HOME, ["b", "a"], compute)

    assert seen == [set(), {"a"}]
    assert (before.version, after.version) == (1, 2)
    assert again == same == after
    assert await states.applied(HOME, ["a", "b", "c"]) == {"a", "b"}
    assert await states.applied(OTHER, ["a"]) == set()


async def test_marks_go_with_a_week_and_what_is_written_does_not_grow_with_what_was_used(
    states: HotStates, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, now = Keys().cube("alice", "home").applied, 1_800_000_000.0
    monkeypatch.setattr("memsched.tiers.hot_state.time.time", lambda: now)

    async def use(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"uses": {f"memory {now}": Use(1, 1)}})

    async def compute(state: HotState, _: set[str]) -> HotState:
        return answered(state, "x")

    for mark, days, change in (("used", 0, use), ("old", 0, use), ("newer", 5, use), ("new", 8, compute)):
        now = 1_800_000_000.0 + days * 86_400
        before, after = await states.change(HOME, [mark], change)

    assert await states.applied(HOME, ["used", "old", "newer", "new"]) == {"newer", "new"}
    assert 0 < await server.execute("PTTL", key) <= 7 * 86_400_000
    assert after.fields_beside(before)[::2] == ["log"], "of all that was used, nothing is written again"


async def test_of_many_writers_at_once_each_has_its_effect_once(states: HotStates) -> None:
    async def write(name: str) -> None:
        async def compute(state: HotState, _: set[str]) -> HotState:
            await asyncio.sleep(0)  # here the others get between reading and writing
            return answered(state, name)

        await states.change(HOME, [name], compute)

    await asyncio.gather(*(write(name) for name in "abcdefaabbcc"))

    state = await states.load(HOME)
    assert [event.event_id for event in state.log] == sorted("abcdef")


async def test_a_zombie_that_writes_what_it_computed_long_ago_writes_nothing(states: HotStates) -> None:
    async def late(state: HotState, _: set[str]) -> HotState:
        if state.version == 0:  # while it slept, its message was done by another worker
            await states.change(HOME, ["a"], quick)
        return answered(state, "late")

    async def quick(state: HotState, _: set[str]) -> HotState:
        return answered(state, "quick")

    await states.change(HOME, ["a"], late)

    assert [event.event_id for event in (await states.load(HOME)).log] == ["quick"]


async def test_who_is_always_overtaken_gives_up_and_has_written_nothing(states: HotStates) -> None:
    async def overtaken(state: HotState, _: set[str]) -> HotState:
        async def other(now: HotState, _: set[str]) -> HotState:
            return now

        await states.change(HOME, [], other)
        return answered(state, "mine")

    with pytest.raises(HotStateContested, match="home"):
        await states.change(HOME, ["mine"], overtaken)
    assert (await states.load(HOME)).log == []
    assert await states.applied(HOME, ["mine"]) == set()


async def test_a_hash_that_an_earlier_version_wrote_is_read(server: Server) -> None:
    key = Keys().cube(HOME.user_id, HOME.mem_cube_id).hot
    talk = '[{"event_id":"e","at":1,"text":"a","hits":null}]'
    await server.execute("HSET", key, "version", 7, "talk", talk, "uses", "{}", "policy", '{"key":[1]}', "set", "[]")

    before, after = await HotStates(server, Keys()).change(HOME, ["a"], _unchanged)

    assert before == HotState(version=7), "its talk and its uses were kept otherwise"
    expected = before.model_copy(update={"version": 8, "salt": after.salt})
    assert after == await HotStates(server, Keys()).load(HOME) == expected


async def test_what_began_with_a_salt_is_forgotten_before_another_one_is_written_and_after_it(server: Server) -> None:
    salts = []

    async def forget(ref: CubeRef) -> None:
        salts.append((ref, (await states.load(ref)).salt))

    async def corrected(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"salt": ""})

    states = HotStates(server, Keys(), forget)
    _, first = await states.change(HOME, [], _unchanged)
    await states.change(HOME, [], _unchanged)
    assert salts == [], "a cube without a salt had nothing that began with one"

    _, second = await states.change(HOME, [], corrected)

    assert second.salt != first.salt
    assert salts == [(HOME, first.salt), (HOME, second.salt)]


async def _unchanged(state: HotState, _: set[str]) -> HotState:
    return state


def test_marks_differ_by_label_and_message_and_are_short() -> None:
    assert mark_of("add", "m") != mark_of("answer", "m")
    assert mark_of("add", "x" * 500) != mark_of("add", "x" * 499 + "y")
    assert len(mark_of("add", "x" * 500)) < 100


async def test_what_was_said_is_kept_once_in_its_order_until_it_is_forgotten(states: HotStates) -> None:
    said = [TalkEvent(event_id=f"e{at:03}", at=at // 2, text="a", thread="t") for at in range(200)]

    async def arrived(*events: TalkEvent) -> None:
        async def compute(state: HotState, _: set[str]) -> HotState:
            return state.with_talk(events).model_copy(update={"talk": []})

        await states.change(HOME, [], compute)

    async def forget(state: HotState, _: set[str]) -> HotState:
        return state.model_copy(update={"gone": said[150:]})

    await arrived(*said[100:])
    await arrived(*said[:150])
    assert await states.said(HOME) == said[-192:]
    await states.change(HOME, [], forget)
    assert await states.said(HOME) == said[8:150]
    assert await states.said(OTHER) == []
