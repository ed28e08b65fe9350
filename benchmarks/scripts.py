"""What each Lua script costs the server, which serves nobody else meanwhile: with much waiting, held and delayed.

A lane is filled with 100,000 unfinished messages, held by 100 workers of 1,000 each, and 200,000 delayed ones; then
everything that a worker, a producer or an operator asks of it is asked, through the same Python as in production. The
times are the server's own (its slow log), by the scripts' digests: the median and the worst of all
calls.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

import redis

from benchmarks.redis_server import redis_server
from benchmarks.targets import Results, Target, at_most
from memsched import ScheduleMessageItem, Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys, Lane
from memsched.broker.lock import Lock
from memsched.broker.scripting import Script
from memsched.logs import configure_logs
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.search.term_statistics import TermStatistics
from memsched.policy.talk import TalkEvent
from memsched.queue.clear import clear
from memsched.queue.dead_letters import DeadFilter, DeadLetters
from memsched.queue.delayed import promote
from memsched.queue.delivery import Delivery, read_streams
from memsched.queue.follow_ups import FollowUp
from memsched.queue.lanes import ensure_groups, register_lanes
from memsched.queue.leases import Leases
from memsched.queue.outbox import Batch
from memsched.queue.outcomes import GiveUp, Outcomes, Retry
from memsched.queue.status import count_unfinished, read_status
from memsched.queue.submit import Producer
from memsched.queue.tasks import cancel_task, find_tasks
from memsched.queue.workers import WorkerRegistry
from memsched.tiers.hot_state import HotState, HotStates
from memsched.worker.outbox import Outbox
from memsched.worker.reporter import MOST_AT_ONCE

UNFINISHED, WORKERS, DELAYED, FOLLOW_UPS = 100_000, 100, 200_000, 10_000
HELD = UNFINISHED // WORKERS
BIG = "x" * 7_990_000
"""A message of nearly the largest size."""
MOST_MS = 5.0
_LEAST_US = 50
"""What is faster is not in the server's slow log: commands within scripts, whose logging would be most of the cost."""
LABEL = "big"
TARGETS: dict[str, Target] = {}
"""Each script at each size; filled with the results."""

_FILL_STREAM = """
for number = 1, 1000 do
  local name = ARGV[1] .. '-' .. number
  local id = redis.call('XADD', KEYS[1], '*', 'v', '1', 'item_id', name, 'user_id', 'user-' .. number,
    'mem_cube_id', 'home', 'content', string.rep('x', 200), 'timestamp', '2026-01-01T00:00:00+00:00',
    'submitted', '1790000000000')
  redis.call('SADD', KEYS[2] .. ':user-' .. number, id)
end
"""
_FILL_DELAYED = """
for number = 1, 1000 do
  local name = ARGV[1] .. '-' .. number
  redis.call('ZADD', KEYS[1], tonumber(ARGV[2]) + number, cjson.encode({
    ARGV[3] .. 'user-' .. number .. '/' .. name, 'v', '1', 'item_id', name, 'user_id', 'user-' .. number,
    'mem_cube_id', 'home', 'content', string.rep('x', 200), 'timestamp', '2026-01-01T00:00:00+00:00',
    'submitted', '1790000000000'}))
end
"""


class ScriptsBenchmark:
    """One step per room of duties; each asks for what its scripts are there for."""

    STEPS: tuple[str, ...] = ("submitting", "leases", "outcomes", "dead_letters", "looking", "clearing", "memory")

    def __init__(self, results: Results) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        self.results = results
        self._names = {script.sha: script.name for script in all_scripts()}
        self._times: dict[str, list[float]] = defaultdict(list)

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        with redis_server(self.folder) as socket:
            self.redis: Any = redis.Redis(unix_socket_path=str(socket), protocol=2)
            self.redis.config_set("slowlog-log-slower-than", _LEAST_US)
            self.redis.config_set("slowlog-max-len", 10_000)
            for script in all_scripts():  # compiled here, once, as on any server that has been up for a while
                self.redis.script_load(script.source)
            self.settings = Settings.load(redis_url=f"unix://{socket}", memory=False, log_level="error")
            configure_logs(self.settings)
            self.server = await Server.connect(self.settings)
            self.keys = Keys()
            self.lane = self.keys.lane(LABEL, "", "")
            self.producer = Producer(self.server, self.keys, self.settings)
            for step in only or self.STEPS:
                print(f"{step} ...", file=sys.stderr, flush=True)
                self.redis.flushall()
                await register_lanes(self.server, self.keys, [self.lane])
                await ensure_groups(self.server, [self.lane])
                await getattr(self, f"_{step}")()
            await self.server.aclose()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._tell()
        measured = {name.partition(":")[0] for name in self._times}
        if not only and (missing := set(self._names.values()) - measured):
            print(f"faster than {_LEAST_US} us: {', '.join(sorted(missing))}", file=sys.stderr)

    # -- the steps -----------------------------------------------------------------------------------------------

    async def _submitting(self) -> None:
        await self._fill()
        for _ in range(5):
            await self._measure("100 messages", self.producer.submit(_messages(100)))
            await self._measure("100 delayed", self.producer.submit(_messages(100), delay_ms=60_000))
        await self._measure("one of 8 MB", self.producer.submit(_messages(1, BIG)))
        self._plain("XADD alone: 8 MB", "XADD", "plain", "*", "content", BIG)
        for _ in range(5):
            await self._measure("100 due", self.server.call(promote(self.lane, self.settings.max_per_user)))
        await self._measure("2,000 due", self._promoted_everything())
        await self.producer.submit(_messages(10, BIG), delay_ms=1)
        await self._measure("10 of 8 MB due", self._promoted_everything())

    async def _promoted_everything(self) -> None:
        while (await self.server.call(promote(self.lane, self.settings.max_per_user))) == 0.0:
            pass

    async def _leases(self) -> None:
        held = await self._fill()
        fresh = Leases(self.keys, "fresh")
        for _ in range(5):
            await self._measure("nothing is idle", self.server.call(fresh.claim(self.lane, 60_000, 100)))
        dead = Leases(self.keys, "w1")
        await self._measure("1,000 held", self.server.call(dead.handover(self.lane)))
        for _ in range(5):
            await self._measure("100 are taken over", self.server.call(fresh.claim(self.lane, 60_000, 100)))
        own = Leases(self.keys, "w0")
        ids = [delivery.entry_id for delivery in held]
        for at in range(0, HELD, 250):
            await self._measure("250 of 1,000 held", self.server.call(own.renew(self.lane, ids[at : at + 250])))
        await self._measure("10 of 1,000 held", self.server.call(own.renew(self.lane, ids[:10])))
        for at in range(0, HELD, 100):
            await self._measure("100 of 1,000 held", self.server.call(own.mark(self.lane, held[at : at + 100])))
        await self._measure("one of 1,000 held", self.server.call(own.mark(self.lane, held[:1])))
        await self._measure("one of 1,000 held", self.server.call(own.begin(held[0], trial_at=1)))
        await self._measure(
            "32 messages, 1 MB", self.server.call(own.checkpoint(self.lane, held[:32], BIG[:1_000_000]))
        )
        await self._measure("10 of 1,000 held", self.server.call(own.release(self.lane, ids[:10])))
        await self._measure("500 of 990 held", self.server.call(own.release_held(self.lane)))
        await self._measure(
            "100 workers", self.server.call(Leases(self.keys, "w1").remove_consumer(self.lane, dead=False))
        )
        registry = WorkerRegistry(self.server, self.keys, 10)
        for number in range(WORKERS):
            await self._measure("100 workers", self.server.call(registry.beat(f"w{number}")))

    async def _outcomes(self) -> None:
        held = await self._fill()
        outcomes = Outcomes(self.keys, "w0", 60, self.settings.max_per_user)
        for part in (held[:1], held[1:11], held[11:61]):
            await self._measure(f"{len(part)} of 1,000 held", self.server.call(outcomes.settle(self.lane, part)))
        retries = [Retry(delivery, 1000, {"errors": 1}, "again") for delivery in held[111:161]]
        await self._measure("50 messages", self.server.call(outcomes.retry(self.lane, retries)))
        given_up = [GiveUp(delivery, "errors", "no", {}) for delivery in held[211:261]]
        await self._measure("50 messages", self.server.call(outcomes.dead_letter(self.lane, given_up)))
        for number, count in enumerate((1, MOST_AT_ONCE, FOLLOW_UPS)):
            await self._measure(f"{count:,} follow-ups", self._conclude(outcomes, held[400 + number], count))
        (big,) = await self._read("big-one", _messages(1, BIG))
        outcomes = Outcomes(self.keys, "big-one", 60, self.settings.max_per_user)
        await self._measure("one of 8 MB", self.server.call(outcomes.retry(self.lane, [Retry(big, 1, {}, "again")])))
        (big,) = await self._read("big-one", _messages(1, BIG))
        give_up = GiveUp(big, "errors", "no", {})
        await self._measure("one of 8 MB", self.server.call(outcomes.dead_letter(self.lane, [give_up])))

    async def _conclude(self, outcomes: Outcomes, parent: Delivery, count: int) -> None:
        """As the reporter does it."""
        follow_ups = [FollowUp.of(message) for message in _messages(count, label="next")]
        if count <= MOST_AT_ONCE:
            await self.server.call(outcomes.conclude(self.lane, [parent], [parent], follow_ups))
            return
        batch = Batch.of(follow_ups)
        for page in range(len(batch.pages)):
            await self.server.call(outcomes.stage(self.lane, batch, page, [parent]))
        await self.server.call(outcomes.conclude_staged(self.lane, [parent], [parent], batch))
        outbox = Outbox(self.server, self.producer, lambda: [self.lane])
        await outbox.drain(self.lane, batch.name)

    async def _dead_letters(self) -> None:
        held = await self._fill()
        outcomes = Outcomes(self.keys, "w0", 60, self.settings.max_per_user)
        given_up = [GiveUp(delivery, "errors", "no", {}) for delivery in held]
        for at in range(0, HELD, 100):
            await self.server.call(outcomes.dead_letter(self.lane, given_up[at : at + 100]))
        letters = DeadLetters(self.server, self.keys)
        await self._measure("1,000 letters", letters.redrive(DeadFilter()))

    async def _looking(self) -> None:
        await self._fill()
        for _ in range(20):
            await self._measure("100,000 unfinished", read_status(self.server, self.keys, self.settings))
            await self._measure("100,000 unfinished", count_unfinished(self.server, self.keys, "user-1"))
        self.redis.flushall()
        await register_lanes(self.server, self.keys, [self.lane])
        await self.producer.submit(_messages(1, BIG))
        await self._measure("the oldest has 8 MB", read_status(self.server, self.keys, self.settings))

    async def _clearing(self) -> None:
        await self._fill()
        waiting = _messages(1)
        await self.producer.submit(waiting, delay_ms=60_000)
        (task,) = await find_tasks(self.server, self.keys, waiting[0].user_id, waiting[0].item_id)
        await self._measure("one of 200,000 delayed", cancel_task(self.server, self.keys, task, 60))
        await self._measure("100,000 unfinished, 200,000 delayed", clear(self.server, self.keys))

    async def _memory(self) -> None:
        """What the memory half asks of Redis, once each."""
        await self._measure("once", Lock(self.server, "lock").renew())
        cubes, ref = Cubes(self.server, self.keys, self.settings), CubeRef("alice", "home")
        for user in ("alice", "bob"):
            await cubes.create_user(user)
        await self._measure("once", cubes.register("alice", "home"))
        await self._measure("once", cubes.share("alice", "home", "bob", Permission.READ, accepted=True))
        await self._measure("once", cubes.revoke("alice", "home", "bob"))
        stems = {f"m{number}": [[f"word{number}-{at}" for at in range(20)]] for number in range(50)}
        await self._measure("50 memories", TermStatistics(self.server, self.keys).add(ref, stems))
        talk = [TalkEvent(event_id=str(at), at=at, text=BIG[:2000]) for at in range(50)]

        async def with_talk(state: HotState, _: set[str]) -> HotState:
            return state.with_talk(talk)

        await self._measure("50 events", HotStates(self.server, self.keys).change(ref, ["m"], with_talk))

    # -- what the steps are made of ------------------------------------------------------------------------------

    async def _fill(self) -> list[Delivery]:
        """The lane as described above; what worker w0 holds of it."""
        fill_stream, fill_delayed = map(self.redis.register_script, (_FILL_STREAM, _FILL_DELAYED))
        for page in range(UNFINISHED // 1000):
            fill_stream([self.lane.stream, self.lane.users], [page])
        for page in range(DELAYED // 1000):
            due_ms = 1_000_000_000 if page < 2 else 4_000_000_000_000
            fill_delayed([self.lane.delayed], [f"d{page}", due_ms, self.lane.task_prefix])
        first: Any = None
        for number in range(WORKERS):
            reply = await self.server.execute(*Leases(self.keys, f"w{number}").read([self.lane], HELD))
            first = first if first is not None else reply
            self.redis.zadd(self.keys.workers, {f"w{number}": 4_000_000_000_000})
        return _deliveries(first, self.lane)

    async def _read(self, worker_id: str, messages: list[ScheduleMessageItem]) -> list[Delivery]:
        await self.producer.submit(messages)
        reply = await self.server.execute(*Leases(self.keys, worker_id).read([self.lane], len(messages)))
        return _deliveries(reply, self.lane)

    async def _measure(self, at: str, asked: Awaitable[Any]) -> None:
        """Ask, and look up in the slow log what the scripts that this called have cost, in ms."""
        self.redis.slowlog_reset()
        before = self._cpu_ms()
        await asked
        entries = self.redis.slowlog_get(10_000)
        # On a busy machine, what the server waited for its core is no cost of a script.
        waited = (self._cpu_ms() - before) / max(0.001, sum(entry["duration"] for entry in entries) / 1000)
        for entry in entries:
            words = entry["command"].decode(errors="replace").split(" ", 2)
            if words[0] == "EVALSHA" and words[1] in self._names:
                self._times[f"{self._names[words[1]]}: {at}"].append(entry["duration"] / 1000 * min(1.0, waited))

    def _plain(self, name: str, *command: str) -> None:
        """The same for one command: what no script can be faster than."""
        self.redis.slowlog_reset()
        self.redis.execute_command(*command)
        self._times[name] += [entry["duration"] / 1000 for entry in self.redis.slowlog_get(1)]

    def _cpu_ms(self) -> float:
        """What the server's main thread has computed since its start."""
        cpu = self.redis.info("cpu")
        return 1000 * float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])

    def _tell(self) -> None:
        for name, times in self._times.items():
            self.results[name] = statistics.median(times)
            self.results[f"{name}, worst of {len(times)}"] = max(times)
            TARGETS[f"{name}, worst of {len(times)}"] = at_most(f"{name}, worst of {len(times)}", MOST_MS, "ms")


def markdown(results: Results) -> str:
    """A row per script and size."""
    lines = ["| script | asked to do | median ms | worst ms | of |", "|---|---|---:|---:|---:|"]
    worst = {name.partition(", worst of ")[0]: name for name in results if ", worst of " in name}
    for name, its_worst in worst.items():
        script, _, at = name.partition(": ")
        calls = its_worst.rpartition(" ")[2]
        lines.append(f"| {script} | {at} | {results[name]:.2f} | {results[its_worst]:.2f} | {calls} |")
    return "\n".join(lines) + "\n"


def all_scripts() -> Iterable[Script]:
    """Every script that is called; those that are only included in others are parts of them."""
    paths = sorted((Path(__file__).parents[1] / "memsched").rglob("scripts/*.lua"))
    included = {
        name
        for path in paths
        for names in re.findall(r"^-- include: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for name in names.split()
    }
    return [Script(path) for path in paths if path.stem not in included]


def _messages(count: int, content: str = "hello", *, label: str = LABEL) -> list[ScheduleMessageItem]:
    return [
        ScheduleMessageItem(user_id=f"user-{number % 1000}", mem_cube_id="home", label=label, content=content)
        for number in range(count)
    ]


def _deliveries(reply: Any, lane: Lane) -> list[Delivery]:
    found = read_streams(reply, {lane.stream.encode(): lane})
    return [entry for entry in found if isinstance(entry, Delivery)]
