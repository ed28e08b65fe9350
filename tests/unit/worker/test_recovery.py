"""When a lane is looked after by the clock."""

from __future__ import annotations

from support.deliveries import KEYS

from memsched.worker.recovery import LaneSchedule, claim_interval


def schedule() -> LaneSchedule:
    return LaneSchedule(KEYS.lane("task", "u", "c"), claim_at=50.0, promote_at=50.0)


def test_after_a_full_claim_the_next_comes_at_once() -> None:
    lane = schedule()

    lane.claimed(100.0, "-", taken=5, asked=5, min_idle_ms=60_000)

    assert lane.claim_at == 100.0


def test_the_cursor_goes_on_where_the_last_look_ended() -> None:
    lane = schedule()

    lane.claimed(100.0, "(7-0", taken=0, asked=5, min_idle_ms=60_000)

    assert (lane.cursor, lane.claim_at) == ("(7-0", 100.0)


def test_at_the_end_of_the_list_the_lane_rests_a_quarter_of_its_min_idle() -> None:
    lane = schedule()

    lane.claimed(100.0, "-", taken=2, asked=5, min_idle_ms=4_000)

    assert 100.9 <= lane.claim_at <= 101.1


def test_the_pause_between_claims_is_bounded_in_both_directions() -> None:
    assert claim_interval(100) == 0.25
    assert claim_interval(10_000_000) == 15.0


def test_a_notification_brings_the_next_look_forward_and_begins_at_the_front() -> None:
    lane = schedule()
    lane.cursor = "(7-0"

    lane.notified("due")
    before = lane.claim_at
    lane.notified("claimable")

    assert (before, lane.promote_at, lane.claim_at, lane.cursor) == (50.0, 0.0, 0.0, "-")


def test_a_notification_that_comes_while_the_answer_is_on_its_way_is_not_forgotten() -> None:
    lane = schedule()

    lane.notified("claimable")
    lane.notified("due")
    lane.claimed(100.0, "-", taken=0, asked=5, min_idle_ms=60_000)
    lane.promoted(100.0, None)

    assert lane.claim_at <= 100.0
    assert lane.promote_at <= 100.0


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
