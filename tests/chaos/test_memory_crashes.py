"""A worker dies between every two steps of a memory handler: afterwards the cube is as if it had not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.conditions import until
from support.crash_points import CRASH_AT, MARK, SIGNAL, STEPS, Nursery, gone
from support.llm import Asked, FakeLLM, Reply, fails, says_json
from support.memories import (
    Snapshot,
    conversation,
    forget_everything,
    left_of,
    memories_of,
    put,
    said,
    snapshot,
    without_working,
)
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.queue.lanes import known_lanes
from memsched.queue.leases import Leases
from memsched.queue.workers import WorkerRegistry

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

Schedulers = Callable[..., AsyncMemScheduler]
LABELS = ["add", "mem_update"]
EVERY = 1 if os.environ.get("CRASH_AT_EVERY_STEP") else 2
"""A crash is tried before every second step; CRASH_AT_EVERY_STEP=1 tries all, which takes twice as long."""
HANGS = 120
"""Seconds after which an act is taken for one that never ends: six workers take half a minute on a busy machine."""
ROWS = 6
"""Crashes that are tried at the same time, each in a place of its own."""

BEFORE = [
    said("My sister Ann is allergic to nuts.", 0, item_id="a1", user_name="Alice"),
    said("I live in Lisbon.", 1, item_id="a2", user_name="Alice"),
]
THEN = [
    conversation(
        ("Alice", "We got a puppy called Rex."),
        ("Alice", "My sister Ann is allergic to nuts!"),
        ("Alice", "Actually, I live in Porto."),
        minute=2,
        item_id="a3",
    )
]
READ = [
    [
        conversation(
            ("Alice", "We got a puppy called Rex."),
            ("Bob", "I moved my desk into the garden house."),
            minute=3,
            label="mem_read",
            item_id="r1",
        )
    ],
    [said("Tell me about the puppy", 4, "query", item_id="q1")],
]
FACTS = {
    "memories": [
        {
            "kind": "event",
            "text": "Alice got a puppy called Rex.",
            "quote": "We got a puppy called Rex",
            "source_turns": [0],
            "about_user": True,
            "importance": 0.6,
            "tags": ["pets"],
        },
        {
            "kind": "fact",
            "text": "Bob moved his desk into the garden house.",
            "quote": "I moved my desk into the garden house",
            "source_turns": [1],
            "importance": 0.3,
        },
    ]
}


SECRET = said("My safe at the cabin opens with zyzzogeton.", 0, item_id="s1", user_name="Alice")
DRY = said("The cabin is dry.", 1, item_id="d1", user_name="Alice")


class Row:
    """One place, in which scenes are played one after another.

    Attributes:
        meanwhile: what somebody does between a worker's death and the next worker's turn.
        ends_well: says how a scene ends in which a worker died; None: as the undisturbed one.
    """

    def __init__(self, folder: Path, nursery: Nursery, scheduler: AsyncMemScheduler, **settings: Any) -> None:
        self.folder = folder
        self.scheduler = scheduler
        self.nursery = nursery
        self.environment = {f"MEMSCHED_{name.upper()}": str(value) for name, value in settings.items()}
        self.pids: list[int] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.ends_well: Callable[[Snapshot], Awaitable[None]] | None = None
        folder.mkdir()

    def start(self, **more: str) -> int:
        self.pids.append(self.nursery.worker(**self.environment, **more))
        return self.pids[-1]

    async def play_with_zombie(self, scene: list[list[ScheduleMessageItem]], stop_at: str) -> tuple[Snapshot, str]:
        """The scene; its worker is stopped before a step, and goes on when another one has done everything."""
        mark = self.folder / "mark"
        mark.unlink(missing_ok=True)
        zombie = owner = 0
        stopping = {CRASH_AT: stop_at, MARK: str(mark), SIGNAL: str(int(signal.SIGSTOP))}
        for act in scene:
            await self.scheduler.submit_messages(act)
            zombie = zombie or self.start(**stopping)
            await until(lambda: mark.exists() or self._done(), "the act to end", seconds=HANGS)
            if mark.exists() and not owner:
                await self._hand_over()  # it is taken for dead
                owner = self.start()
            await until(self._done, "the owner to go on", seconds=HANGS)
        if owner:
            os.kill(owner, signal.SIGKILL)
            os.kill(zombie, signal.SIGCONT)
            # What it does for others comes after what it was about to do.
            await self.scheduler.submit_messages([said("", label=label, mem_cube_id="b") for label in LABELS])
            await until(self._done, "the former zombie to work on", seconds=HANGS)
        return await self._end(mark)

    async def _end(self, mark: Path) -> tuple[Snapshot, str]:
        assert await dead_letters(self.scheduler) == []
        outcome = await snapshot(self.scheduler)
        if self.ends_well and mark.exists():
            await self.ends_well(outcome)
        self.kill()
        await forget_everything([self.scheduler])
        return outcome, mark.read_text() if mark.exists() else ""

    def kill(self) -> None:
        for pid in self.pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        self.pids.clear()

    async def play(self, scene: list[list[ScheduleMessageItem]], crash_at: str) -> tuple[Snapshot, str]:
        """The scene, with a worker that dies before that step; and what that step was ("" if none)."""
        mark = self.folder / "mark"
        mark.unlink(missing_ok=True)
        crashing = {CRASH_AT: crash_at, MARK: str(mark)}
        self.environment["MEMSCHED_LLM_API_KEY"] = uuid4().hex  # by which the model knows one scene from another
        pid = 0
        said: set[str] = set()
        for act in scene:
            # Before the worker starts: what comes together is then certain. What comes again is put in by somebody who
            # does not ask whether it is there.
            await self.scheduler.submit_messages([each for each in act if each.item_id not in said])
            for each in act:
                if each.item_id in said:
                    await put(self.scheduler, each)
            said |= {each.item_id for each in act}
            pid = pid or self.start(**crashing, **({} if crash_at else {STEPS: str(self.folder / "steps")}))
            await until(lambda: gone(pid) or self._done(), "the act to end", seconds=HANGS)
            if gone(pid):
                if self.meanwhile:
                    await self.meanwhile()
                await self._hand_over()
                pid = self.start()
                await until(self._done, "the next worker to go on", seconds=HANGS)
        return await self._end(mark)

    async def _hand_over(self) -> None:
        """As a supervisor does that sees its worker die: nobody has to wait for the silence to be long enough."""
        server, keys = await self.scheduler.server(), self.scheduler.keys
        for worker in (await self.scheduler.read_status()).workers:
            await WorkerRegistry(server, keys, 10).declare_dead(worker.worker_id)
            await server.run(
                [Leases(keys, worker.worker_id).handover(lane) for lane in await known_lanes(server, keys)]
            )

    async def _done(self) -> bool:
        return (await self.scheduler.read_status()).total.backlog == 0


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.end()
    print((tmp_path / "workers.log").read_text(errors="replace")[-4000:])


@pytest.fixture
def rows(
    memory_place: dict[str, Any], memory_schedulers: Schedulers, nursery: Nursery, tmp_path: Path
) -> Callable[..., list[Row]]:
    def make(**given: Any) -> list[Row]:
        made = []
        for number in range(ROWS):
            own = {name: f"{memory_place[name]}-{number}" for name in ("prefix", "collection")}
            settings = {
                **memory_place,
                **own,
                "min_idle_ms": 150,
                "beat_seconds": 0.05,
                "block_ms": 50,
                "max_crashes": 40,
                "retry_base_ms": 10,
                "liveness_dir": tmp_path / f"live-{number}",
                **given,
            }
            scheduler = memory_schedulers(**own)
            made.append(Row(tmp_path / f"row-{number}", nursery, scheduler, **settings))
        return made

    return make


async def crash_everywhere(
    rows: list[Row],
    scene: list[list[ScheduleMessageItem]],
    chosen: Callable[[str], bool] = bool,
    *,
    zombie: bool = False,
    most_missed: int = 0,
) -> tuple[Snapshot, list[str]]:
    """Plays the scene once undisturbed, and once for each (chosen) step with a crash before it; all must end alike.

    most_missed: steps that may be missed, where several handlers at once make their number differ between runs.
    """
    undisturbed, _ = await rows[0].play(scene, "")
    steps = (rows[0].folder / "steps").read_text().splitlines()
    places = iter([step for step in steps if chosen(step)][::EVERY])
    died: list[str] = []

    async def go_on(row: Row) -> None:
        for place in places:
            outcome, at = await (row.play_with_zombie if zombie else row.play)(scene, place.partition(":")[0])
            died.append(at)
            assert row.ends_well or outcome == undisturbed, f"after a crash before {place}"

    await asyncio.gather(*map(go_on, rows))
    missed = died.count("")
    assert missed <= most_missed, f"{missed} of {len(died)} steps were not reached again"
    return undisturbed, [at for at in died if at]


async def test_a_crash_before_any_step_of_add_and_mem_update_leaves_no_trace(rows: Callable[..., list[Row]]) -> None:
    undisturbed, died = await crash_everywhere(rows(), [BEFORE, THEN], most_missed=17 // EVERY)

    assert sum(at.startswith("add") for at in died) >= 26 // EVERY
    assert sum(at.startswith("mem_update") for at in died) >= 18 // EVERY
    assert undisturbed.texts == sorted(
        [
            "My sister Ann is allergic to nuts.",
            "I live in Lisbon.",
            "We got a puppy called Rex.",
            "Actually, I live in Porto.",
        ]
    )
    assert undisturbed.words["#"] == 4
    assert undisturbed.words["allerg"] == 1
    kept_once = next(each for each in undisturbed.memories.values() if "allergic" in each["text"])
    assert set(kept_once["sources"]) == {"a1#0", "a3#1"}
    old, new = (next(each for each in undisturbed.memories.values() if city in each["text"]) for city in ("Lis", "Por"))
    assert undisturbed.memories[old["superseded_by"]] == new
    working_set = [memory_id for memory_id, _ in undisturbed.working_set]
    assert new["memory_id"] in working_set
    assert old["memory_id"] not in working_set


async def test_a_crash_before_any_step_of_mem_read_leaves_no_trace(rows: Callable[..., list[Row]]) -> None:
    def facts(asked: Asked) -> Any:
        return says_json(FACTS)

    with FakeLLM(facts) as model:
        places = rows(llm_model="fake", llm_base_url=model.url, llm_api_key="none")
        undisturbed, died = await crash_everywhere(places, READ, lambda step: step.startswith("mem_read"))

    assert len(died) >= 15 // EVERY
    assert EVERY > 1 or any("checkpoint" in at for at in died)
    assert sorted(each["kind"] for each in undisturbed.memories.values()) == ["event", "fact", "turn", "turn"]
    assert undisturbed.words["#"] == 4
    assert "Alice got a puppy called Rex." in [undisturbed.memories[key]["text"] for key, _ in undisturbed.working_set]


async def test_a_crash_before_any_step_of_reading_later_leaves_no_trace(rows: Callable[..., list[Row]]) -> None:
    refused: set[str] = set()

    def once_unavailable(asked: Asked) -> Reply:
        if (scene := asked.headers["authorization"]) in refused:
            return says_json(FACTS)
        refused.add(scene)
        return fails(503)

    with FakeLLM(once_unavailable) as model:
        llm = {"llm_model": "fake", "llm_base_url": model.url, "llm_max_retries": 0, "llm_put_off_seconds": 0.1}
        undisturbed, died = await crash_everywhere(rows(**llm), READ, lambda step: step.startswith("mem_reread"))

    assert len(died) >= 10 // EVERY
    assert sorted(each["kind"] for each in undisturbed.memories.values()) == ["event", "fact", "turn", "turn"]
    assert undisturbed.words["#"] == 4


async def test_what_is_deleted_between_a_crash_in_add_and_the_next_run_stays_deleted(
    rows: Callable[..., list[Row]],
) -> None:
    places, deletions = rows(), []

    def watch(row: Row) -> None:
        deleted: list[str] = []

        async def delete() -> None:
            secrets = [each for each in await memories_of(row.scheduler) if each.text == SECRET.content]
            for each in secrets:
                await without_working(row.scheduler).delete(each.memory_id, "home")
            deleted.extend(each.memory_id for each in secrets)

        async def assert_it_is_gone(outcome: Snapshot) -> None:
            stays = [] if deleted else [SECRET.content]
            assert outcome.texts == sorted([DRY.content, *stays])
            assert outcome.words["#"] == len(outcome.texts)
            assert not deleted or await left_of(row.scheduler, "zyzzogeton") == []
            deletions.extend(deleted)
            deleted.clear()

        row.meanwhile, row.ends_well = delete, assert_it_is_gone

    for row in places:
        watch(row)
    # said once, and said again: in either run a worker dies, and if it is stored by then, it is deleted
    scene = [[SECRET, DRY], [SECRET]]
    _, died = await crash_everywhere(places, scene, lambda step: step.startswith("add"), most_missed=4)

    assert len(deletions) >= len(died) // 2


async def test_a_zombie_that_writes_late_changes_nothing(rows: Callable[..., list[Row]]) -> None:
    _, died = await crash_everywhere(rows(), [BEFORE, THEN], zombie=True, most_missed=17 // EVERY)

    assert len(died) >= 12
