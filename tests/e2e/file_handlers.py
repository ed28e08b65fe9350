"""The handler of the end-to-end test's containers: a message takes half a second, and leaves one file.

So anybody can count what ran. The file is mounted into the containers beside the folder that it writes to.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from uuid import uuid4

from memsched import ScheduleMessageItem

_RESULTS = Path("/e2e/results")
_SECONDS = 0.5


async def handle(messages: list[ScheduleMessageItem]) -> None:
    for message in messages:
        await asyncio.sleep(_SECONDS)
        _leave_file(message)


def _leave_file(message: ScheduleMessageItem) -> None:
    """``<item id>.<process id>.<random>.json``: there in full, or not at all."""
    path = _RESULTS / f"{message.item_id}.{os.getpid()}.{uuid4().hex[:8]}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps({"item_id": message.item_id, "content": message.content}), encoding="utf-8")
    unfinished.replace(path)


handlers = {"DEMO": handle}
