"""The order in which waiting messages start."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.deliveries import contents, delivery

from memsched.queue.delivery import Delivery
from memsched.task_status import TaskPriorityLevel
from memsched.worker.buffer import WEIGHTS, LabelBuffer, WeightedRoundRobin

ALICE = ("alice", "home")


def ANY(one: Delivery) -> bool:  # noqa: N802 -- reads as a constant where it is given
    return True


def NO_SUSPECT(one: Delivery) -> bool:  # noqa: N802
    return one.crashes == 0


def buffer_of(*deliveries: Delivery, ordered: bool = True) -> LabelBuffer:
    buffer = LabelBuffer(ordered=ordered)
    for one in deliveries:
        buffer.add(one)
    return buffer


def test_a_cubes_messages_start_in_order_and_together() -> None:
    buffer = buffer_of(delivery("1"), delivery("2"), delivery("3"))

    assert contents(buffer.take(32, ANY)) == ["1", "2", "3"]
    assert not buffer.ready


def test_no_more_messages_start_together_than_the_limit() -> None:
    buffer = buffer_of(*(delivery(str(number)) for number in range(5)))

    first = buffer.take(2, ANY)
    buffer.release(ALICE)
    second = buffer.take(2, ANY)

    assert (contents(first), contents(second)) == (["0", "1"], ["2", "3"])


def test_a_cube_that_runs_waits_for_its_end() -> None:
    buffer = buffer_of(delivery("1"))
    buffer.take(32, ANY)

    buffer.add(delivery("2"))
    while_it_runs = buffer.take(32, ANY)
    buffer.release(ALICE)

    assert while_it_runs == []
    assert contents(buffer.take(32, ANY)) == ["2"]


def test_cubes_take_turns() -> None:
    buffer = buffer_of(delivery("a1"), delivery("a2"), delivery("b1", user="bob"), delivery("a3"))

    first = buffer.take(1, ANY)
    buffer.release(ALICE)

    assert contents(first) == ["a1"]
    assert contents(buffer.take(1, ANY)) == ["b1"]
    assert contents(buffer.take(1, ANY)) == ["a2"]


def test_without_order_a_cubes_messages_start_beside_each_other_and_cubes_take_turns() -> None:
    buffer = buffer_of(*(delivery(f"a{number}") for number in range(3)), delivery("b", user="bob"), ordered=False)

    assert [contents(buffer.take(1, ANY)) for _ in range(4)] == [["a0"], ["b"], ["a1"], ["a2"]]
    assert not buffer.ready
    buffer.release(ALICE)
    assert not buffer.ready


def test_one_users_cubes_are_different_cubes() -> None:
    buffer = buffer_of(delivery("1", cube="home"), delivery("2", cube="work"))

    assert contents(buffer.take(32, ANY)) == ["1"]
    assert contents(buffer.take(32, ANY)) == ["2"]


def test_a_message_with_a_past_runs_alone() -> None:
    buffer = buffer_of(
        delivery("new 1"),
        delivery("old", owner="dead-worker"),
        delivery("tried", fields={"errors": "1"}),
        delivery("new 2"),
        delivery("new 3"),
    )

    taken = []
    while batch := buffer.take(32, ANY):
        taken.append(contents(batch))
        buffer.release(ALICE)

    assert taken == [["new 1"], ["old"], ["tried"], ["new 2", "new 3"]]


def test_suspects_wait_while_another_suspect_runs_and_innocent_cubes_go_on() -> None:
    buffer = buffer_of(
        delivery("suspect", claims=2, owner="dead"), delivery("behind it"), delivery("innocent", user="bob")
    )

    without = [contents(buffer.take(32, NO_SUSPECT)), contents(buffer.take(32, NO_SUSPECT))]
    parked = buffer.ready
    buffer.unpark()

    assert without == [["innocent"], []]
    assert not parked
    assert contents(buffer.take(32, ANY)) == ["suspect"]


def test_what_was_lost_does_not_start() -> None:
    gone, kept = delivery("gone"), delivery("kept")
    buffer = buffer_of(gone, kept, other := delivery("other", user="bob"))

    buffer.remove([gone, other])

    assert contents(buffer.take(32, ANY)) == ["kept"]
    assert buffer.take(32, ANY) == []


def test_a_cube_that_lost_all_it_had_can_get_more() -> None:
    gone = delivery("gone")
    buffer = buffer_of(gone)
    buffer.remove([gone])

    buffer.add(delivery("next"))
    first = buffer.take(32, ANY)
    buffer.add(delivery("later"))

    assert contents(first) == ["next"]
    assert buffer.take(32, ANY) == [], "its cube is busy"


def test_clearing_gives_everything_that_waited() -> None:
    buffer = buffer_of(delivery("1"), delivery("2", user="bob"), delivery("3", claims=2, owner="dead", user="eve"))
    buffer.take(1, NO_SUSPECT)

    assert sorted(contents(buffer.clear())) == ["2", "3"]
    assert not buffer.ready
    buffer.release(ALICE)
    assert buffer.take(32, ANY) == []


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["new", "suspect", "tried"])), max_size=30), st.data()
)
def test_whatever_happens_each_message_starts_once_and_each_cube_in_order(
    arrivals: list[tuple[str, str]], data: st.DataObject
) -> None:
    buffer = LabelBuffer(ordered=True)
    waiting = [
        delivery(
            str(number),
            user=user,
            claims=2 if kind == "suspect" else 1,
            owner="dead" if kind == "suspect" else "",
            fields={"errors": "1"} if kind == "tried" else None,
        )
        for number, (user, kind) in enumerate(arrivals)
    ]
    started: list[int] = []
    running: dict[tuple[str, str], bool] = {}
    suspect_runs = False
    while waiting or running or buffer.ready:
        steps = [
            name for name, possible in (("arrive", waiting), ("start", buffer.ready), ("end", running)) if possible
        ]
        step = data.draw(st.sampled_from(steps))
        if step == "arrive":
            buffer.add(waiting.pop(0))
        elif step == "start" and (
            batch := buffer.take(data.draw(st.integers(1, 4)), NO_SUSPECT if suspect_runs else ANY)
        ):
            cube = (batch[0].message.user_id, "home")
            assert cube not in running, "a cube never runs twice at the same time"
            assert len(batch) == 1 or not any(one.has_past for one in batch)
            assert not (bool(batch[0].crashes) and suspect_runs)
            running[cube] = bool(batch[0].crashes)
            suspect_runs |= bool(batch[0].crashes)
            started += [int(one.message.content) for one in batch]
        elif step == "end":
            cube = data.draw(st.sampled_from(sorted(running)))
            was_suspect = running.pop(cube)
            buffer.release(cube)
            if was_suspect:
                suspect_runs = False
                buffer.unpark()

    assert sorted(started) == list(range(len(arrivals)))
    for user in "abc":
        own = [number for number, (name, _) in enumerate(arrivals) if name == user]
        assert [number for number in started if number in own] == own


def turns(count: int, weights: dict[str, int]) -> list[str]:
    wheel = WeightedRoundRobin()
    return [wheel.next(weights) for _ in range(count)]


ALL = {
    "high": WEIGHTS[TaskPriorityLevel.LEVEL_1],
    "middle": WEIGHTS[TaskPriorityLevel.LEVEL_2],
    "low": WEIGHTS[TaskPriorityLevel.LEVEL_3],
}


def test_while_all_wait_the_levels_start_16_to_4_to_1() -> None:
    assert Counter(turns(21 * 10, ALL)) == {"high": 160, "middle": 40, "low": 10}


def test_the_highest_level_goes_first() -> None:
    assert turns(3, ALL)[0] == "high"


def test_no_level_waits_longer_than_one_round() -> None:
    taken = turns(21 * 5, ALL)

    assert all("low" in taken[at : at + 21] for at in range(len(taken) - 21))
    assert all("middle" in taken[at : at + 8] for at in range(len(taken) - 8))


def test_a_label_alone_has_every_turn_and_no_debt_from_it() -> None:
    wheel = WeightedRoundRobin()
    for _ in range(1000):
        assert wheel.next({"low": 1}) == "low"

    taken = [wheel.next(ALL) for _ in range(21)]

    assert Counter(taken) == {"high": 16, "middle": 4, "low": 1}


def test_labels_that_come_and_go_do_not_save_up_turns() -> None:
    wheel = WeightedRoundRobin()
    for _ in range(500):
        wheel.next({"low": 1, "middle": 4})

    taken = [wheel.next(ALL) for _ in range(42)]

    assert taken.count("high") >= 31
