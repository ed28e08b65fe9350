"""MOS, the whole of it in one process: users, cubes, remembering, finding, correcting, deleting, sharing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from support.conditions import until

from memsched import MOS, AsyncMOS, ScheduleMessageItem
from memsched.errors import (
    CubeExists,
    CubeForbidden,
    InvalidArgument,
    InvalidId,
    InvalidMessage,
    UnknownCube,
    UnknownInvitation,
    UnknownMemory,
    UnknownUser,
    WaitTimeout,
)
from memsched.memory.access.permissions import CubeRef
from memsched.mos.lookup import CubeNotSaid
from memsched.mos.mos import MOSSearchResult
from memsched.mos.tasks import TaskFailed, UnknownTask

pytestmark = pytest.mark.timeout(60)

MakeMos = Callable[..., AsyncMOS]
SECONDS = 30.0
_TOO_LONG = "u" * 513
PETS = [
    {"role": "user", "content": "My dog Max loves peanut butter."},
    {"role": "assistant", "content": "A fine treat!"},
    {"role": "user", "content": "My sister Ann is allergic to nuts."},
]


@pytest.fixture
async def make_mos() -> AsyncIterator[MakeMos]:
    """Makes instances that share one server and one store, both in this process; they are stopped after the test."""
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    url, made = f"memory://{uuid4()}", []

    def make(**given: Any) -> AsyncMOS:
        made.append(AsyncMOS(**{"redis_url": url, "user_id": "alice", "session_id": "s", "retry_base_ms": 10, **given}))
        return made[-1]

    yield make
    for mos in made:
        await mos.stop(grace_seconds=0)


@pytest.fixture
def mos(make_mos: MakeMos) -> AsyncMOS:
    return make_mos()


def texts(result: MOSSearchResult) -> dict[str, list[str]]:
    """By cube, of what search or get_all gives."""
    return {cube["cube_id"]: [each.memory for each in cube["memories"]] for cube in result["text_mem"]}


async def id_of(mos: AsyncMOS, text: str, **more: Any) -> str:
    everything = (await mos.get_all(**more))["text_mem"]
    (memory_id,) = [memory.memory_id for cube in everything for memory in cube["memories"] if memory.text == text]
    return str(memory_id)


# -- remembering and finding --------------------------------------------------------------------------------------


async def test_what_was_added_and_waited_for_is_found_and_in_the_working_set(mos: AsyncMOS) -> None:
    task = await mos.add(PETS, wait=True, timeout=SECONDS)

    found = await mos.search("What does Max love?", top_k=1)
    assert texts(found) == {"default": ["My dog Max loves peanut butter."]}
    assert found["act_mem"] == found["para_mem"] == []
    (result,) = found["text_mem"][0]["memories"]
    assert result.item.session_id == "s"
    assert any(task in source for source in result.item.sources)
    near = {each.text: each for each in await mos.working_set()}
    assert repr(near["My sister Ann is allergic to nuts."]).startswith(
        "WorkingMemory('My sister Ann is allergic to nuts.', score="
    )


async def test_a_chat_pasted_as_one_text_is_read_as_its_turns_and_followed(mos: AsyncMOS) -> None:
    chat = "User: I smoke.\nAssistant: Thank you.\nUser: Please forget that I smoke."
    await mos.add(chat, mem_cube_id="pasted", wait=True, timeout=SECONDS)

    kept = (await mos.get_all("pasted"))["text_mem"]
    assert [memory.text for cube in kept for memory in cube["memories"]] == ["Thank you."]


@pytest.mark.long
async def test_every_task_of_a_burst_can_be_waited_for(mos: AsyncMOS) -> None:
    tasks = [await mos.add(memory_content=f"I have visited city number {number}.") for number in range(40)]

    await asyncio.gather(*(mos.wait(task, timeout=SECONDS) for task in tasks))

    assert len(texts(await mos.get_all())["default"]) == 40
    await mos.wait(user_id="alice", timeout=SECONDS)


async def test_the_same_works_on_a_real_server(any_url: str, make_mos: MakeMos) -> None:
    mos = make_mos(redis_url=any_url, qdrant_url=":memory:", collection=f"c-{uuid4()}")

    await mos.add(PETS, mem_cube_id="home", wait=True, timeout=SECONDS)
    await mos.delete(await id_of(mos, "A fine treat!"))

    assert texts(await mos.get_all())["home"] == [PETS[0]["content"], PETS[2]["content"]]
    assert (await mos.get_tasks_status())["dead"] == 0


async def test_search_looks_into_all_cubes_that_the_user_may_read_or_into_those_that_are_named(mos: AsyncMOS) -> None:
    await mos.add(memory_content="Max sleeps in the kitchen.", mem_cube_id="home")
    await mos.add(memory_content="Max guards the office.", mem_cube_id="work")
    await mos.add(memory_content="Max is Carol's cat.", mem_cube_id="cats", user_id="carol")
    await mos.add(memory_content="Max is unknown here.", mem_cube_id="own", user_id="dave")
    await mos.share_cube_with_user("cats", "alice", user_id="carol")
    await mos.wait(timeout=SECONDS)

    assert list(texts(await mos.search("Max"))) == ["home", "work"], "nobody's word comes to her unasked"
    with pytest.raises(CubeForbidden, match="not accepted yet"):
        await mos.search("Max", mem_cube_ids=["carol/cats"])
    invited = [{"cube_id": "carol/cats", "owner_id": "carol", "permission": "read"}]
    assert await mos.list_invitations() == invited
    assert (await mos.get_user_info())["accessible_cubes"][-1] not in invited
    assert await mos.accept_cube("carol/cats") == "carol/cats"
    assert await mos.list_invitations() == []

    everything = await mos.search("Max")

    assert {name: len(found) for name, found in texts(everything).items()} == {"carol/cats": 1, "home": 1, "work": 1}
    assert [(each["cube_id"], each["owner_id"]) for each in everything["text_mem"]] == [
        ("home", "alice"),
        ("work", "alice"),
        ("carol/cats", "carol"),
    ]
    assert texts(await mos.search("Max", mem_cube_ids=["work"])) == {"work": ["Max guards the office."]}
    assert texts(await mos.search("Max", None, ["home"])) == {"home": ["Max sleeps in the kitchen."]}
    assert texts(await mos.search("Max", mem_cube_ids=["never used"])) == {"never used": []}
    assert texts(await mos.search("Max", user_id="nobody")) == {}
    await mos.revoke_cube_from_user("cats", "alice", user_id="carol")
    with pytest.raises(CubeForbidden):
        await mos.search("Max", mem_cube_ids=["carol/cats"])
    with pytest.raises(UnknownInvitation):
        await mos.accept_cube("carol/cats")
    await mos.share_cube_with_user("cats", "alice", user_id="carol")
    assert await mos.decline_cube("carol/cats")
    assert not await mos.decline_cube("carol/cats")
    assert await mos.list_invitations() == []


async def test_a_cube_that_is_not_named_is_the_users_only_one(mos: AsyncMOS) -> None:
    await mos.register_mem_cube("diary")
    await mos.register_mem_cube("theirs", user_id="bob")
    await mos.share_cube_with_user("theirs", "alice", "write", user_id="bob")
    await mos.accept_cube("bob/theirs")
    await mos.add(memory_content="I like rain.", wait=True, timeout=SECONDS)
    assert texts(await mos.get_all("diary")) == {"diary": ["I like rain."]}

    await mos.register_mem_cube("work")
    with pytest.raises(CubeNotSaid, match="'diary', 'work'"):
        await mos.add(memory_content="I like snow.")

    await mos.register_mem_cube("default")
    await mos.add(memory_content="I like snow.", wait=True, timeout=SECONDS)
    assert texts(await mos.get_all("default")) == {"default": ["I like snow."]}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"messages": PETS, "memory_content": "x"},
        {"memory_content": " "},
        {"messages": []},
        {"messages": [7]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "system", "content": "be nice"}]},
        {"messages": "\ud800"},
        {"memory_content": "x", "mem_cube_id": ""},
        {"memory_content": "x", "user_id": _TOO_LONG},
    ],
)
async def test_what_cannot_be_remembered_is_refused_at_once(mos: AsyncMOS, given: dict[str, Any]) -> None:
    with pytest.raises((InvalidMessage, InvalidId)):
        await mos.add(**given)

    assert await mos.mem_scheduler.memos_message_queue.qsize() == 0


async def test_ids_of_any_text_work(mos: AsyncMOS) -> None:
    user, cube = "a:{b}/ ü漢", "c|*:{d}/\n"

    await mos.create_user(user, "Ä")
    await mos.add(memory_content="I like rain.", user_id=user, mem_cube_id=cube, wait=True, timeout=SECONDS)

    assert texts(await mos.search("rain", user_id=user)) == {cube: ["I like rain."]}
    assert await mos.list_users() == [{"user_id": user, "user_name": "Ä"}]
    assert await mos.get_user_info(user) == {
        "user_id": user,
        "accessible_cubes": [{"cube_id": cube, "owner_id": user, "permission": "write"}],
    }


async def test_an_empty_id_is_nobodys_and_not_the_users_of_the_configuration(mos: AsyncMOS) -> None:
    some = str(uuid4())

    for attempt in (
        mos.add("I like rain.", user_id=""),
        mos.search("rain", user_id=""),
        mos.chat("Do I like rain?", user_id=""),
        mos.get_all(user_id=""),
        mos.delete(some, user_id=""),
        mos.working_set(user_id=""),
        mos.register_mem_cube("home", user_id=""),
        mos.share_cube_with_user("home", "bob", user_id=""),
        mos.create_user(""),
    ):
        with pytest.raises(InvalidId, match="it has 0 characters"):
            await attempt

    assert await mos.list_users() == []


async def test_a_user_without_an_id_gets_one(mos: AsyncMOS) -> None:
    made = [await mos.create_user(user_name="Ann"), await mos.create_user(user_name="Ann")]

    assert {user["user_id"] for user in await mos.list_users()} == set(made)
    assert len(set(made)) == 2


async def test_without_automatic_registration_users_and_cubes_are_made_by_hand(make_mos: MakeMos) -> None:
    mos = make_mos(auto_register_cubes=False)
    with pytest.raises(UnknownCube):
        await mos.add(memory_content="I like rain.")

    await mos.create_cube_for_user("home", "alice")
    await mos.add(memory_content="I like rain.", wait=True, timeout=SECONDS)

    assert texts(await mos.search("rain")) == {"home": ["I like rain."]}
    with pytest.raises(UnknownUser):
        await mos.share_cube_with_user("home", "bob")


# -- waiting ------------------------------------------------------------------------------------------------------


async def test_without_workers_it_only_submits_and_another_process_remembers(make_mos: MakeMos) -> None:
    front = make_mos(enable_mem_scheduler=False)
    task = await front.add(memory_content="I like rain.")
    for awaited in ({"task_id": task}, {}, {"user_id": "alice"}):
        with pytest.raises(WaitTimeout, match=r"No worker is running: start one \(memsched worker\)"):
            await front.wait(**awaited, timeout=0.1)

    worker = make_mos()
    await worker.start()
    await front.wait(task, timeout=SECONDS)

    assert texts(await front.search("rain")) == {"default": ["I like rain."]}


async def test_whoever_waits_for_nobody_is_told_while_they_wait(
    make_mos: MakeMos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.waiting._AFTER_SECONDS", 0.0)
    front = make_mos(enable_mem_scheduler=False)
    task = await front.add(memory_content="I like rain.")

    with capture_logs() as logs:
        for awaited in ({"task_id": task}, {}):
            with pytest.raises(WaitTimeout):
                await front.wait(**awaited, timeout=0.1)

    assert [each["action"] for each in logs] == ["wait.no_worker"] * 2


async def test_a_cube_is_shared_with_whom_nobody_knows_only_with_a_word_about_it(mos: AsyncMOS) -> None:
    await mos.register_mem_cube("home")
    await mos.create_user("bob")

    with capture_logs() as logs:
        known = await mos.share_cube_with_user("home", "bob")
        unknown = await mos.share_cube_with_user("home", "bbo")
    with pytest.raises(InvalidArgument, match="permission='admin': it is one of read, write"):
        await mos.share_cube_with_user("home", "bob", "admin")

    assert (known.known, unknown.known) == (True, False)
    assert [each["with_user"] for each in logs if each["action"] == "cube.shared_with_unknown"] == ["bbo"]


async def test_a_task_that_was_given_up_says_why(make_mos: MakeMos) -> None:
    front = make_mos(enable_mem_scheduler=False)
    await front.register_mem_cube("home")
    await front.share_cube_with_user("home", "bob", "write")
    await front.accept_cube("alice/home", "bob")
    task = await front.add(memory_content="Bob was here.", user_id="bob", mem_cube_id="alice/home")
    await front.revoke_cube_from_user("home", "bob")

    await make_mos().start()

    with pytest.raises(TaskFailed, match="it was shared by 'alice' and is no longer"):
        await front.wait(task, timeout=SECONDS)
    assert texts(await front.get_all("home")) == {"home": []}


async def test_a_task_of_somebody_else_is_not_known(mos: AsyncMOS) -> None:
    with pytest.raises(UnknownTask, match="nobody"):
        await mos.wait("nobody's")


async def test_handlers_of_ones_own_can_be_registered_and_it_can_be_stopped_and_started_again(mos: AsyncMOS) -> None:
    ran: list[str] = []
    mos.register_handlers({"MINE": lambda messages: ran.extend(message.content for message in messages)})

    for text in ("first", "second"):
        async with mos:
            message = ScheduleMessageItem(user_id="alice", mem_cube_id="home", label="MINE", content=text)
            await mos.mem_scheduler.submit_messages(message)
            await mos.wait(timeout=SECONDS)

    assert ran == ["first", "second"]


async def test_calls_at_once_start_one_worker(mos: AsyncMOS) -> None:
    await asyncio.gather(*(mos.create_user(f"user-{number}") for number in range(10)))

    assert len((await mos.get_tasks_status())["workers"]) == 1


# -- permissions --------------------------------------------------------------------------------------------------


async def test_who_may_only_read_can_find_and_change_nothing(mos: AsyncMOS) -> None:
    await mos.add(PETS, mem_cube_id="home", wait=True, timeout=SECONDS)
    memory_id = await id_of(mos, "A fine treat!")
    grant = await mos.share_cube_with_user("home", "bob", "read")
    await mos.accept_cube(grant.name, "bob")
    bob: dict[str, Any] = {"user_id": "bob", "mem_cube_id": grant.name}

    assert grant.name == "alice/home"
    assert (await mos.get(memory_id, **bob)).text == "A fine treat!"
    assert len(texts(await mos.get_all(**bob))["alice/home"]) == 3
    assert {each.text for each in await mos.working_set(**bob)}
    for attempt in (
        mos.add(memory_content="x", **bob),
        mos.update(memory_id, "x", **bob),
        mos.delete(memory_id, **bob),
        mos.update(memory_id, "x", user_id="bob"),
        mos.delete(memory_id, user_id="bob"),
        mos.delete_all("alice/home", "bob"),
        mos.load("nowhere", "alice/home", "bob"),
        mos.share_cube_with_user("alice/home", "carol", user_id="bob"),
    ):
        with pytest.raises(CubeForbidden):
            await attempt

    assert len(texts(await mos.get_all("home"))["home"]) == 3


async def test_who_may_write_can_do_all_but_empty_the_cube(mos: AsyncMOS) -> None:
    await mos.add(PETS, mem_cube_id="home", wait=True, timeout=SECONDS)
    await mos.share_cube_with_user("home", "bob", "write")
    await mos.accept_cube("alice/home", "bob")
    bob: dict[str, Any] = {"user_id": "bob", "mem_cube_id": "alice/home"}

    await mos.add(memory_content="Bob feeds Max on Mondays.", **bob, wait=True, timeout=SECONDS)
    await mos.delete(await id_of(mos, "A fine treat!"), **bob)
    with pytest.raises(CubeForbidden, match="only its owner 'alice' may delete all of it"):
        await mos.delete_all("alice/home", "bob")

    found = texts(await mos.get_all("home"))["home"]
    assert "Bob feeds Max on Mondays." in found
    assert "A fine treat!" not in found


async def test_a_memory_is_pinned_archived_and_explained_without_naming_its_cube(mos: AsyncMOS) -> None:
    await mos.add(PETS, mem_cube_id="home", wait=True, timeout=SECONDS)
    memory_id = await id_of(mos, "A fine treat!")

    assert await mos.pin(memory_id)
    explained = await mos.explain(memory_id)
    assert explained.pins == [memory_id]
    assert explained.memory is not None
    assert explained.memory.text.endswith("A fine treat!")
    assert await mos.unpin(memory_id)
    assert await mos.archive(memory_id)
    assert "A fine treat!" not in texts(await mos.get_all("home"))["home"]
    assert await mos.restore(memory_id)
    assert (await mos.explain()).sizes["archived"] == 0


@pytest.mark.parametrize("name", ["pin", "unpin", "archive", "restore", "history", "explain", "get", "delete"])
async def test_arguments_in_another_order_are_told_so_and_change_nothing(mos: AsyncMOS, name: str) -> None:
    memory_id = str(uuid4())

    for given in (("alice", "home", memory_id), ("alice", memory_id, "home"), ("home", memory_id)):
        with pytest.raises(UnknownMemory, match=r"The memory's id comes first, before mem_cube_id and user_id\."):
            await getattr(mos, name)(*given)
    if hasattr(mos.mem_scheduler, name):
        with pytest.raises(UnknownMemory, match=r"The memory's id comes last: user_id, mem_cube_id, memory_id\."):
            await getattr(mos.mem_scheduler, name)(memory_id, "home", "alice")
        with pytest.raises(UnknownMemory):
            await getattr(mos.mem_scheduler, name)("nobody", "home", memory_id)

    assert await mos.list_users() == []


async def test_a_memory_of_others_is_not_known_whoever_has_its_id(mos: AsyncMOS) -> None:
    await mos.add(PETS, mem_cube_id="home", wait=True, timeout=SECONDS)
    await mos.register_mem_cube("home", user_id="eve")
    memory_id = await id_of(mos, "A fine treat!")

    for wrong in (memory_id, str(uuid4()), "1", "", "../x", memory_id.upper()):
        for more in ({}, {"mem_cube_id": "home"}):
            for attempt in (
                mos.get(wrong, user_id="eve", **more),
                mos.delete(wrong, user_id="eve", **more),
                mos.update(wrong, "x", user_id="eve", **more),
                mos.pin(wrong, user_id="eve", **more),
                mos.archive(wrong, user_id="eve", **more),
                mos.explain(wrong, user_id="eve", **more),
            ):
                with pytest.raises(UnknownMemory):
                    await attempt

    assert (await mos.get(memory_id)).text == "A fine treat!"


# -- correcting and deleting --------------------------------------------------------------------------------------


async def test_an_update_takes_the_place_of_what_it_corrects(mos: AsyncMOS) -> None:
    await mos.add(PETS, wait=True, timeout=SECONDS)
    memory_id = await id_of(mos, "My dog Max loves peanut butter.")

    await mos.update(memory_id, "My dog Max loves carrots.", wait=True, timeout=SECONDS)

    working = [each.text for each in await mos.working_set()]
    assert "My dog Max loves carrots." in working
    assert "My dog Max loves peanut butter." not in working
    older = await mos.get(memory_id)
    assert older.superseded_by == await id_of(mos, "My dog Max loves carrots.")
    with pytest.raises(InvalidMessage):
        await mos.update(memory_id, " ")


async def hot_state(mos: AsyncMOS, *cube: str) -> str:
    key = mos.mem_scheduler.keys.cube(*cube).hot
    return str(await (await mos.mem_scheduler.server()).execute("HGETALL", key))


async def test_what_was_deleted_is_nowhere_any_more(mos: AsyncMOS) -> None:
    await mos.add(PETS, wait=True, timeout=SECONDS)
    await mos.add(memory_content="The secret word is xyzzy.", wait=True, timeout=SECONDS)
    assert "xyzzy" in await hot_state(mos, "alice", "default")

    memory_id = await id_of(mos, "The secret word is xyzzy.")
    await mos.delete(memory_id)

    assert "xyzzy" not in await hot_state(mos, "alice", "default")
    assert "xyzzy" not in str(await mos.working_set()) + str(await mos.get_all()) + str(await mos.search("xyzzy"))
    assert "My sister Ann is allergic to nuts." in [each.text for each in await mos.working_set()]
    with pytest.raises(UnknownMemory):
        await mos.delete(memory_id)
    *before, event = await mos.mem_scheduler.get_web_log_messages()
    assert "xyzzy" not in str(before)
    assert (event.label, event.metadata) == ("delete", [{"memory_id": memory_id}])
    assert "xyzzy" not in event.model_dump_json()


async def test_a_worker_that_is_at_the_working_set_meanwhile_does_not_bring_it_back(mos: AsyncMOS) -> None:
    await mos.add(memory_content="The secret word is xyzzy.", wait=True, timeout=SECONDS)
    services = await mos.mem_scheduler.memory()
    computed, go_on = asyncio.Event(), asyncio.Event()
    recompute = services.working_sets.recompute

    async def held_up(*args: Any) -> Any:
        state = await recompute(*args)
        if not computed.is_set():
            computed.set()
            await go_on.wait()
        return state

    services.working_sets.recompute = held_up  # type: ignore[method-assign]
    asked = ScheduleMessageItem(user_id="alice", mem_cube_id="default", label="mem_update", content="which word?")
    await mos.mem_scheduler.submit_messages(asked)
    await computed.wait()
    await mos.delete(await id_of(mos, "The secret word is xyzzy."))
    go_on.set()
    await mos.wait(timeout=SECONDS)

    assert "xyzzy" not in await hot_state(mos, "alice", "default")
    assert "which word?" in await hot_state(mos, "alice", "default")


async def test_deleting_all_empties_one_cube_and_no_other(mos: AsyncMOS) -> None:
    for cube in ("home", "work"):
        await mos.add(PETS, mem_cube_id=cube)
    await mos.wait(timeout=SECONDS)
    services = await mos.mem_scheduler.memory()

    assert await mos.delete_all("home") == 3

    assert texts(await mos.get_all()) == {"home": [], "work": [each["content"] for each in PETS]}
    assert await mos.working_set("home") == []
    assert len(await mos.working_set("work")) == 3
    assert "Max" not in await hot_state(mos, "alice", "home")
    assert (await services.terms.counts(CubeRef("alice", "home"), ["dog"])).memories == 0
    assert (await services.terms.counts(CubeRef("alice", "work"), ["dog"])).memories == 3
    await mos.add(PETS[:1], mem_cube_id="home", wait=True, timeout=SECONDS)
    assert texts(await mos.get_all("home")) == {"home": [PETS[0]["content"]]}


async def test_a_cubes_name_that_is_shared_cannot_be_registered(mos: AsyncMOS) -> None:
    await mos.register_mem_cube("home")
    await mos.share_cube_with_user("home", "bob")

    with pytest.raises(CubeExists):
        await mos.register_mem_cube("alice/home", user_id="bob")


# -- without await ------------------------------------------------------------------------------------------------


def test_the_same_without_await(tmp_path: Any) -> None:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    config = {"user_id": "alice", "mem_scheduler": {"config": {"top_k": 4}}, "redis_url": f"memory://{uuid4()}"}
    ran: list[str] = []
    mos = MOS(config, log_level="error")
    mos.register_handlers({"MINE": lambda messages: ran.extend(message.content for message in messages)})
    with mos:
        assert mos.create_user("alice", "Alice") == "alice"
        assert mos.register_mem_cube("home") == "home"
        mos.wait(mos.add(PETS), timeout=SECONDS)
        (found,) = mos.search("peanut", top_k=1)["text_mem"][0]["memories"]
        memory = mos.get(found.id)
        assert memory.text == PETS[0]["content"]
        assert "peanut" in mos.chat("What does Max love?")
        assert "peanut" in "".join(mos.chat_stream("What does Max love?"))
        mos.clear_messages()
        mos.update(memory.memory_id, "My dog Max loves carrots.", wait=True, timeout=SECONDS)
        assert "carrots" in str(mos.working_set())
        assert mos.share_cube_with_user("home", "bob").name == "alice/home"
        assert mos.list_invitations("bob")[0]["owner_id"] == "alice"
        assert mos.accept_cube("alice/home", "bob") == "alice/home"
        assert mos.get_user_info("bob")["accessible_cubes"][0]["permission"] == "read"
        assert mos.revoke_cube_from_user("home", "bob")
        assert mos.dump(tmp_path / "dump", "home") == len(mos.get_all("home")["text_mem"][0]["memories"])
        assert mos.load(tmp_path / "dump", "copy") == "copy"
        assert mos.create_cube_for_user("again", "alice", str(tmp_path / "dump")) == "again"
        mos.delete(memory.memory_id)
        assert mos.delete_all("home") > 0
        mos.mem_scheduler.submit_messages(
            ScheduleMessageItem(user_id="alice", mem_cube_id="home", label="MINE", content="mine")
        )
        mos.wait(timeout=SECONDS)
        assert json.loads(json.dumps(mos.get_tasks_status()))["dead"] == 0
        assert mos.list_users() == [{"user_id": "alice", "user_name": "Alice"}]
    assert ran == ["mine"]


async def test_what_is_unfinished_is_done_by_the_next_process(make_mos: MakeMos, any_url: str) -> None:
    place = {"redis_url": any_url, "qdrant_url": ":memory:", "collection": f"c-{uuid4()}"}
    first = make_mos(**place, enable_mem_scheduler=False)
    await first.add(memory_content="I like rain.")
    await first.stop()

    second = make_mos(**place)
    await second.start()

    async def remembered() -> bool:
        return texts(await second.search("rain")) == {"default": ["I like rain."]}

    await until(remembered, "the memory to be there")
