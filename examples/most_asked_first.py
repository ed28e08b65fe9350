"""A strategy of your own: a help desk keeps near what it is asked most often.

    python examples/most_asked_first.py

memsched learns which memories answers use. Its own strategy asks which one is needed next; a help desk may rather want
what is needed most often, whatever was said last. ``MostAsked`` counts, and is put in the place of memsched's own by a
setting. In a package of yours an entry point gives it a name, which MEMSCHED_STRATEGY says to all workers:

    [project.entry-points."memsched.strategies"]
    most_asked = "my_package.strategies:MostAsked"

It needs no server: memsched starts what it needs in a temporary folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from memsched import ADD_LABEL, ANSWER_LABEL, QUERY_LABEL, AsyncMemScheduler, ScheduleMessageItem
from memsched.logs import configure_logs
from memsched.policy.strategy import Candidate, Chosen, CubeState

USER, CUBE = "desk", "questions and answers"
KNOWN = [
    "A forgotten password is reset by the link on the sign-in page.",
    "Invoices are sent on the first of the month.",
    "The trial ends after 30 days, nothing is charged before.",
    "An account is deleted in the settings, under privacy.",
    "Our office is closed on Sundays.",
]
ASKED = [
    "I forgot my password, how do I reset it?",
    "When does the trial end?",
    "Where do I reset the password?",
    "How is a forgotten password reset?",
    "When is the trial over, is anything charged?",
]


class MostAsked:
    """What answers used most often comes first; of equals, what is most valuable by memsched's own reckoning."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        used = Counter(memory_id for answered in state.log for memory_id in answered.credited[:1])
        chosen = [
            Chosen(each.memory, times + each.value, {"used": float(times), "value": each.value}, source="asked")
            for each in candidates
            for times in [used[each.memory.memory_id]]
        ]
        return sorted(chosen, key=lambda each: (-each.score, each.memory.memory_id))[:size]


async def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        here = {"redis_url": f"embedded://{folder}", "log_level": "error"}
        scheduler = AsyncMemScheduler(strategy=f"{__name__}:MostAsked", working_set_size=3, **here)
        configure_logs(scheduler.settings)
        await scheduler.start()
        try:
            await desk_hours(scheduler)
        finally:
            await scheduler.stop()


async def desk_hours(scheduler: AsyncMemScheduler) -> None:
    """The desk is told what it knows, then people ask."""
    now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    async def say(label: str, text: str) -> None:
        nonlocal now
        now += timedelta(minutes=5)
        message = ScheduleMessageItem(user_id=USER, mem_cube_id=CUBE, label=label, content=text, timestamp=now)
        await scheduler.submit_messages(message)
        await scheduler.wait(user_id=USER, timeout=60)

    for text in KNOWN:
        await say(ADD_LABEL, text)
    for question in ASKED:
        found = await scheduler.retriever.search(question, USER, CUBE, top_k=1)
        await say(QUERY_LABEL, question)
        await say(ANSWER_LABEL, found[0].memory)
        print(f"asked: {question}")
    print("\nNear, before the next one asks:")
    for memory in await scheduler.working_set(USER, CUBE):
        print(f"  {memory.parts['used']:.0f} times  {memory.text}")


if __name__ == "__main__":
    asyncio.run(main())
