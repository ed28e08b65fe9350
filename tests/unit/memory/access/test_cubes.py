"""Ids are strangers' text: no user sees another's cube but by a share, whatever the two are called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from memsched import MemschedError, Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import CubeExists, CubeForbidden, InvalidId, UnknownCube, UnknownInvitation
from memsched.memory.access.cubes import Cubes, CubeView, Grant, check_id
from memsched.memory.access.permissions import CubeRef, Permission

READ, WRITE = Permission.READ, Permission.WRITE
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NASTY = st.text(st.sampled_from(list(":{}/ %~*.|-_aA\n\0é漢0")), min_size=1, max_size=6)
IDS = TEXT | NASTY

USERS, NAMES = ["u", "u/", "u v"], ["c", "own"]
CALLED = [*NAMES, *(f"{user}/{name}" for user in USERS for name in NAMES)]
CALLS = st.one_of(
    st.tuples(st.just("share"), *map(st.sampled_from, (USERS, NAMES, USERS, list(Permission), [None, *NAMES]))),
    st.tuples(st.just("accept"), st.sampled_from(USERS), st.sampled_from(CALLED)),
    st.tuples(st.just("decline"), st.sampled_from(USERS), st.sampled_from(CALLED)),
    st.tuples(st.just("revoke"), *map(st.sampled_from, (USERS, NAMES, USERS))),
    st.tuples(st.just("register"), *map(st.sampled_from, (USERS, NAMES))),
    st.tuples(st.just("resolve"), *map(st.sampled_from, (USERS, NAMES, list(Permission)))),
)


class InProcess:
    """A server in this process with an event loop of its own; every registry of cubes starts with none."""

    def __init__(self) -> None:
        pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
        self.run = (runner := asyncio.Runner()).run
        self.close = runner.close
        self.settings = Settings.load(redis_url=f"memory://{uuid4()}")
        self.server = self.run(Server.connect(self.settings))

    def cubes(self) -> Cubes:
        return Cubes(self.server, Keys(f"memsched-{uuid4()}"), self.settings)


@pytest.fixture(scope="module")
def here() -> Iterator[InProcess]:
    place = InProcess()
    yield place
    place.run(place.server.aclose())
    place.close()


@given(IDS, IDS, IDS, IDS)
@hypothesis_settings(deadline=None)
def test_two_tenants_never_see_each_other_even_with_equal_cube_ids(
    here: InProcess, user: str, other: str, cube: str, other_cube: str
) -> None:
    assume(user != other)
    cubes = here.cubes()

    async def use() -> None:
        refs = [await cubes.resolve(who, what, WRITE) for who in (user, other) for what in {cube, other_cube}]
        assert len(set(refs)) == len(refs)
        for who in (user, other):
            assert {(view.ref.user_id, view.name) for view in await cubes.cubes_of(who)} == {
                (who, cube),
                (who, other_cube),
            }
            assert {ref for ref in refs if ref.user_id == who} == {CubeRef(who, cube), CubeRef(who, other_cube)}

    here.run(use())


@given(IDS, IDS, IDS, IDS, st.sampled_from(Permission))
@hypothesis_settings(deadline=None)
def test_a_share_is_that_cube_and_no_other(
    here: InProcess, owner: str, other: str, cube: str, name: str, permission: Permission
) -> None:
    assume(owner != other)
    cubes = here.cubes()

    async def use() -> None:
        await cubes.register(owner, cube)
        assert await cubes.share(owner, cube, other, permission, name) == Grant(other, name, permission)
        assert await cubes.cubes_of(other) == []
        with pytest.raises(CubeForbidden, match="not accepted"):
            await cubes.resolve(other, name, READ)
        assert await cubes.accept(other, name) == CubeView(name, CubeRef(owner, cube), permission)
        assert await cubes.resolve(other, name, READ) == CubeRef(owner, cube)
        assert [view.ref for view in await cubes.cubes_of(other)] == [CubeRef(owner, cube)]
        assert await cubes.revoke(owner, cube, other)
        assert not await cubes.revoke(owner, cube, other)
        with pytest.raises(CubeForbidden):
            await cubes.resolve(other, name, READ)
        assert await cubes.resolve(owner, cube, WRITE) == CubeRef(owner, cube)

    here.run(use())


class Expected:
    """What shares, answers to them, revokes and registrations mean, in plain dicts."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], tuple[CubeRef, Permission | None]] = {}
        self.invited: set[tuple[str, str]] = set()

    def call(self, what: str, *args: str) -> object:
        return getattr(self, what)(*args)

    def register(self, user: str, name: str) -> CubeRef:
        ref, permission = self.entries.get((user, name), (None, None))
        if permission is not None and ref != CubeRef(user, name):
            raise CubeExists(user, name, "")
        self.entries[user, name] = (CubeRef(user, name), WRITE)
        return CubeRef(user, name)

    def share(self, owner: str, cube: str, user: str, permission: Permission, name: str | None) -> Grant:
        ref = CubeRef(owner, cube)
        if user == owner:
            raise CubeExists(user, cube, "")
        self._must_own(owner, cube)
        present = self._name_at(user, ref)
        local = name or present or f"{owner}/{cube}"
        taken = self.entries.get((user, local), (None, None))
        if present not in (None, local) or (taken[1] is not None and taken[0] != ref):
            raise CubeExists(user, local, "")
        if present is None:
            self.invited.add((user, local))
        self.entries[user, local] = (ref, permission)
        return Grant(user, local, permission, (user, local) not in self.invited)

    def accept(self, user: str, name: str) -> CubeView:
        ref, permission = self._anothers(user, name)
        if permission is None:
            raise UnknownInvitation(user, name)
        self.invited.discard((user, name))
        return CubeView(name, ref, permission)

    def decline(self, user: str, name: str) -> bool:
        if self._anothers(user, name)[1] is None:
            return False
        self._end(user, name)
        return True

    def revoke(self, owner: str, cube: str, user: str) -> bool:
        self._must_own(owner, cube)
        present = None if user == owner else self._name_at(user, CubeRef(owner, cube))
        if present is not None:
            self._end(user, present)
        return present is not None

    def resolve(self, user: str, name: str, need: Permission) -> CubeRef:
        if (user, name) not in self.entries:
            return self.register(user, name) if need is WRITE else CubeRef(user, name)
        ref, permission = self.entries[user, name]
        if permission is None or (user, name) in self.invited or (need is WRITE and permission is READ):
            raise CubeForbidden(user, name, "")
        return ref

    def _anothers(self, user: str, name: str) -> tuple[CubeRef, Permission | None]:
        own = CubeRef(user, name)
        ref, permission = self.entries.get((user, name), (own, None))
        return ref, None if ref == own else permission

    def _end(self, user: str, name: str) -> None:
        self.entries[user, name] = (self.entries[user, name][0], None)
        self.invited.discard((user, name))

    def _must_own(self, owner: str, cube: str) -> None:
        entry = self.entries.get((owner, cube))
        if entry is None:
            raise UnknownCube(owner, cube)
        if entry[0] != CubeRef(owner, cube):
            raise CubeForbidden(owner, cube, "")

    def _name_at(self, user: str, ref: CubeRef) -> str | None:
        held = [name for (who, name), entry in self.entries.items() if who == user and entry[0] == ref and entry[1]]
        return held[0] if held else None


@given(st.lists(CALLS, max_size=25))
@hypothesis_settings(deadline=None)
def test_any_sequence_of_calls_means_what_it_says(here: InProcess, calls: list[tuple[str, ...]]) -> None:
    cubes, expected = here.cubes(), Expected()

    async def use() -> None:
        for what, *args in calls:
            outcomes: list[object] = []
            try:
                outcomes.append(expected.call(what, *args))
            except MemschedError as error:
                outcomes.append(type(error))
            try:
                outcomes.append(await getattr(cubes, what)(*args))
            except MemschedError as error:
                outcomes.append(type(error))
            assert outcomes[0] == outcomes[1], (what, args)
        listed: set[tuple[str, str, CubeRef, Permission]] = set()
        for user in USERS:
            invited = await cubes.invitations(user)
            assert {(user, view.name) for view in invited} == {each for each in expected.invited if each[0] == user}
            views = [*invited, *await cubes.cubes_of(user)]
            listed |= {(user, view.name, view.ref, view.permission) for view in views}
        assert listed == {(*place, *entry) for place, entry in expected.entries.items() if entry[1] is not None}
        for (owner, cube), (ref, _) in expected.entries.items():
            if ref == CubeRef(owner, cube):
                revoked = {user for user in USERS if await cubes.revoke(owner, cube, user)}
                assert revoked == {entry[0] for entry in listed if entry[2] == ref and entry[0] != owner}

    here.run(use())


@given(IDS)
def test_any_text_can_be_an_id(text: str) -> None:
    check_id("user_id", text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "user_id: it has 0 characters; 1 to 512 are possible."),
        ("x" * 513, "user_id: it has 513 characters"),
        ("漢" * 513, "user_id: it has 513 characters"),
        ("\udc80", "user_id: it is not Unicode text."),
        (b"x", "user_id: it must be text, not bytes."),
    ],
)
def test_what_cannot_be_an_id_is_explained(value: str, said: str) -> None:
    with pytest.raises(InvalidId) as refused:
        check_id("user_id", value)

    assert said in str(refused.value)


def test_who_may_write_may_read_and_not_the_other_way_round() -> None:
    assert WRITE.allows(WRITE)
    assert WRITE.allows(READ)
    assert READ.allows(READ)
    assert not READ.allows(WRITE)
