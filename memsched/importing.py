"""Brings conversations of other programs into a cube: each message once, however often it is done or interrupted.

A conversation is a session. Its messages go to the queue in windows, as ``add``. What a window holds is its idempotency
key (``item_id``), so that one that was handed over right before a crash is a duplicate afterwards; and a journal on the
server says which messages were handed over. So the same file changes nothing, and a later one of the same talks brings
what is new in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import ValidationError

from memsched.errors import InvalidMessage, QueueFull, SettingsError
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.exports.conversation import Conversation, time_of, told_of
from memsched.memory.exports.read import BrokenExport
from memsched.memory.import_journal import DIGEST_CHARACTERS, ImportJournal
from memsched.memory.ingest.turns import Turn, reading_of, with_time
from memsched.memory.ingest.turns.forms import FIELDS
from memsched.memory.ingest.turns.times import moment_of
from memsched.memory.ingest.turns.wordless import without_files
from memsched.memory.tombstones import Tombstones
from memsched.messages import ADD_TASK_LABEL, NOT_WAITED_FOR, ScheduleMessageItem, describe_validation_error
from memsched.queue.dead_letters import DeadFilter, DeadLetters
from memsched.queue.events import newest_events
from memsched.queue.handover import hand_over
from memsched.queue.status import Status, count_unfinished
from memsched.queue.workers import WorkerInfo
from memsched.scheduler import AsyncMemScheduler

MOST_WAITING = 256
"""Unfinished messages of the user: beyond that the file is not read on. So what waits is bounded, whatever its size."""
_WINDOW_MESSAGES = 50
_WINDOW_CHARACTERS = 256 * 1024
_BATCH_CONVERSATIONS, _BATCH_MESSAGES = 32, 2_000
_READ_TOGETHER = 1_000
_POLL_SECONDS = 0.1
_LOOK_EVERY_SECONDS = 5.0
_ITEM_PREFIX = "import-"
_EVENTS_LOOKED_AT = 100
_SIZES = ("long_term_memory_size", "user_memory_size")
_NAMESPACE = UUID("3b9df7a5-6a0b-4b0e-8d4a-52a3b2d0c6f1")


@dataclass(slots=True)
class Judged:
    """What of one conversation is kept.

    Args:
        kept: new messages, by digest.
        known: how many were brought in before.
        passed: how many say nothing, by what they are.
        refused: what cannot be read, and why.
        speakers: of the kept ones; "user" is the user.
    """

    conversation: Conversation
    kept: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    known: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    began: datetime | None = None
    ended: datetime | None = None
    speakers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Totals:
    """What an import has done so far.

    Args:
        conversations: those of which something was kept, now or before; ``new`` those with something new.
        held: memories that the cube had at the beginning, beside its archive, as its last event tells.
        waiting: messages of the user that are handed over and not settled.
        dead: messages of this import, or of earlier ones into the cube, that are dead letters.
    """

    conversations: int = 0
    new: int = 0
    kept: int = 0
    known: int = 0
    held: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    empty: int = 0
    waiting: int = 0
    dead: int = 0

    def add(self, judged: Judged) -> None:
        self.kept += len(judged.kept)
        self.known += judged.known
        self.passed += judged.passed
        self.refused += len(judged.refused)
        if not judged.conversation.piece:
            self.conversations += bool(judged.kept or judged.known)
            self.new += bool(judged.kept)
            self.empty += not (judged.kept or judged.known or judged.refused)


def judge(found: Conversation, user_id: str, mem_cube_id: str, known: Set[str] = frozenset()) -> Judged:
    """What the reader of turns makes of a conversation, without the messages that are known."""
    judged = Judged(found, passed=Counter(found.passed))
    if found.refused:
        judged.refused.append(found.refused)
        return judged
    not_understood = ""
    try:
        judged.conversation = replace(found, began=moment_of(found.began, "the conversation"))
    except InvalidMessage as error:
        not_understood = error.reason
        judged.conversation = replace(found, began=datetime.now(UTC))  # for what has a time of its own
    digests = _digests(found.messages)
    new = [number for number, digest in enumerate(digests) if digest not in known]
    judged.known = len(digests) - len(new)
    if not_understood:
        untimed = [number for number in new if time_of(found.messages[number]) is None]
        judged.refused += [f"message {number + 1}: {not_understood}" for number in untimed]
        new = sorted({*new} - {*untimed})
    turns: dict[int, Turn] = {}
    for at in range(0, len(new), _READ_TOGETHER):
        numbers = new[at : at + _READ_TOGETHER]
        said = [found.messages[number] for number in numbers]
        reading = reading_of(_add(user_id, mem_cube_id, judged.conversation, said), called="message")
        turns |= {numbers[turn.position]: turn for turn in reading.turns}
        judged.passed.update(each.why for each in reading.passed)
        for each in reading.refused:
            why = each.why.removeprefix(f"message[{each.position}]")
            judged.refused.append(f"message {numbers[each.position] + 1}{why}")
    judged.kept = {digests[number]: found.messages[number] for number in turns}
    times = sorted(turn.at for turn in turns.values())
    judged.began, judged.ended = (times[0], times[-1]) if times else (None, None)
    judged.speakers = list(dict.fromkeys("user" if turn.by_user else turn.speaker for turn in turns.values()))
    return judged


class Importer:
    """Brings conversations in, and sees to it that somebody settles them: live workers, or else this process.

    Args:
        totals: is kept up to date.
        tell: called whenever it may have changed.
    """

    def __init__(
        self,
        scheduler: AsyncMemScheduler,
        user_id: str,
        mem_cube_id: str,
        totals: Totals,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self._scheduler = scheduler
        self._user_id, self._mem_cube_id = user_id, mem_cube_id
        self._totals, self._tell = totals, tell
        self.paused = False
        """Somebody has paused the label ``add``: what was handed over waits for ``memsched resume add``."""
        self._looked_at = -_LOOK_EVERY_SECONDS

    async def bring(self, conversations: Iterator[Conversation], done: Callable[[Judged], None]) -> None:
        """Hand over what is new in them; at most MOST_WAITING messages of the user are unfinished meanwhile.

        While the label is paused, that is where it ends. Raises BrokenExport, after what stands before; CubeForbidden,
        UnknownCube, InvalidId and ServerUnreachable; where nobody would remember it, SettingsError or StoreUnavailable.

        Args:
            done: called with each conversation when its new messages are handed over.
        """
        server, keys = await self._scheduler.server(), self._scheduler.keys
        cubes = Cubes(server, keys, self._scheduler.settings)
        ref = await cubes.resolve(self._user_id, self._mem_cube_id, Permission.WRITE)
        emptied = await Tombstones(server, keys).emptied(ref)
        self._totals.held = await self._held(ref)
        journal = ImportJournal(server, keys)
        for batch in _batches(conversations):
            names = [self._name(ref, emptied, each) for each in batch]
            known = dict(zip(names, await journal.known(ref, names), strict=True))
            results: dict[int, Judged] = {}
            windows: list[_Window] = []
            for number, (name, found) in enumerate(zip(names, batch, strict=True)):
                results[number] = judge(found, self._user_id, self._mem_cube_id, known[name])
                known[name] |= results[number].kept.keys()
                windows += self._windows(name, results[number])
                await asyncio.sleep(0)  # handlers may run in this process
            for window, why in await self._hand_over(windows):
                window.refuse(why)
                known[window.name] -= window.digests
            await journal.write(ref, {window.name: known[window.name] for window in windows})
            for result in results.values():
                self._totals.add(result)
                done(result)
            await self._until_waiting(MOST_WAITING)
            if self._totals.waiting > MOST_WAITING:  # and the label is paused
                return

    async def settle(self) -> None:
        """Until all that the user has handed over is remembered; not while the label is paused, which takes longer."""
        await self._until_waiting(0)
        if self._looked_at >= 0:
            await self._read_status()
        letters = DeadLetters(await self._scheduler.server(), self._scheduler.keys)
        which = DeadFilter(label=ADD_TASK_LABEL, user_id=self._user_id)
        self._totals.dead = 0
        async for each in letters.letters(which):
            self._totals.dead += each.mem_cube_id == self._mem_cube_id and each.item_id.startswith(_ITEM_PREFIX)

    # -- parts ---------------------------------------------------------------------------------------------------

    async def _held(self, ref: CubeRef) -> int:
        server, keys = await self._scheduler.server(), self._scheduler.keys
        newest = newest_events(keys.cube(ref.user_id, ref.mem_cube_id).events, _EVENTS_LOOKED_AT)
        told = [each.current_memory_sizes for each in await server.persistently(lambda: server.call(newest))]
        sizes = next((each for each in reversed(told) if _SIZES[0] in each), {})
        return sum(sizes.get(name, 0) for name in _SIZES)

    def _name(self, ref: CubeRef, emptied: int, found: Conversation) -> str:
        """What a conversation is called in the journal; after the cube was emptied, it is another one."""
        told = [self._user_id, ref.user_id, ref.mem_cube_id, emptied, found.key, found.piece]
        return str(uuid5(_NAMESPACE, json.dumps(told)))

    def _windows(self, name: str, result: Judged) -> Iterator[_Window]:
        window: dict[str, Mapping[str, Any]] = {}
        size = 0
        for digest, message in result.kept.items():
            light = with_time(without_files(message), result.conversation.began)
            characters = len(json.dumps(light))
            if window and (len(window) == _WINDOW_MESSAGES or size + characters > _WINDOW_CHARACTERS):
                yield self._window(name, result, window)
                window, size = {}, 0
            window[digest] = light
            size += characters
        if window:
            yield self._window(name, result, window)

    def _window(self, name: str, result: Judged, window: Mapping[str, Mapping[str, Any]]) -> _Window:
        item_id = f"{_ITEM_PREFIX}{uuid5(_NAMESPACE, name + ''.join(window))}"
        told = replace(result.conversation, began=datetime.now(UTC))  # from now on it can be needed
        message = _add(self._user_id, self._mem_cube_id, told, list(window.values()), item_id)
        return _Window(name, result, message, frozenset(window))

    async def _hand_over(self, windows: Sequence[_Window]) -> list[tuple[_Window, str]]:
        """Submit them, and wait while the queue is full. Returns those that cannot be submitted at all, and why."""
        refused: list[tuple[_Window, str]] = []
        most = self._scheduler.settings.max_message_bytes
        left = [window.message for window in windows]
        while left:
            await self._see_to_workers()
            try:
                await self._scheduler.submit_messages(left)
                break
            except QueueFull as full:
                there = {each.item_id for each in full.results if each.accepted}
                left = [each for each in left if each.item_id not in there]
                await asyncio.sleep(full.retry_after)
            except InvalidMessage:  # nothing was submitted
                bad = [(window, why) for window in windows if (why := _unsendable(window.message, most))]
                if refused or not bad:
                    raise
                refused = bad
                left = [each for each in left if each not in [window.message for window, _ in bad]]
        return refused

    async def _until_waiting(self, most: int) -> None:
        server, keys = await self._scheduler.server(), self._scheduler.keys
        while True:
            self._totals.waiting = await server.persistently(
                lambda: count_unfinished(server, keys, self._user_id, NOT_WAITED_FOR)
            )
            self._tell()
            if self._totals.waiting <= most or self.paused:
                return
            await self._see_to_workers()
            await asyncio.sleep(_POLL_SECONDS)

    async def _read_status(self) -> Status:
        status = await self._scheduler.read_status()
        self.paused = ADD_TASK_LABEL in status.paused
        return status

    async def _see_to_workers(self) -> None:
        """Every few seconds: whether anybody takes what is handed over. If not, this process begins to."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        self._looked_at = time.monotonic()
        scheduler, status = self._scheduler, await self._read_status()
        if scheduler.settings.redis_url.startswith("embedded://"):  # all of them are on this machine
            for worker in filter(_is_gone, status.workers):
                await hand_over(await scheduler.server(), scheduler.keys, scheduler.settings, worker.worker_id)
        taken = any(_takes_add(worker) and not _is_gone(worker) for worker in status.workers)
        if scheduler.running or taken:
            return
        if not scheduler.settings.memory:
            raise SettingsError(["MEMSCHED_MEMORY is false, and no worker takes messages with the label add."])
        services = await scheduler.memory()
        await services.store.count(await services.reading(self._user_id, self._mem_cube_id))  # it answers, or raises
        await scheduler.start()


@dataclass(frozen=True, slots=True)
class _Window:
    """Messages of a conversation that go to the queue as one."""

    name: str
    result: Judged
    message: ScheduleMessageItem
    digests: frozenset[str]

    def refuse(self, why: str) -> None:
        self.result.refused.append(why)
        for digest in self.digests:
            del self.result.kept[digest]


def _takes_add(worker: WorkerInfo) -> bool:
    return worker.alive and ADD_TASK_LABEL in worker.about.get("labels", "").split(",")


def _is_gone(worker: WorkerInfo) -> bool:
    """Whether it was a process here that has ended without a word: it was killed."""
    pid = worker.about.get("pid", "")
    if worker.about.get("host") != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _unsendable(message: ScheduleMessageItem, most: int) -> str:
    try:
        message.to_wire(most)
    except InvalidMessage as error:
        return error.reason
    return ""


def _batches(conversations: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    """A few at a time; where the file is broken, first what stands before."""
    batch: list[Conversation] = []
    messages = 0
    try:
        for each in conversations:
            batch.append(each)
            messages += len(each.messages)
            if len(batch) == _BATCH_CONVERSATIONS or messages >= _BATCH_MESSAGES:
                yield batch
                batch, messages = [], 0
    except BrokenExport:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _add(
    user_id: str, mem_cube_id: str, found: Conversation, messages: list[Any], item_id: str = "judged"
) -> ScheduleMessageItem:
    try:
        return ScheduleMessageItem(
            item_id=item_id,
            user_id=user_id,
            mem_cube_id=mem_cube_id,
            label=ADD_TASK_LABEL,
            content="",
            session_id=found.key,
            timestamp=found.began,
            chat_history=messages,
        )
    except ValidationError as error:
        raise InvalidMessage(describe_validation_error(error)) from error


def _digests(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells each message from the others of its conversation, and is the same in every export of it.

    What is told of it, and how often the same came before; and its id, where no other has it.
    """
    own = [next((each[name] for name in FIELDS["id"] if each.get(name)), None) for each in messages]
    ids = Counter(each for each in own if isinstance(each, str))
    seen: Counter[str] = Counter()
    digests = []
    for each, given in zip(messages, own, strict=True):
        unique = isinstance(given, str) and ids[given] == 1
        told = json.dumps([given if unique else None, *told_of(each)], sort_keys=True, default=str)
        seen[told] += 1
        whole = hashlib.sha256(f"{told}{seen[told]}".encode()).hexdigest()
        digests.append(whole[:DIGEST_CHARACTERS])
    return digests
