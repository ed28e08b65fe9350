"""Ids are strangers' text: whatever they hold, each has keys of its own, inside its lane's hash tag."""

from __future__ import annotations

import re
from dataclasses import astuple, fields

from hypothesis import assume, given
from hypothesis import strategies as st
from redis.crc import key_slot

from memsched.broker.keys import NOBODY, CubeKeys, Keys, escape, unescape

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NASTY = st.text(st.sampled_from(list(":{}/ %~*.|-_aA\n\0é漢")), min_size=1)
IDS = TEXT | NASTY


@given(IDS)
def test_an_escaped_id_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(IDS)
def test_an_escaped_id_holds_nothing_that_means_something_in_a_key(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", escape(text))


@given(IDS, IDS)
def test_no_two_ids_share_a_key(one: str, other: str) -> None:
    assume(one != other)
    keys = Keys()
    lane = keys.lane("label", "u", "c")

    assert len({lane.task(*pair) for pair in ((one, other), (other, one), (one, one), (other, other))}) == 4
    assert keys.worker(one) != keys.worker(other)
    assert set(keys.lanes_of(one)).isdisjoint(keys.lanes_of(other))
    assert keys.lane(one, "u", "c").stream != keys.lane(other, "u", "c").stream


@given(IDS, IDS, IDS, st.integers(1, 64))
def test_the_lane_of_a_name_is_the_lane_that_was_named(label: str, user: str, cube: str, partitions: int) -> None:
    keys = Keys("memsched", partitions)
    lane = keys.lane(label, user, cube)

    found = Keys().lane_named(lane.name)

    assert found == lane
    assert found.label == label
    assert lane in keys.lanes_of(label)


@given(IDS, IDS, IDS, st.integers(1, 64), IDS, IDS)
def test_a_cubes_messages_share_a_lane(label: str, user: str, cube: str, partitions: int, one: str, other: str) -> None:
    keys = Keys("memsched", partitions)

    first, second = keys.lane(label, user, cube), Keys("memsched", partitions).lane(label, user, cube)

    assert first == second
    assert hash(first) == hash(second)
    slots = {
        key_slot(key.encode())
        for key in (
            first.stream,
            first.delayed,
            first.dead,
            first.outbox,
            first.users,
            first.task(user, one),
            first.task(user, other),
        )
    }
    assert len(slots) == 1


@given(IDS, IDS, IDS, IDS)
def test_no_two_cubes_share_a_key(user: str, cube: str, other_user: str, other_cube: str) -> None:
    assume((user, cube) != (other_user, other_cube))

    one, other = (set(astuple(Keys().cube(*pair))) for pair in ((user, cube), (other_user, other_cube)))

    assert len(one) == len(other) == len(fields(CubeKeys))
    assert one.isdisjoint(other)
    assert Keys().user_grants(user, cube) != Keys().user_grants(other_user, other_cube)


@given(IDS, IDS)
def test_no_two_users_share_a_key(user: str, other: str) -> None:
    assume(user != other)
    keys = Keys()
    kinds = (keys.user, keys.user_cubes, keys.user_configs)

    assert len({kind(each) for kind in kinds for each in (user, other)}) == 6


@given(IDS, IDS, IDS)
def test_what_a_script_touches_is_in_one_slot(user: str, cube: str, other: str) -> None:
    keys = Keys()
    of_user = [keys.user(user), keys.user_cubes(user), keys.user_configs(user), keys.user_grants(user, cube)]
    of_user.append(keys.user_grants(user, other))

    assert len({key_slot(key.encode()) for key in of_user}) == 1
    assert len({key_slot(key.encode()) for key in astuple(keys.cube(user, cube))}) == 1


@given(IDS, IDS, IDS)
def test_cubes_and_users_never_touch_the_keys_of_lanes(user: str, cube: str, label: str) -> None:
    keys = Keys()
    lane = keys.lane(label, user, cube)
    shared = {keys.lanes, keys.workers, keys.events, keys.epoch, keys.wake, keys.users, keys.worker(user)}
    own = {*astuple(keys.cube(user, cube)), keys.user(user), keys.user_cubes(user), keys.user_configs(user)}

    assert own.isdisjoint(
        shared | {lane.stream, lane.delayed, lane.dead, lane.outbox, lane.users, lane.task(user, cube)}
    )


def test_partitions_are_all_used() -> None:
    keys = Keys("memsched", 8)

    used = {keys.lane("query", f"user-{number}", "cube").name for number in range(500)}

    assert used == {lane.name for lane in keys.lanes_of("query")}


def test_keys_are_readable_where_ids_are() -> None:
    lane = Keys().lane("query", "u", "c")

    assert lane.stream == "memsched:{query}:stream"
    assert lane.delayed == "memsched:{query}:delayed"
    assert lane.dead == "memsched:{query}:dead"
    assert lane.task("u", "item-1") == "memsched:{query}:task:u/item-1"
    assert Keys().cube("alice", "home").hot == "memsched:cube:{alice/home}:hot"
    assert Keys().cube("a/b", "c:{d}").terms == "memsched:cube:{a%2Fb/c%3A%7Bd%7D}:terms"
    assert Keys().user("alice") == "memsched:user:{alice}:about"
    assert Keys().user_cubes("alice") == "memsched:user:{alice}:cubes"
    assert Keys().user_grants("alice", "home") == "memsched:user:{alice}:grants:home"
    assert Keys().users == "memsched:users"
    assert Keys().lanes == "memsched:lanes"
    assert Keys().events == "memsched:events"


def test_a_label_cannot_break_out_of_its_hash_tag() -> None:
    lane = Keys("memsched", 4).lane("}:{x}/2", "u", "c")

    assert lane.stream.count("{") == lane.stream.count("}") == 1
    assert lane.label == "}:{x}/2"


def test_no_worker_is_nobody() -> None:
    assert NOBODY not in Keys().worker("host-1-abc")
