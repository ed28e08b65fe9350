"""Memories bound to a task, shared by two people, and a binding of one's own.

    python examples/roles_and_tasks.py

Vera and Tom organise a move. What they say about it is bound to the task by ``info={"task": "move"}``; Tom's cube is
shared with Vera. The working set for the task holds what both said of it, and nothing that is bound to another task.
``TaskOnly`` leaves out whatever is not bound to the task. In a package of yours an entry point gives it a name, which
MEMSCHED_BINDING says to all processes:

    [project.entry-points."memsched.bindings"]
    task_only = "my_package.bindings:TaskOnly"

It needs no server: memsched starts what it needs in a temporary folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping

from memsched import ADD_LABEL, AsyncMOS, ScheduleMessageItem
from memsched.logs import configure_logs
from memsched.policy.binding import Context, StandardBinding

SAID = [
    ("vera", "home", "move", "The van for the move is booked for Saturday at eight."),
    ("vera", "home", None, "My bicycle needs a new chain."),
    ("vera", "home", "taxes", "The tax return is due at the end of May."),
    ("tom", "notes", "move", "The piano needs four people and straps on moving day."),
    ("tom", "notes", None, "I am planning a surprise for Vera."),
]


class TaskOnly:
    """Nothing but what is bound to the context; places as memsched's own binding gives them."""

    def rank(self, bound_to: frozenset[str], context: Context) -> int | None:
        return 0 if bound_to & context.tags else None

    def places(self, bound: Mapping[str, int], size: int) -> Mapping[str, int]:
        return StandardBinding().places(bound, size)


async def show(folder: str, binding: str) -> None:
    mos = AsyncMOS(redis_url=f"embedded://{folder}", user_id="vera", log_level="error", binding=binding)
    configure_logs(mos.settings)
    async with mos:
        for number, (user, cube, task, text) in enumerate(SAID):
            said = ScheduleMessageItem(
                item_id=f"said-{number}",
                user_id=user,
                mem_cube_id=cube,
                label=ADD_LABEL,
                content=text,
                info={"task": task} if task else None,
            )
            await mos.mem_scheduler.submit_messages(said)
        await mos.wait(timeout=60)
        shared = await mos.share_cube_with_user("notes", "vera", user_id="tom")
        await mos.accept_cube(shared.name)
        print(f"For the move, {binding.rpartition(':')[2]}:")
        for memory in await mos.working_set("home", task="move"):
            print(f"  {memory.cube}: {memory.text}")


async def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for binding in ("standard", f"{__name__}:TaskOnly"):
            await show(folder, binding)


if __name__ == "__main__":
    asyncio.run(main())
