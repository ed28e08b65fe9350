"""When a lane is looked after by the clock."""

from __future__ import annotations

import pytest
from support.deliveries import KEYS

from memsched.queue.leases import Claim, Holder
from memsched.worker.recovery import LaneSchedule, Watch, claim_interval


def schedule() -> LaneSchedule:
    return LaneSchedule(KEYS.lane("task", "u", "c"), claim_at=50.0, promote_at=50.0)


def claim(*holders: Holder, now_ms: int = 1_000_000, more: bool = False) -> Claim:
    return Claim(now_ms, more, list(holders), [])


def test_while_there_is_more_the_next_claim_comes_as_soon_as_there_is_room() -> None:
    lane = schedule()

    lane.claimed(100.0, claim(more=True), min_idle_ms=60_000)

    assert lane.more


def test_otherwise_the_lane_rests_a_quarter_of_its_min_idle() -> None:
    lane = schedule()

    lane.claimed(100.0, claim(), min_idle_ms=4_000)

    assert not lane.more
    assert 100.9 <= lane.claim_at <= 101.1


def test_the_pause_between_claims_is_bounded_in_both_directions() -> None:
    assert claim_interval(100) == 0.25
    assert claim_interval(10_000_000) == 15.0


def test_a_notification_brings_the_next_look_forward() -> None:
    lane = schedule()
    lane.claimed(100.0, claim(), min_idle_ms=60_000)

    lane.notified("due")
    before = (lane.more, lane.promote_at)
    lane.notified("claimable")

    assert before == (False, 0.0)
    assert lane.more


def test_a_notification_that_comes_while_the_answer_is_on_its_way_is_not_forgotten() -> None:
    lane = schedule()

    lane.notified("claimable")
    lane.notified("due")
    lane.claimed(100.0, claim(), min_idle_ms=60_000)
    lane.promoted(100.0, None)

    assert lane.more
    assert lane.promote_at <= 100.0


class Looks:
    """Looks at one holder with a min idle of 6 s, which was heard of last when the first look was due."""

    def __init__(self, all_back_at: float = 0.0) -> None:
        self.watch = Watch(all_back_at)

    def at(self, seconds: float, *, late: float = 0.0, server: float | None = None, heard: float = 0.0) -> list[str]:
        """A look after so many seconds of ours, and of the server's; those that may be claimed from at the next one."""
        server_ms = round(1000 * (seconds if server is None else server))
        self.watch.looked(100.0 + seconds, late, server_ms, [Holder("w", round(1000 * heard), 6000)])
        return [holder.name for holder in self.watch.silent()]


def test_a_holder_that_did_not_move_for_longer_than_it_takes_to_renew_is_silent() -> None:
    looks = Looks()

    assert [looks.at(0), looks.at(1.5), looks.at(2.3)] == [[], [], ["w"]]


def test_one_that_moved_is_not() -> None:
    looks = Looks()

    assert [looks.at(0), looks.at(1.5, heard=1.4), looks.at(3.0, heard=1.4), looks.at(4.0, heard=1.4)] == [
        [],
        [],
        [],
        ["w"],
    ]


@pytest.mark.parametrize(
    "look",
    [{"late": 1.6}, {"server": 3600.0}, {"server": -3600.0}],
    ids=["the server or we stood still", "its clock was put forward", "its clock was put back"],
)
def test_silence_that_may_have_been_the_servers_does_not_count(look: dict[str, float]) -> None:
    looks = Looks()
    looks.at(0)

    assert looks.at(3.0, **look) == []


def test_after_an_outage_the_others_get_the_time_to_come_back() -> None:
    looks = Looks(all_back_at=104.0)

    assert [looks.at(at / 2) for at in range(8)] == [[]] * 8
    assert looks.at(4.0) == ["w"]


def test_whoever_does_not_renew_meanwhile_is_silent_when_the_others_are_back() -> None:
    looks = Looks(all_back_at=101.0)

    assert [looks.at(0), looks.at(1.0), looks.at(2.3)] == [[], [], ["w"]]


def test_the_next_look_comes_when_a_silent_one_becomes_claimable() -> None:
    looks = Looks()
    looks.at(0)
    before = looks.watch.next_at()
    looks.at(3.0)

    assert before == 102.25
    assert looks.watch.next_at() == 106.0


def test_promotion_waits_for_the_next_due_time_but_not_for_ever() -> None:
    lane = schedule()

    lane.promoted(100.0, 2.5)
    soon = lane.promote_at
    lane.promoted(100.0, 10_000.0)
    later = lane.promote_at
    lane.promoted(100.0, None)

    assert soon == 102.5
    assert 127.0 <= later <= 133.0
    assert 127.0 <= lane.promote_at <= 133.0


def test_promotion_of_a_full_page_goes_on_at_once() -> None:
    lane = schedule()

    lane.promoted(100.0, 0.0)

    assert lane.promote_at == 100.0
