"""What is known of a memory's past: versions, uses, moves, each with why."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from support.memories import idle, memories_of, said, without_working

from memsched import AsyncMemScheduler
from memsched.errors import UnknownMemory

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
LISBON, PORTO = "I live in Lisbon.", "I moved to Porto."


async def test_a_memory_tells_of_its_versions_uses_and_moves(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = quick_schedulers()
    await scheduler.start()
    for minute, label, text in (
        (0, "add", LISBON),
        (1, "add", LISBON),
        (2, "query", "Where do I live?"),
        (3, "answer", "You live in Lisbon."),
        (9, "add", PORTO),
    ):
        await scheduler.submit_messages(said(text, minute, label))
        await idle(scheduler)
    ids = {each.text: each.memory_id for each in await memories_of(scheduler)}
    await scheduler.pin("alice", "home", ids[PORTO])

    found = await scheduler.history("alice", "home", ids[LISBON])

    told = [(each.what, each.memory_id, each.other) for each in found if each.what not in ("moved", "used")]
    assert told == [
        ("said", ids[LISBON], ""),
        ("said again", ids[LISBON], ""),
        ("said", ids[PORTO], ""),
        ("corrected", ids[LISBON], ids[PORTO]),
    ]
    (corrected,) = [each for each in found if each.what == "corrected"]
    assert corrected.reason
    moved = [(each.memory_id, each.from_tier, each.to_tier) for each in found if each.what == "moved"]
    assert (ids[LISBON], "UserMemory", "WorkingMemory") in moved
    assert (ids[LISBON], "WorkingMemory", "UserMemory") in moved
    assert (ids[PORTO], "UserMemory", "Pinned") in moved
    assert all(each.reason for each in found if each.what == "moved")
    (used,) = [each for each in found if each.what == "used"]
    assert (used.memory_id, "answer" in used.reason, "\n" in repr(used)) == (ids[LISBON], True, False)
    assert found == await scheduler.history("alice", "home", ids[PORTO]), "of any version the same"

    with pytest.raises(UnknownMemory):
        await scheduler.history("alice", "home", str(uuid4()))
    with pytest.raises(UnknownMemory):
        await scheduler.history("bob", "alice/home", ids[LISBON])


async def test_a_correction_that_was_undone_is_told_of_both_and_goes_with_what_corrected(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = quick_schedulers()
    mos = without_working(scheduler)
    await scheduler.start()
    for minute, text in ((0, LISBON), (9, PORTO)):
        await scheduler.submit_messages(said(text, minute))
        await idle(scheduler)
    ids = {each.text: each.memory_id for each in await memories_of(scheduler)}
    before = await scheduler.history("alice", "home", ids[LISBON])

    await scheduler.restore("alice", "home", ids[LISBON])

    found = await scheduler.history("alice", "home", ids[LISBON])
    assert [each for each in before if each not in found] == []
    (undone,) = [each for each in found if each not in before and each.what != "moved"]
    assert (undone.what, undone.memory_id, undone.other) == ("holds after all", ids[LISBON], ids[PORTO])
    assert found == await scheduler.history("alice", "home", ids[PORTO])

    await mos.delete(ids[PORTO], "home")
    left = await scheduler.history("alice", "home", ids[LISBON])
    assert ids[PORTO] not in repr([each.model_dump() for each in left])
    assert "holds after all" in {each.what for each in left}
