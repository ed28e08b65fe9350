"""Cubes and users: what a name stands for, who may see what, and what a crash in the middle of a share leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from redis.crc import key_slot

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.errors import CubeExists, CubeForbidden, InvalidArgument, InvalidId, UnknownCube, UnknownUser
from memsched.memory.access.cubes import Cubes, CubeView, Grant, User
from memsched.memory.access.permissions import CubeRef, Permission

T = TypeVar("T")
READ, WRITE = Permission.READ, Permission.WRITE
NASTY = [
    "a:b",
    "a{b}",
    "a/b",
    "a%2Fb",
    "a b",
    "/",
    "%",
    "{",
    "}",
    "~",
    ".",
    "é",
    "漢字",
    "a\nb",
    "\0",
    "own",
    "x" * 512,
]


class Crash(Exception):
    pass


class WatchedServer:
    """A server that writes down what it was sent, and that a test can stop at one of its round trips."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.trips: list[list[tuple[Any, ...]]] = []
        self.crash_after: int | None = None
        self.hold_before: int | None = None
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def run(self, commands: list[Command[Any]]) -> list[Any]:
        if self.crash_after is not None and len(self.trips) >= self.crash_after:
            raise Crash
        if len(self.trips) == self.hold_before:
            self.held.set()
            await self.go_on.wait()
        self.trips.append([command.args for command in commands])
        return await self._server.run(commands)

    async def persistently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await attempt()


class Place:
    """One server, and registries of cubes on it."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.server, self.settings = server, settings

    def cubes(self, server: Any = None, **changed: Any) -> Cubes:
        settings = self.settings.model_copy(update=changed)
        return Cubes(server or self.server, Keys(settings.prefix), settings)

    def watched(self) -> tuple[WatchedServer, Cubes]:
        server = WatchedServer(self.server)
        return server, self.cubes(server)


@pytest.fixture
async def place(any_url: str, settings_at: Callable[..., Settings]) -> AsyncIterator[Place]:
    settings = settings_at(any_url)
    server = await Server.connect(settings)
    yield Place(server, settings)
    await server.aclose()


@pytest.fixture
def cubes(place: Place) -> Cubes:
    return place.cubes()


# -- users and their own cubes -----------------------------------------------------------------------------------


async def test_users_are_listed_once_with_the_last_name_that_was_given(cubes: Cubes) -> None:
    await cubes.create_user("bob")
    await cubes.create_user("alice", "Alice")
    await cubes.create_user("alice")
    await cubes.create_user("bob", "Bob B.")
    await cubes.create_user("a:{b}/ ü")

    assert await cubes.list_users() == [User("a:{b}/ ü", ""), User("alice", "Alice"), User("bob", "Bob B.")]


async def test_more_users_than_one_page_are_all_listed(cubes: Cubes) -> None:
    await asyncio.gather(*(cubes.create_user(f"user-{number:04}") for number in range(1500)))

    assert [user.user_id for user in await cubes.list_users()] == [f"user-{number:04}" for number in range(1500)]


async def test_registering_again_changes_nothing_but_the_configuration(cubes: Cubes) -> None:
    first = await cubes.register("alice", "home", {"n": [1, None, "é"]})
    again = await cubes.register("alice", "home")

    assert first == again == CubeRef("alice", "home")
    assert await cubes.config_of(first) == {"n": [1, None, "é"]}
    await cubes.register("alice", "home", {})
    assert await cubes.config_of(first) == {}
    assert await cubes.config_of(CubeRef("bob", "home")) is None
    assert await cubes.list_users() == [User("alice", "")]


async def test_an_unknown_cube_is_made_by_the_first_write_and_not_by_a_read(cubes: Cubes) -> None:
    read = await cubes.resolve("alice", "home", READ)
    after_read = await cubes.cubes_of("alice"), await cubes.list_users()
    written = await cubes.resolve("alice", "home", WRITE)

    assert read == written == CubeRef("alice", "home")
    assert after_read == ([], [])
    assert await cubes.cubes_of("alice") == [CubeView("home", CubeRef("alice", "home"), WRITE)]
    assert await cubes.list_users() == [User("alice", "")]


async def test_without_automatic_registration_an_unknown_cube_is_refused(place: Place) -> None:
    cubes = place.cubes(auto_register_cubes=False)
    for need in Permission:
        with pytest.raises(UnknownCube, match="user_id='alice' mem_cube_id='home': register the cube first"):
            await cubes.resolve("alice", "home", need)

    await cubes.register("alice", "home")

    assert await cubes.resolve("alice", "home", WRITE) == CubeRef("alice", "home")


async def test_equal_names_of_two_tenants_are_two_cubes(cubes: Cubes) -> None:
    assert await cubes.resolve("alice", "home", WRITE) == CubeRef("alice", "home")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")
    assert [view.ref for view in await cubes.cubes_of("alice")] == [CubeRef("alice", "home")]
    assert [view.ref for view in await cubes.cubes_of("bob")] == [CubeRef("bob", "home")]


async def test_ids_of_any_text_come_back_as_they_are(cubes: Cubes) -> None:
    for user in NASTY:
        await cubes.create_user(user, user)
        await cubes.register("owner", user, {"id": user})
        await cubes.share("owner", user, user, READ, name=user, accepted=True)

    assert [each.user_id for each in await cubes.list_users()] == sorted([*NASTY, "owner"])
    assert {each.name for each in await cubes.list_users()} == {*NASTY, ""}
    assert [view.name for view in await cubes.cubes_of("owner")] == sorted(NASTY)
    for user in NASTY:
        assert await cubes.config_of(CubeRef("owner", user)) == {"id": user}
        assert await cubes.cubes_of(user) == [CubeView(user, CubeRef("owner", user), READ)]
        assert await cubes.resolve(user, user, READ) == CubeRef("owner", user)


@pytest.mark.parametrize("bad", ["", "x" * 513, "\ud800", 7, None])
async def test_what_cannot_be_an_id_is_refused_before_anything_is_done(place: Place, bad: Any) -> None:
    server, cubes = place.watched()
    for attempt in (
        lambda: cubes.create_user(bad),
        lambda: cubes.register(bad, "c"),
        lambda: cubes.register("u", bad),
        lambda: cubes.resolve("u", bad, READ),
        lambda: cubes.resolve(bad, "c", WRITE),
        lambda: cubes.cubes_of(bad),
        lambda: cubes.share("u", "c", bad, READ, accepted=True),
        lambda: cubes.share("u", bad, "v", READ, accepted=True),
        lambda: cubes.revoke("u", "c", bad),
        lambda: cubes.revoke(bad, "c", "v"),
        lambda: cubes.config_of(CubeRef(bad, "c")),
    ):
        with pytest.raises(InvalidId):
            await attempt()
    if bad is not None:
        with pytest.raises(InvalidId):
            await cubes.share("u", "c", "v", READ, bad, accepted=True)

    assert server.trips == []


# -- sharing -----------------------------------------------------------------------------------------------------


async def test_a_shared_cube_is_the_owners_cube_under_a_name_of_the_others(cubes: Cubes) -> None:
    await cubes.register("alice", "home")

    granted = await cubes.share("alice", "home", "bob", WRITE, name="alices", accepted=True)

    assert granted == Grant("bob", "alices", WRITE, True)
    assert await cubes.resolve("bob", "alices", WRITE) == CubeRef("alice", "home")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")
    assert await cubes.cubes_of("bob") == [
        CubeView("home", CubeRef("bob", "home"), WRITE),
        CubeView("alices", CubeRef("alice", "home"), WRITE),
    ]
    assert await cubes.resolve("carol", "home", READ) == CubeRef("carol", "home")


async def test_a_share_without_a_name_is_called_after_its_owner(cubes: Cubes) -> None:
    await cubes.register("alice", "home")

    granted = await cubes.share("alice", "home", "bob", READ, accepted=True)

    assert granted == Grant("bob", "alice/home", READ, True)
    assert await cubes.cubes_of("bob") == [CubeView("alice/home", CubeRef("alice", "home"), READ)]
    assert await cubes.resolve("bob", "alice/home", READ) == CubeRef("alice", "home")
    assert await cubes.share("alice", "home", "bob", WRITE, accepted=True) == Grant("bob", "alice/home", WRITE, True)
    assert await cubes.revoke("alice", "home", "bob")
    with pytest.raises(CubeForbidden):
        await cubes.resolve("bob", "alice/home", READ)


async def test_a_strangers_share_never_takes_the_place_of_a_name_that_the_user_has_not_used_yet(cubes: Cubes) -> None:
    for owner in ("mallory", "bob/mallory"):
        await cubes.register(owner, "home")
        await cubes.share(owner, "home", "bob", WRITE, accepted=True)

    written = await cubes.resolve("bob", "home", WRITE)

    assert written == CubeRef("bob", "home")
    assert await cubes.resolve("bob", "home", READ) == CubeRef("bob", "home")
    assert {view.name for view in await cubes.cubes_of("bob")} == {"home", "mallory/home", "bob/mallory/home"}


async def test_equal_names_that_two_owners_cubes_would_get_are_not_given_twice(cubes: Cubes) -> None:
    await cubes.register("a", "b/c")
    await cubes.register("a/b", "c")
    await cubes.share("a", "b/c", "bob", READ, accepted=True)

    with pytest.raises(CubeExists, match="the user has another cube of that name"):
        await cubes.share("a/b", "c", "bob", WRITE, accepted=True)

    assert await cubes.resolve("bob", "a/b/c", READ) == CubeRef("a", "b/c")
    assert not await cubes.revoke("a/b", "c", "bob")
    assert await cubes.resolve("bob", "a/b/c", READ) == CubeRef("a", "b/c")


async def test_a_share_for_reading_is_refused_for_writing_and_never_turned_into_an_own_cube(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)

    with pytest.raises(CubeForbidden, match="user_id='bob' mem_cube_id='home': 'alice' shares it for reading only"):
        await cubes.resolve("bob", "home", WRITE)

    assert await cubes.resolve("bob", "home", READ) == CubeRef("alice", "home")
    assert await cubes.cubes_of("bob") == [CubeView("home", CubeRef("alice", "home"), READ)]


async def test_sharing_again_changes_the_permission_and_keeps_the_name(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", READ, name="hers", accepted=True)

    await cubes.share("alice", "home", "bob", WRITE, accepted=True)
    assert await cubes.resolve("bob", "hers", WRITE) == CubeRef("alice", "home")
    await cubes.share("alice", "home", "bob", READ, name="hers", accepted=True)

    assert await cubes.cubes_of("bob") == [CubeView("hers", CubeRef("alice", "home"), READ)]
    with pytest.raises(CubeForbidden):
        await cubes.resolve("bob", "hers", WRITE)
    with pytest.raises(CubeExists, match="as 'hers' already"):
        await cubes.share("alice", "home", "bob", READ, name="other", accepted=True)
    assert [view.name for view in await cubes.cubes_of("bob")] == ["hers"]


async def test_only_the_owner_may_share_or_revoke(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", WRITE, name="home", accepted=True)

    for attempt in (
        lambda: cubes.share("bob", "home", "carol", READ, name="home", accepted=True),
        lambda: cubes.revoke("bob", "home", "alice"),
    ):
        with pytest.raises(CubeForbidden, match="only its owner 'alice' may share it"):
            await attempt()
    for attempt in (
        lambda: cubes.share("carol", "home", "bob", READ, name="home", accepted=True),
        lambda: cubes.revoke("carol", "home", "bob"),
    ):
        with pytest.raises(UnknownCube):
            await attempt()

    assert await cubes.cubes_of("carol") == []
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("alice", "home")


async def test_a_share_does_not_replace_another_cube_of_that_name(cubes: Cubes) -> None:
    for owner in ("alice", "bob", "carol"):
        await cubes.register(owner, "home")
    await cubes.share("carol", "home", "dave", READ, name="home", accepted=True)

    for user in ("bob", "dave"):
        with pytest.raises(CubeExists, match="the user has another cube of that name"):
            await cubes.share("alice", "home", user, WRITE, name="home", accepted=True)
    with pytest.raises(CubeExists, match="own"):
        await cubes.share("alice", "home", "alice", WRITE, name="mirror", accepted=True)

    assert not await cubes.revoke("alice", "home", "bob")
    assert not await cubes.revoke("alice", "home", "dave")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")
    assert await cubes.resolve("dave", "home", READ) == CubeRef("carol", "home")
    granted = await cubes.share("alice", "home", "bob", READ, name="alices", accepted=True)
    assert granted == Grant("bob", "alices", READ, True)


async def test_the_name_of_a_share_cannot_be_registered(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)

    with pytest.raises(CubeExists, match="it is shared by 'alice'"):
        await cubes.register("bob", "home", {"n": 1})

    assert await cubes.config_of(CubeRef("bob", "home")) is None


async def test_without_automatic_registration_sharing_needs_a_known_user(place: Place) -> None:
    cubes = place.cubes(auto_register_cubes=False)
    await cubes.register("alice", "home")
    with pytest.raises(UnknownUser, match="user_id='bob'"):
        await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    assert not await cubes.revoke("alice", "home", "bob")

    await cubes.create_user("bob")
    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)

    assert await cubes.resolve("bob", "home", READ) == CubeRef("alice", "home")


# -- revoking ----------------------------------------------------------------------------------------------------


async def test_after_a_revoke_the_name_is_refused_until_the_user_registers_a_cube_of_their_own(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", WRITE, name="home", accepted=True)
    await cubes.share("alice", "home", "carol", READ, name="home", accepted=True)

    assert await cubes.revoke("alice", "home", "bob")

    for need in Permission:
        with pytest.raises(CubeForbidden, match="it was shared by 'alice' and is no longer"):
            await cubes.resolve("bob", "home", need)
    assert await cubes.cubes_of("bob") == []
    assert await cubes.resolve("carol", "home", READ) == CubeRef("alice", "home")
    assert not await cubes.revoke("alice", "home", "bob")

    await cubes.register("bob", "home")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")
    assert not await cubes.revoke("alice", "home", "bob")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")


async def test_a_revoked_cube_can_be_shared_again_under_any_free_name(cubes: Cubes) -> None:
    for owner in ("alice", "carol"):
        await cubes.register(owner, "home")
    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    await cubes.revoke("alice", "home", "bob")

    await cubes.share("alice", "home", "bob", READ, name="other", accepted=True)
    await cubes.share("carol", "home", "bob", READ, name="home", accepted=True)

    assert await cubes.resolve("bob", "other", READ) == CubeRef("alice", "home")
    assert await cubes.resolve("bob", "home", READ) == CubeRef("carol", "home")


async def test_nobody_is_barred_from_a_name_by_a_revoke_of_what_was_never_shared(cubes: Cubes) -> None:
    await cubes.register("alice", "home")

    assert not await cubes.revoke("alice", "home", "bob")

    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")


# -- crashes and races -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trips", [0, 1, 2])
async def test_a_crash_while_sharing_shows_nobody_a_cube_that_its_owner_cannot_revoke(place: Place, trips: int) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    server, crashing = place.watched()
    server.crash_after = trips

    if trips < 2:
        with pytest.raises(Crash):
            await crashing.share("alice", "home", "bob", WRITE, accepted=True)
    else:
        await crashing.share("alice", "home", "bob", WRITE, accepted=True)

    assert len(await cubes.cubes_of("bob")) == [0, 0, 1][trips]
    assert await cubes.revoke("alice", "home", "bob") == (trips > 0)
    assert await cubes.cubes_of("bob") == []
    assert not await cubes.revoke("alice", "home", "bob")


@pytest.mark.parametrize("trips", [0, 1, 2, 3])
async def test_a_crash_while_revoking_leaves_it_to_be_revoked_until_it_is_done_again(place: Place, trips: int) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", WRITE, accepted=True)
    server, crashing = place.watched()
    server.crash_after = trips

    if trips < 3:
        with pytest.raises(Crash):
            await crashing.revoke("alice", "home", "bob")
    else:
        await crashing.revoke("alice", "home", "bob")

    assert len(await cubes.cubes_of("bob")) == [1, 1, 0, 0][trips]
    assert await cubes.revoke("alice", "home", "bob") == (trips < 3)
    assert await cubes.cubes_of("bob") == []
    assert not await cubes.revoke("alice", "home", "bob")


async def test_a_share_that_was_held_up_does_not_undo_a_later_revoke(place: Place) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    server, slow = place.watched()
    server.hold_before = 1
    sharing = asyncio.create_task(slow.share("alice", "home", "bob", WRITE, name="home", accepted=True))
    await server.held.wait()

    assert await cubes.revoke("alice", "home", "bob")
    server.go_on.set()
    await sharing

    with pytest.raises(CubeForbidden):
        await cubes.resolve("bob", "home", READ)
    assert await cubes.cubes_of("bob") == []
    assert not await cubes.revoke("alice", "home", "bob")


async def test_a_share_that_was_held_up_does_not_widen_a_later_one(place: Place) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    server, slow = place.watched()
    server.hold_before = 1
    sharing = asyncio.create_task(slow.share("alice", "home", "bob", WRITE, name="home", accepted=True))
    await server.held.wait()

    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    server.go_on.set()
    await sharing

    with pytest.raises(CubeForbidden):
        await cubes.resolve("bob", "home", WRITE)
    assert await cubes.cubes_of("bob") == [CubeView("home", CubeRef("alice", "home"), READ)]
    assert await cubes.revoke("alice", "home", "bob")


@pytest.mark.parametrize("at", [1, 2])
async def test_a_revoke_that_was_held_up_does_not_undo_a_later_share(place: Place, at: int) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", WRITE, name="home", accepted=True)
    server, slow = place.watched()
    server.hold_before = at
    revoking = asyncio.create_task(slow.revoke("alice", "home", "bob"))
    await server.held.wait()

    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    server.go_on.set()
    await revoking

    assert await cubes.resolve("bob", "home", READ) == CubeRef("alice", "home")
    assert await cubes.cubes_of("bob") == [CubeView("home", CubeRef("alice", "home"), READ)]
    assert await cubes.revoke("alice", "home", "bob")


async def test_a_cube_registered_while_a_share_is_on_its_way_stays_the_users_own(place: Place) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    server, slow = place.watched()
    server.hold_before = 1
    sharing = asyncio.create_task(slow.share("alice", "home", "bob", WRITE, name="home", accepted=True))
    await server.held.wait()

    await cubes.resolve("bob", "home", WRITE)
    server.go_on.set()
    with pytest.raises(CubeExists):
        await sharing

    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")
    assert not await cubes.revoke("alice", "home", "bob")
    assert await cubes.resolve("bob", "home", WRITE) == CubeRef("bob", "home")


async def test_a_share_that_arrives_just_before_the_first_write_is_not_replaced_by_it(place: Place) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    server, slow = place.watched()
    server.hold_before = 1
    writing = asyncio.create_task(slow.resolve("bob", "home", WRITE))
    await server.held.wait()

    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    server.go_on.set()

    with pytest.raises(CubeForbidden, match="for reading only"):
        await writing


# -- cost --------------------------------------------------------------------------------------------------------


async def test_resolving_a_known_cube_is_one_command_in_one_round_trip(place: Place) -> None:
    server, cubes = place.watched()
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", WRITE, name="home", accepted=True)
    server.trips.clear()

    for user in ("alice", "bob"):
        for need in Permission:
            await cubes.resolve(user, "home", need)
    await cubes.resolve("carol", "home", READ)

    assert [[call[0] for call in trip] for trip in server.trips] == [["HGET"]] * 5


async def test_the_question_can_be_put_into_a_pipeline_with_others(place: Place) -> None:
    cubes = place.cubes()
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", READ, name="home", accepted=True)
    asked = [cubes.resolve_command("alice", "home"), cubes.resolve_command("bob", "home")]

    time, own, shared = await place.server.run([Command(("TIME",), lambda reply: reply), *asked])

    assert len(time) == 2
    assert await cubes.admit(own, WRITE) == await cubes.admit(shared, READ) == CubeRef("alice", "home")
    with pytest.raises(CubeForbidden):
        await cubes.admit(shared, WRITE)


async def test_every_script_touches_one_slot(place: Place) -> None:
    server, cubes = place.watched()
    for owner in ("alice", "bob{x}"):
        await cubes.register(owner, "home", {"n": 1})
        await cubes.share(owner, "home", "carol", READ, name=owner, accepted=True)
        await cubes.revoke(owner, "home", "carol")
    await cubes.resolve("dave", "home", WRITE)

    scripts = [call for trip in server.trips for call in trip if call[0] == "EVALSHA"]
    assert len(scripts) == 11
    for call in scripts:
        assert len({key_slot(key.encode()) for key in call[3 : 3 + call[2]]}) == 1


# -- tags --------------------------------------------------------------------------------------------------------


async def test_only_the_owner_says_what_a_cube_is(cubes: Cubes) -> None:
    await cubes.register("alice", "home")
    await cubes.share("alice", "home", "bob", Permission.WRITE, accepted=True)

    assert await cubes.tag("alice", "home", [" Medical ", "medical", "a b:{c}"]) == ("medical", "a b:{c}")
    assert await cubes.tags_of(CubeRef("alice", "home")) == ("medical", "a b:{c}")
    assert await cubes.tags_of(CubeRef("bob", "home")) == ()
    with pytest.raises(CubeForbidden, match="only its owner 'alice' may tag it"):
        await cubes.tag("bob", "alice/home", [])
    for bad in ("medical", [7], [""], ["x" * 65], ["a\nb"], [str(number) for number in range(65)]):
        with pytest.raises(InvalidArgument, match="tags"):
            await cubes.tag("alice", "home", bad)  # type: ignore[arg-type]
    assert await cubes.tag("alice", "home", []) == ()
    assert await cubes.tags_of(CubeRef("alice", "home")) == ()


async def test_tags_are_read_with_each_use_of_a_cube_only_where_a_permission_hook_asks(place: Place) -> None:
    await place.cubes().register("alice", "home")
    await place.cubes().share("alice", "home", "bob", Permission.READ, accepted=True)
    await place.cubes().tag("alice", "home", ["medical"])
    asking = place.cubes(permissions="some:hook")

    assert (await asking.resolve("alice", "home", Permission.READ)).tags == ("medical",)
    assert (await asking.resolve("bob", "alice/home", Permission.READ)).tags == ("medical",)
    assert [each.ref.tags for each in await asking.cubes_of("bob")] == [("medical",)]
    await place.cubes().tag("alice", "home", [])
    assert (await asking.resolve("bob", "alice/home", Permission.READ)).tags == ()
    watched, cubes = place.watched()
    assert (await cubes.resolve("bob", "alice/home", Permission.READ)).tags is None
    assert len(watched.trips) == 1
