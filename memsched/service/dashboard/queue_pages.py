"""Pages of the queue as a whole: labels and their states, one label, workers; pausing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Path, Request
from starlette.responses import Response

from memsched.memory.access.api_keys import Principal
from memsched.queue.statistics import LabelStatistics, read_minutes
from memsched.queue.status import Counts, Status
from memsched.service.callers import Caller, Operator
from memsched.service.dashboard.pages import first_frame, page_router, render, see
from memsched.service.dashboard.rendering import fragment, path_of
from memsched.service.problems import not_found
from memsched.service.routes.scheduler import LabelName, pause_label, resume_label
from memsched.service.state import Here, Service

router = page_router()

STATES = {
    "waiting": "in the stream, for a worker",
    "running": "held by a live worker: in a handler, or next in line",
    "orphaned": "held by a worker that died, until a live one takes it over",
    "parked": "waits because its user has many messages in the stream",
    "delayed": "waits for its time: submitted with a delay, or a retry",
    "dead": "given up, and kept with the reason: a dead letter",
}
"""As they stand side by side, and what each is (memsched/queue/status.py)."""
_COUNTED_MINUTES = 5
"""Rates and times are those of so many minutes."""
_CHART_MINUTES = 60
_COUNTED_AGAIN_SECONDS = 5.0
"""What is counted by the minute is read so often."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of a label, or of all. Rates are of a second, times in seconds; None: there was nothing."""

    label: str
    is_paused: bool
    states: dict[str, int]
    oldest: float | None
    arriving: float
    done: float
    wait: tuple[float | None, float | None]
    """Half of the messages waited no longer than the first, and 95 of 100 no longer than the second."""
    run: tuple[float | None, float | None]

    @classmethod
    def of(cls, label: str, counts: Counts, counted: LabelStatistics, *, is_paused: bool = False) -> Row:
        """What status and statistics say."""
        states = {name: getattr(counts, name) for name in STATES if name != "waiting"}
        waiting = counts.remaining - counts.orphaned - counts.parked - counts.delayed
        seconds = 60 * (_COUNTED_MINUTES - 1) + time.time() % 60
        return cls(
            label=label,
            is_paused=is_paused,
            states={"waiting": max(0, waiting), **states},
            oldest=counts.oldest_seconds,
            arriving=counted.submitted / seconds,
            done=counted.outcomes["done"] / seconds,
            wait=(counted.wait.quantile(0.5), counted.wait.quantile(0.95)),
            run=(counted.run.quantile(0.5), counted.run.quantile(0.95)),
        )


class Numbers:
    """The numbers of the queue as pages show them, of one label or of all: makes one frame after another.

    Args:
        label: None: all of them.
    """

    def __init__(self, here: Service, caller: Principal, label: str | None = None) -> None:
        self._here = here
        self._may_operate = caller.may("operate")
        self._label = label
        self._counted: dict[str, LabelStatistics] = {}
        self._chart: dict[str, Any] = {}
        self._counted_at = float("-inf")

    async def __call__(self) -> str:
        status = await self._here.scheduler.read_status()
        await self._count()
        nothing = LabelStatistics()
        rows = [
            Row.of(label, counts, self._counted.get(label, nothing), is_paused=label in status.paused)
            for label, counts in sorted(status.labels.items())
            if self._label in (None, label)
        ]
        if self._label is None:
            return fragment("overview_live.html", **self._values(status, rows), total=self._total(status))
        row = rows[0] if rows else Row.of(self._label, Counts(), nothing)
        return fragment("label_live.html", **self._values(status, rows), row=row)

    def _values(self, status: Status, rows: list[Row]) -> dict[str, Any]:
        workers = [worker for worker in status.workers if worker.alive]
        given = {"states": STATES, "rows": rows, "workers": len(workers), "unknown": status.unknown}
        given["no_handler"] = [told for label, told in status.no_handler.items() if self._label in (None, label)]
        return {**given, "chart_data": self._chart, "may_operate": self._may_operate, "minutes": _COUNTED_MINUTES}

    def _total(self, status: Status) -> Row:
        counted = LabelStatistics()
        for each in self._counted.values():
            counted.merge(each)
        return Row.of("", status.total, counted)

    async def _count(self) -> None:
        if time.monotonic() - self._counted_at < _COUNTED_AGAIN_SECONDS:
            return
        scheduler = self._here.scheduler
        self._counted = await scheduler.statistics(_COUNTED_MINUTES)
        by_minute = await read_minutes(await scheduler.server(), scheduler.keys, _CHART_MINUTES, self._label)
        self._chart = _chart(by_minute)
        self._counted_at = time.monotonic()


def _chart(by_minute: dict[int, LabelStatistics]) -> dict[str, Any]:
    series: list[tuple[str, int, list[int]]] = [
        ("arrived", 5, [each.submitted for each in by_minute.values()]),
        ("done", 3, [each.outcomes["done"] for each in by_minute.values()]),
        ("given up", 7, [each.outcomes["dead"] for each in by_minute.values()]),
    ]
    return {
        "x": [60 * minute for minute in by_minute],
        "series": [{"label": name, "color": color, "values": values} for name, color, values in series],
        "unit": "a minute",
    }


@router.get("/", name="get_overview")
async def get_overview(request: Request, here: Here, caller: Caller) -> Response:
    """All labels, and how much of each is in which state; for who has messages of their own, those."""
    if not caller.may("status"):
        caller.require_may("memory")
        return see("/messages")
    return render(request, "overview.html", live=await first_frame(Numbers(here, caller)))


@router.get("/ui/frames/queue", name="get_queue_frames")
async def get_queue_frames(here: Here, caller: Caller) -> Response:
    """The same, as it changes."""
    caller.require_may("status")
    return here.frames.stream(caller, "queue", caller.may("operate"), produce=Numbers(here, caller))


@router.get("/queue/{label:path}/overview", name="get_label")
async def get_label(request: Request, here: Here, caller: Caller, label: Annotated[LabelName, Path()]) -> Response:
    """One label."""
    caller.require_may("status")
    return render(request, "label.html", label=label, live=await first_frame(Numbers(here, caller, label)))


@router.get("/ui/frames/queue/{label:path}", name="get_label_frames")
async def get_label_frames(here: Here, caller: Caller, label: Annotated[LabelName, Path()]) -> Response:
    """The same, as it changes."""
    caller.require_may("status")
    if label not in (await here.scheduler.read_status()).labels:
        raise not_found()
    produce = Numbers(here, caller, label)
    return here.frames.stream(caller, "label", label, caller.may("operate"), produce=produce)


@router.post("/ui/labels/{label:path}/{how}", name="post_label")
async def post_label(
    here: Here,
    caller: Operator,
    label: Annotated[LabelName, Path()],
    how: Annotated[Literal["pause", "resume"], Path()],
) -> Response:
    """Let workers take no more of a label, or go on."""
    await (pause_label if how == "pause" else resume_label)(label, here, caller)
    return see(path_of("queue", label, "overview"))


# -- workers -----------------------------------------------------------------------------------------------------------


class Workers:
    """The workers and what they hold: makes one frame after another."""

    def __init__(self, here: Service) -> None:
        self._here = here

    async def __call__(self) -> str:
        status = await self._here.scheduler.read_status()
        live = sorted((each for each in status.workers if each.alive), key=lambda each: each.worker_id)
        gone = [each for each in status.workers if not each.alive]
        return fragment("workers_live.html", workers=live, gone=gone, held=status.held, total=status.total)


@router.get("/workers", name="get_workers")
async def get_workers(request: Request, here: Here, caller: Caller) -> Response:
    """Who works, and at what."""
    caller.require_may("status")
    return render(request, "workers.html", live=await first_frame(Workers(here)))


@router.get("/ui/frames/workers", name="get_worker_frames")
async def get_worker_frames(here: Here, caller: Caller) -> Response:
    """The same, as it changes."""
    caller.require_may("status")
    return here.frames.stream(caller, "workers", produce=Workers(here))
