"""The demo's conversation, played into a memory that is somebody's: something to look at."""

from __future__ import annotations

import asyncio
from uuid import NAMESPACE_URL, uuid5

from memsched.demo.conversation import AFTER, BEFORE, CUBES, NAMES, diary
from memsched.scheduler import AsyncMemScheduler

PACE_SECONDS = 0.5
_DIARY_ENTRIES = 40


async def play_sample(scheduler: AsyncMemScheduler, pace: float = PACE_SECONDS) -> None:
    """Say all of it, for the cubes that it is about; played again, it adds nothing that is there.

    Args:
        pace: seconds between two utterances.
    """
    cubes = (await scheduler.memory()).cubes
    for user, cube in CUBES.items():
        await cubes.create_user(user, NAMES[user])
        await cubes.register(user, cube)
    for number, turn in enumerate((*BEFORE, *diary(_DIARY_ENTRIES), *AFTER), 1):
        if turn.settled:
            await scheduler.wait(user_id=turn.user)
        reference = f"{turn.user}-{number}"
        said = turn.message(reference).model_copy(update={"item_id": sample_item_id(reference)})
        await scheduler.submit_messages(said)
        await asyncio.sleep(pace)


def sample_item_id(reference: str) -> str:
    """Always the same: so no memory of an utterance is made twice."""
    return str(uuid5(NAMESPACE_URL, f"memsched-sample:{reference}"))
