"""Submit the messages of a JSON Lines file.

    python scripts/submit_jsonl.py messages.jsonl
    some-program | python scripts/submit_jsonl.py - --label query

Each line is an object with user_id, mem_cube_id, content, a label (or --label), and whatever else a message may
have: item_id, timestamp, session_id, task_id, trace_id, user_name, info, chat_history. A line that is no message is
reported with its number and does not stop the others. When a lane is full, the rest waits. It is safe to submit a
file again if its lines have an item_id: what is known already is not run twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

from pydantic import ValidationError
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from memsched.cli.exit_codes import complain, exit_with
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import console
from memsched.console.terminal import forgive_characters
from memsched.errors import InvalidMessage, QueueFull
from memsched.escaping import plain
from memsched.messages import ScheduleMessageItem, describe_validation_error
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import SubmitResult

Advance = Callable[[int], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", help="a JSON Lines file in UTF-8; - for standard input")
    parser.add_argument("--label", default="", help="the label of lines that have none")
    parser.add_argument(
        "--batch", type=_positive, default=500, metavar="N", help="messages per call, default %(default)s"
    )
    parser.add_argument("--prefix", metavar="P", help="first part of every key (MEMSCHED_PREFIX)")
    parser.add_argument("--redis-url", metavar="URL", help="where the queue is (MEMSCHED_REDIS_URL)")
    given = parser.parse_args()
    settings = tool_settings(redis_url=given.redis_url, prefix=given.prefix)
    counts: Counter[str] = Counter()
    try:
        with opened(given.file) as file, progress(file) as advance:
            lines = Lines(file, given.label, counts, advance)
            asyncio.run(submit_all(AsyncMemScheduler(settings), lines, given.batch, counts))
    finally:
        print(summary(counts))
    return 1 if counts["bad"] else 0


class Lines:
    """The messages of a file. Lines that are none are reported and counted."""

    def __init__(self, file: BinaryIO, label: str, counts: Counter[str], advance: Advance) -> None:
        self._file = file
        self._label = label
        self._counts = counts
        self._advance = advance

    def __iter__(self) -> Iterator[ScheduleMessageItem]:
        for number, line in enumerate(self._file, start=1):
            self._advance(len(line))
            if not line.strip():
                continue
            self._counts["lines"] += 1
            try:
                yield read_message(line, self._label)
            except InvalidMessage as error:
                self._counts["bad"] += 1
                complain(f"line {number}: {plain(error.reason)}")


def read_message(line: bytes, label: str) -> ScheduleMessageItem:
    """The message that a line holds. Raises InvalidMessage with the reason if it holds none."""
    try:
        values: Any = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidMessage("not a JSON object")
    if "mem_cube" in values:
        raise InvalidMessage("mem_cube: a cube is never sent; name it in mem_cube_id")
    if label:
        values.setdefault("label", label)
    try:
        message = ScheduleMessageItem.model_validate(values)
    except ValueError as error:
        reason = describe_validation_error(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidMessage(reason) from error
    message.to_wire()  # what cannot be sent is this line's fault, not its batch's
    return message


async def submit_all(scheduler: AsyncMemScheduler, lines: Lines, size: int, counts: Counter[str]) -> None:
    messages = iter(lines)
    try:
        while batch := list(islice(messages, size)):
            await submit_batch(scheduler, batch, counts)
    finally:
        await scheduler.stop()


async def submit_batch(scheduler: AsyncMemScheduler, batch: list[ScheduleMessageItem], counts: Counter[str]) -> None:
    """Submit them all, and wait while there is no room for them."""
    said = False
    while batch:
        results: list[SubmitResult]
        retry_after = 0.0
        try:
            results = await scheduler.submit_messages(batch)
        except QueueFull as full:
            results, retry_after = full.results, full.retry_after
            if not said:
                said = True
                complain(f"lane {plain(full.lane)} is full (limit {full.limit}); waiting for room")
        counts.update(result.outcome for result in results if result.accepted)
        refused = {result.item_id for result in results if not result.accepted}
        batch = [message for message in batch if message.item_id in refused]
        await asyncio.sleep(retry_after)


def summary(counts: Counter[str]) -> str:
    parts = [f"{counts[outcome]} {name}" for outcome, name in _OUTCOMES.items() if counts[outcome] or name == "queued"]
    return f"{counts['lines']} lines: {', '.join(parts)}"


_OUTCOMES = {"queued": "queued", "delayed": "delayed", "duplicate": "known already", "bad": "bad"}


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
    else:
        with open(name, "rb") as file:
            yield file


@contextmanager
def progress(file: BinaryIO) -> Iterator[Advance]:
    """A bar on stderr while there is a terminal; yields the function to call with the bytes of each line."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("submitting"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    size = os.fstat(file.fileno()).st_size
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=size or None)
        yield lambda count: bar.advance(task, count)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be from 1 to 100000")
    return number


if __name__ == "__main__":
    forgive_characters()
    exit_with(main)
