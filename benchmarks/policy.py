"""What the policy costs: CPU time of one process for a message and for an answer, at a cube of 2,000 memories.

``policy`` is what valuing, themes and choosing cost, with store, search and Redis left out; ``whole`` is what all of
memsched's processes together spend on a message, stored, searched for and answered. ``hot`` is what Redis is sent of a
cube with each, and what the cube takes there when nothing happens.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import psutil

from benchmarks.redis_server import redis_server
from benchmarks.talk import Talk
from benchmarks.targets import Results, Target, at_most
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import as_text
from memsched.embedded.teardown import end_servers
from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.changes import ChangeFeed, Changes
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL
from memsched.policy.block import BlockLimits
from memsched.policy.ranking import StandardPolicy
from memsched.policy.talk import ANSWERS_KEPT, ANSWERS_PAIRED, TalkEvent
from memsched.tiers.cube_cache import CubeCaches
from memsched.tiers.hot_state import HotState, HotStates, Use, mark_of
from memsched.tiers.working_set import FOUND, WorkingSets

MEMORIES = 2_000
ROUNDS = 100
WARM_UP = 70
WINDOW = 5
SIZES = {"small": (5, 1), "usual": (300, 60), "large": (MEMORIES, 256)}
"""Cubes: memories, and how many of them are asked for and used by an answer."""
COPIES = 2_000
LIMITS = BlockLimits(members=100, tokens=4_000, still_wanted=0.05)
"""The defaults."""
_PER_SESSION = 50
_SIZE = 20
_PATIENCE = 300.0
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_REF = CubeRef("reader", "talk")

TARGETS: dict[str, Target] = {
    "policy_message_ms": at_most("policy_message_ms", 1.0, f"ms at {MEMORIES:,} memories"),
    "policy_answer_ms": at_most("policy_answer_ms", 5.0, f"ms at {MEMORIES:,} memories"),
    "whole_message_ms": at_most("whole_message_ms", 8.0, f"ms at {MEMORIES:,} memories"),
}


class PolicyBenchmark:
    """All steps in order."""

    STEPS: tuple[str, ...] = ("policy", "whole", "hot")

    def __init__(self, results: Results) -> None:
        self.results = results
        self.talk = Talk()

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        for step in only or self.STEPS:
            print(f"{step} ...", file=sys.stderr, flush=True)
            await getattr(self, f"_{step}")()

    async def _policy(self) -> None:
        """Rounds of a message, a question and its answer, each with its pass."""
        cube: Any = _Cube([self._memory(number) for number in range(MEMORIES)])
        sets = _sets_of(cube)
        state, spent = HotState(), dict[str, list[float]]()
        for number in range(MEMORIES, MEMORIES + WARM_UP + ROUNDS):
            at = to_ms(_at(number))
            cube.add(self._memory(number))
            asked = TalkEvent(event_id=f"q{number}", at=at + 1000, text=self.talk.question())
            said = TalkEvent(event_id=f"a{number}", kind="answer", at=at + 2000, text=self.talk.sentence(6))
            for name, events in (("message", []), ("question", [asked]), ("answer", [said])):
                begun = time.process_time()
                state = await sets.recompute(_REF, state.with_talk(events))
                spent.setdefault(name, []).append(time.process_time() - begun)
                state = cube.committed(state)
        for name, seconds in spent.items():
            self.results[f"policy_{name}_ms"] = 1000 * statistics.median(seconds[WARM_UP:])
            self.results[f"policy_{name}_p95_ms"] = 1000 * sorted(seconds[WARM_UP:])[int(0.95 * ROUNDS)]
        fresh = _sets_of(cube)
        begun = time.process_time()
        await fresh.recompute(_REF, state)
        self.results["policy_first_ms"] = 1000 * (time.process_time() - begun)

    async def _whole(self) -> None:
        """Told one by one to a started scheduler; what it, the server and the vector process spend together."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        async with AsyncMemScheduler(redis_url=f"embedded://{folder}", log_level="error") as scheduler:
            await scheduler.start()
            await scheduler.submit_messages(list(self.talk.messages(_REF.user_id, MEMORIES)))
            await scheduler.wait(user_id=_REF.user_id, timeout=_PATIENCE)

            async def say(number: int, label: str, text: str, after: int) -> None:
                told: dict[str, Any] = {"content": text}
                if label == ADD_TASK_LABEL:
                    told = {"content": "", "chat_history": [{"speaker": "Anna", "content": text}]}
                message = ScheduleMessageItem(
                    user_id=_REF.user_id,
                    mem_cube_id=_REF.mem_cube_id,
                    label=label,
                    session_id=f"session {number // _PER_SESSION}",
                    timestamp=_at(number) + timedelta(seconds=after),
                    **told,
                )
                await scheduler.submit_messages(message)
                await scheduler.wait(user_id=_REF.user_id, timeout=_PATIENCE)

            labels: dict[str, tuple[str, Callable[[], str], int]] = {
                "message": (ADD_TASK_LABEL, lambda: self.talk.sentence(8), 0),
                "question": (QUERY_TASK_LABEL, self.talk.question, 1),
                "answer": (ANSWER_TASK_LABEL, lambda: self.talk.sentence(6), 2),
            }
            spent: dict[str, list[float]] = {name: [] for name in labels}
            servers = psutil.Process().children(recursive=True)
            for number in range(MEMORIES, MEMORIES + WARM_UP + ROUNDS):
                for name, (label, text, after) in labels.items():
                    begun = _cpu_of(servers)
                    await say(number, label, text(), after)
                    spent[name].append(_cpu_of(servers) - begun)
            for name, seconds in spent.items():  # the clocks of other processes tick in 10 ms: the mean evens that out
                self.results[f"whole_{name}_ms"] = 1000 * statistics.fmean(seconds[WARM_UP:])
        await asyncio.to_thread(end_servers, folder)
        shutil.rmtree(folder, ignore_errors=True)

    async def _hot(self) -> None:
        """Cubes of three sizes, told and asked one by one; then a great many of the usual one."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        with redis_server(folder) as socket:
            settings = Settings.load(redis_url=f"unix://{socket}", memory=False, log_level="error")
            server = await Server.connect(settings)
            for size, (turns, answers) in SIZES.items():
                await self._fill(server, CubeRef(_REF.user_id, size), turns, answers)
            before = await _info(server, "memory", "used_memory")
            for number in range(COPIES):
                for key, copy in zip(_keys_of("usual"), _keys_of(f"usual {number:06}"), strict=True):
                    await server.execute("COPY", key, copy)
            taken = await _info(server, "memory", "used_memory") - before
            self.results[f"rest_of_{COPIES}_usual_kb"] = taken / COPIES / 1024
            await server.aclose()
        shutil.rmtree(folder, ignore_errors=True)

    async def _fill(self, server: Server, ref: CubeRef, turns: int, answers: int) -> None:
        keys = Keys()
        states, terms, feed = HotStates(server, keys), TermStatistics(server, keys), ChangeFeed(server, keys)
        cube: Any = _Cube([])
        sets, sent = _sets_of(cube, states), dict[str, list[float]]()

        async def change(kind: str, name: str, events: Sequence[TalkEvent], uses: dict[str, Use]) -> None:
            async def compute(state: HotState, _: set[str]) -> HotState:
                return await sets.recompute(ref, state.with_talk(events).model_copy(update={"uses": uses}))

            before = await _info(server, "stats", "total_net_input_bytes")
            await states.change(ref, [mark_of(kind, name)], compute)
            sent.setdefault(kind, []).append(await _info(server, "stats", "total_net_input_bytes") - before)

        for number in range(turns):
            told, at = self._memory(number), to_ms(_at(number))
            cube.add(told)
            await terms.add(ref, {_id("message", number): [stems(told.indexed_text)]})
            await feed.announce(ref, [told.memory_id])
            await change("add", _id("message", number), [], {})
            if number >= turns - answers:
                asked = TalkEvent(event_id=_id("question", number), at=at + 1000, text=self.talk.question())
                said = TalkEvent(event_id=_id("answer", number), kind="answer", at=at + 2000, text=told.text)
                await change("query", asked.event_id, [asked], {})
                await change("answer", said.event_id, [said], {told.memory_id: Use(1, at)})
        size = ref.mem_cube_id
        for kind, each in sent.items():
            self.results[f"sent_{kind}_{size}_kb"] = statistics.fmean(each[-20:]) / 1024
        of_keys = [await server.execute("MEMORY", "USAGE", key, "SAMPLES", 0) for key in _keys_of(size)]
        for name, taken in zip(("hot", "applied", "terms", "changes", "talk"), of_keys, strict=True):
            self.results[f"rest_{size}_{name}_kb"] = taken / 1024
        self.results[f"rest_{size}_kb"] = sum(of_keys) / 1024
        self.results[f"rest_{size}_after_a_week_kb"] = (of_keys[0] + of_keys[2]) / 1024  # marks, feed and talk expire

    def _memory(self, number: int) -> Memory:
        text, at = self.talk.sentence(8), _at(number)
        return Memory(
            memory_id=_id("memory", number),
            user_id=_REF.user_id,
            mem_cube_id=_REF.mem_cube_id,
            text=text,
            at=at,
            created_at=at,
            updated_at=at,
            session_id=f"session {number // _PER_SESSION:04}",
            turn=number % _PER_SESSION,
            content_hash=content_hash("", text),
        )


class _Cube:
    """Store, change feed and search of a cube, at no cost."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = {memory.memory_id: memory for memory in memories}
        self._last = ""
        self._talk: list[TalkEvent] = []

    def committed(self, state: HotState) -> HotState:
        """The state as the next pass loads it."""
        self._talk = [*self._talk, *state.new][-ANSWERS_KEPT - ANSWERS_PAIRED :]
        return state.model_copy(update={"new": []})

    async def said(self, _: CubeRef) -> list[TalkEvent]:
        return self._talk

    def add(self, memory: Memory) -> None:
        self.memories[memory.memory_id] = memory
        self._last = memory.memory_id

    async def since(self, _: CubeRef, position: str | None) -> Changes:
        changed = frozenset[str]() if position == self._last else frozenset([self._last])
        return Changes(self._last, None if position is None else changed)

    async def scan(self, *_: object) -> AsyncIterator[tuple[Memory, list[float]]]:
        for memory in list(self.memories.values()):
            yield memory, []

    async def get(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        return {each: self.memories[each] for each in memory_ids}

    async def search(self, _: CubeRef, query: str, *args: object, **more: object) -> list[SearchResult]:
        first = hash_of(query) % max(1, min(MEMORIES, len(self.memories)) - FOUND)
        found = [_id("memory", first + n) for n in range(min(FOUND, len(self.memories)))]
        return [SearchResult(self.memories[each], 1.0 / (1 + n), {}) for n, each in enumerate(found)]


def _sets_of(cube: Any, states: Any = None) -> WorkingSets:
    caches = CubeCaches(cube, cube)
    return WorkingSets(states or cube, caches, cube, StandardPolicy(), size=_SIZE, window=WINDOW, limits=LIMITS)


def _id(what: str, number: int) -> str:
    """As long as ids are that nobody chose."""
    return str(uuid5(NAMESPACE_OID, f"{what} {number}"))


def _keys_of(mem_cube_id: str) -> list[str]:
    keys = Keys().cube(_REF.user_id, mem_cube_id)
    return [keys.hot, keys.applied, keys.terms, keys.changes, keys.talk]


async def _info(server: Server, section: str, name: str) -> int:
    told = await server.execute("INFO", section)
    lines = as_text(told).splitlines() if isinstance(told, str | bytes) else [f"{key}:{told[key]}" for key in told]
    return int(next(line for line in lines if line.startswith(f"{name}:")).partition(":")[2])


def hash_of(text: str) -> int:
    """The same in every run."""
    return sum(ord(letter) * (at + 1) for at, letter in enumerate(text))


def _at(number: int) -> datetime:
    return _BEGIN + timedelta(minutes=number)


def _cpu_of(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds of this process and of these."""
    times = [each.cpu_times() for each in processes]
    return time.process_time() + sum(each.user + each.system for each in times)
