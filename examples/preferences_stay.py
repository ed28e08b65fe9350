"""Transition rules of one's own: a student's learning preferences are never archived, whatever becomes of the rest.

    python examples/preferences_stay.py

Lee says how they learn best, and in March also what the week's homework is. By the summer nobody has needed any of it:
homework goes into the archive (nothing is deleted, and a question that means it brings it back), the preferences stay.
That they stay does not keep them near when much else is told: what each prompt must hold is pinned (scheduler.pin).

Elsewhere MEMSCHED_TRANSITIONS=preferences_stay:PreferencesStay names the same rules, or an entry point of a package:

    [project.entry-points."memsched.transitions"]
    preferences_stay = "preferences_stay:PreferencesStay"

It needs no server: memsched starts what it needs in a temporary folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime

from memsched import (
    ADD_LABEL,
    PREF_ADD_TASK_LABEL,
    AsyncMemScheduler,
    ScheduleMessageItem,
    StandardTransitions,
)
from memsched.logs import configure_logs
from memsched.policy.transitions import Standing

USER, CUBE = "lee", "school"

TOLD = [
    (datetime(2026, 3, 2, 16, tzinfo=UTC), PREF_ADD_TASK_LABEL, "I prefer diagrams to long texts."),
    (datetime(2026, 3, 2, 17, tzinfo=UTC), PREF_ADD_TASK_LABEL, "I learn words best in the evening."),
    (datetime(2026, 3, 3, 16, tzinfo=UTC), ADD_LABEL, "Homework in biology: the leaf, pages 40 to 43."),
    (datetime(2026, 3, 5, 16, tzinfo=UTC), ADD_LABEL, "Homework in history: read about the printing press."),
    (datetime(2026, 7, 20, 10, tzinfo=UTC), ADD_LABEL, "The summer camp begins on the 3rd of August."),
]


class PreferencesStay(StandardTransitions):
    """memsched's rules, but that preferences stay."""

    def must_stay(self, standing: Standing) -> str:
        if standing.memory.kind == "preference":
            return "it is how Lee learns"
        return super().must_stay(standing)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="memsched-school-", ignore_cleanup_errors=True) as folder:
        scheduler = AsyncMemScheduler(redis_url=f"embedded://{folder}", log_level="error")
        scheduler.transition_rules = PreferencesStay(archive_after_days=90)
        configure_logs(scheduler.settings)
        await scheduler.start()
        try:
            for at, label, text in TOLD:
                await scheduler.submit_messages(
                    ScheduleMessageItem(user_id=USER, mem_cube_id=CUBE, label=label, content=text, timestamp=at)
                )
                await scheduler.wait(user_id=USER, timeout=60)
            await show(scheduler)
        finally:
            await scheduler.stop()


async def show(scheduler: AsyncMemScheduler) -> None:
    print("Near in July:")
    for memory in await scheduler.working_set(USER, CUBE):
        print(f"  {memory.text}")
    print("What moved:")
    explained = await scheduler.explain(USER, CUBE)
    for move in explained.moves:
        if move.subject == "memory":
            print(f"  {move.at:%d %B}, to {move.to_tier}: {explained.texts[move.subject_id]}")
            print(f"    {move.reason}")


if __name__ == "__main__":
    asyncio.run(main())
