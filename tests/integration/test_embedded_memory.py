"""Memory on the vector process that comes with memsched: all that it asks of a store is there too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from support.memories import idle, memories_of, said
from support.outcome import dead_letters

from memsched import AsyncMemScheduler

DAY = 24 * 60


async def test_what_is_asked_of_the_store_is_there(memory_schedulers: Callable[..., AsyncMemScheduler]) -> None:
    scheduler = memory_schedulers(archive_after_days=90)
    await scheduler.start()
    told = ("I live in Rome.", "I moved to Milan.", "I live in Rome.", "I like green tea.", "I like green tea.")
    for number, text in enumerate(told):  # corrected, and said again while it holds and when it does not any more
        await scheduler.submit_messages(said(text, number * DAY, info={"metadata": {"topic": "home", "size": 3}}))
        await scheduler.submit_messages(said("And where do I live now?", number * DAY + 1, "query"))
        await idle(scheduler)
    every: dict[str, Any] = {
        "memory_type": "UserMemory",
        "kind": ["turn", "fact"],
        "since": datetime(2020, 1, 1, tzinfo=UTC),
        "until": datetime(2040, 1, 1, tzinfo=UTC),
        "at": datetime(2035, 1, 1, tzinfo=UTC),
        "include_archived": True,
        "filter": {"topic": ["home", "work"], "size": {"gte": 1, "lt": 9}},
        "min_score": 0.01,
        "explain": True,
        "diversity": 0.3,
    }
    found = await scheduler.retriever.search("Where do I live?", "alice", "home", search_args=every)
    milan = next(each for each in await memories_of(scheduler) if "Milan" in each.text)
    await scheduler.archive("alice", "home", milan.memory_id)
    await scheduler.restore("alice", "home", milan.memory_id)
    services = await scheduler.memory()
    await services.deletion.delete(milan.ref, [milan], user_id="alice", name="home")
    await idle(scheduler)

    assert found
    assert await dead_letters(scheduler) == []
    (tea,) = [each for each in await memories_of(scheduler) if "tea" in each.text]
    assert len(tea.said_again) == 1
