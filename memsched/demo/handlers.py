"""The demo's handlers: a message takes a little time and leaves one file, so that anybody can count what ran.

``handlers`` are what the compose file runs unless it is told otherwise. ``counting_handlers`` are those of
`memsched demo`: each message is counted as well, by a follow-up.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from memsched.broker.keys import escape
from memsched.messages import ScheduleMessageItem
from memsched.settings import Settings
from memsched.worker.context import HandlerContext

LABEL = "DEMO"
COUNT_LABEL = "DEMO_COUNT"
PARENT = "parent"
_LONGEST_NAME = 150
"""Characters of a file name that may be an item id; most file systems take 255 in all."""


async def handle(messages: list[ScheduleMessageItem]) -> None:
    """Work on one after the other, and write a file for each."""
    settings = _settings()
    for message in messages:
        started = time.time()
        await asyncio.sleep(settings.demo_sleep_seconds)
        if settings.demo_folder:
            write_result(Path(settings.demo_folder), message, started)


async def handle_and_count(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
    """The same, and one follow-up per message, which nobody handles: they are there to be counted.

    Their ids are new each time. Were they made from the message's, a second follow-up would be taken for a
    duplicate and dropped, and a count would prove nothing.
    """
    await handle(messages)
    context.submit(
        ScheduleMessageItem(
            user_id=message.user_id,
            mem_cube_id=message.mem_cube_id,
            label=COUNT_LABEL,
            content="1",
            info={PARENT: message.item_id},
        )
        for message in messages
    )


def write_result(folder: Path, message: ScheduleMessageItem, started: float) -> None:
    """One file per message run, ``<item id>.<process id>.<random>.json``: there in full, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "item_id": message.item_id,
        "user_id": message.user_id,
        "mem_cube_id": message.mem_cube_id,
        "label": message.label,
        "content": message.content,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": started,
        "finished": time.time(),
    }
    path = folder / f"{_file_name(message.item_id)}.{os.getpid()}.{uuid4().hex[:8]}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.replace(path)


def _file_name(item_id: str) -> str:
    """Item ids come from strangers; a dot separates the parts of the name."""
    name = escape(item_id).replace(".", "%2E")
    return name if len(name) <= _LONGEST_NAME else sha256(item_id.encode()).hexdigest()


@cache
def _settings() -> Settings:
    return Settings.load()


handlers = {LABEL: handle}
counting_handlers = {LABEL: handle_and_count}
