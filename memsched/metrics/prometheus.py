"""Numbers in Prometheus' text form: exact gauges read at the scrape, counters and histograms from the statistics.

The statistics are in the server, so what is shown is of all processes, and outlives them. Only what a service itself
was asked (``observe_http``) is of its process. No user, worker or message is in a label.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from memsched.broker.client import Server
from memsched.counting import BOUNDS, bucket_of, counted
from memsched.errors import ServerRefused, ServerUnreachable, UnreachableError
from memsched.handlers.registration import RULES
from memsched.logs import get_logger
from memsched.queue.statistics import Histogram, LabelStatistics, count_command, read_counts
from memsched.queue.status import Counts as LabelCounts
from memsched.queue.status import Status
from memsched.scheduler import AsyncMemScheduler
from memsched.version import __version__

log = get_logger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
MOST_LABELS = 64
"""Labels of applications beyond so many are shown together, as ``other``: each of them is dozens of series."""
OTHER = "other"
_PATIENCE_SECONDS = 5.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Numbers:
    """The numbers of one installation, for whoever scrapes them.

    Args:
        scheduler: of whose queue; the connection is its own.
    """

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._shown: dict[str, str] = {label: label for label in RULES}

    def observe_http(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: the route's path with its parameters' names; "" if there is none for it.
            status: 0 if the client went away before an answer.
        """
        route, method = route or "none", method if method in _METHODS else OTHER
        self._requests[route, method, str(status)] += 1
        histogram = self._durations.setdefault((route, method), Histogram())
        histogram.buckets[bucket_of(seconds)] += 1
        histogram.sum_seconds += seconds

    async def text(self) -> bytes:
        """All numbers, as of now. Of a queue whose server does not answer: that it does not."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Read(await self._families()))
        return generate_latest(registry)

    async def _families(self) -> list[Metric]:
        build = InfoMetricFamily("memsched_build", "The version that answers.", {"version": __version__})
        up = GaugeMetricFamily("memsched_queue_up", "Whether the queue's server answers.")
        families: list[Metric] = [build, up, *self._http()]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                server = await self._scheduler.server()
                await self._send_counted(server)
                status = await self._scheduler.read_status()
                statistics = await self._scheduler.statistics()
                counts = await read_counts(server, self._scheduler.keys)
        except (ServerUnreachable, ServerRefused, UnreachableError, TimeoutError) as error:
            log.warning("the queue's numbers cannot be read", action="metrics.unread", error=str(error))
            up.add_metric([], 0)
            return families
        up.add_metric([], 1)
        return [*families, *self._gauges(status), *self._of_labels(statistics), *_of_processes(counts)]

    async def _send_counted(self, server: Server) -> None:
        """Bring to the server what this process counted; several scrapes may do so at once."""
        if not counted:
            return
        sent = counted.taken()
        try:
            await server.call(count_command(self._scheduler.keys.statistics, sent))
        except BaseException:
            counted.update(sent)
            raise

    def _label(self, label: str) -> str:
        """As what a label is shown: the first ones that were seen by their names, for as long as this lasts."""
        shown = self._shown.get(label)
        if shown is None:
            full = len(self._shown) - len(RULES) >= MOST_LABELS
            if full:
                return OTHER
            shown = self._shown[label] = label
        return shown

    def _gauges(self, status: Status) -> Iterator[Metric]:
        messages = GaugeMetricFamily(
            "memsched_messages", "Messages that are not finished, and dead letters.", labels=["label", "state"]
        )
        ready = GaugeMetricFamily(
            "memsched_messages_ready", "Messages that a worker could take now, or has taken.", labels=["label"]
        )
        oldest = GaugeMetricFamily(
            "memsched_oldest_message_age_seconds", "Age of the oldest message in a stream; 0: none.", labels=["label"]
        )
        shown: dict[str, LabelCounts] = {}
        for label, counts in sorted(status.labels.items()):
            shown.setdefault(self._label(label), LabelCounts()).add(counts)
        for label, counts in shown.items():
            waiting = counts.backlog - counts.running - counts.orphaned - counts.delayed - counts.parked
            messages.add_metric([label, "waiting"], waiting)
            for state in ("running", "orphaned", "delayed", "parked", "dead"):
                messages.add_metric([label, state], getattr(counts, state))
            ready.add_metric([label], counts.ready)
            oldest.add_metric([label], counts.oldest_seconds or 0.0)
        workers = GaugeMetricFamily("memsched_workers", "Workers that live.")
        workers.add_metric([], sum(worker.alive for worker in status.workers))
        paused = GaugeMetricFamily("memsched_labels_paused", "Labels of which workers take nothing.")
        paused.add_metric([], len(status.paused))
        unknown = GaugeMetricFamily("memsched_labels_unknown", "Labels about which the server refused the question.")
        unknown.add_metric([], len(status.unknown))
        yield from (messages, ready, oldest, workers, paused, unknown)

    def _of_labels(self, statistics: Mapping[str, LabelStatistics]) -> Iterator[Metric]:
        submitted = CounterMetricFamily(
            "memsched_messages_submitted", "Messages that were accepted, follow-ups among them.", labels=["label"]
        )
        processed = CounterMetricFamily(
            "memsched_messages_processed", "What came of messages, attempt by attempt.", labels=["label", "outcome"]
        )
        wait = HistogramMetricFamily(
            "memsched_message_wait_seconds", "From a message's place in the stream to its handler.", labels=["label"]
        )
        run = HistogramMetricFamily("memsched_handler_duration_seconds", "Calls of handlers.", labels=["label"])
        shown: dict[str, LabelStatistics] = {}
        for label, found in sorted(statistics.items()):
            shown.setdefault(self._label(label), LabelStatistics()).merge(found)
        for label, found in shown.items():
            submitted.add_metric([label], found.submitted)
            for outcome, count in sorted(found.outcomes.items()):
                processed.add_metric([label, outcome], count)
            _add(wait, [label], found.wait)
            _add(run, [label], found.run)
        yield from (submitted, processed, wait, run)

    def _http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "memsched_http_requests", "Requests to this process.", labels=["route", "method", "status"]
        )
        for labels, count in sorted(self._requests.items()):
            requests.add_metric(labels, count)
        durations = HistogramMetricFamily(
            "memsched_http_request_duration_seconds", "Requests to this process.", labels=["route", "method"]
        )
        for names, histogram in sorted(self._durations.items(), key=lambda item: item[0]):
            _add(durations, names, histogram)
        yield from (requests, durations)


def _of_processes(counts: Mapping[str, int]) -> Iterator[Metric]:
    """What processes counted beside messages (memsched/counting.py)."""
    moves = CounterMetricFamily(
        "memsched_memory_moves", "Memories and themes that changed their tier.", labels=["from_tier", "to_tier"]
    )
    tokens = CounterMetricFamily(
        "memsched_prompt_tokens", "Tokens of prompts, by whether the model's server had them cached.", labels=["cached"]
    )
    models = CounterMetricFamily("memsched_model_calls", "Calls of language models.", labels=["task", "outcome"])
    store = CounterMetricFamily("memsched_store_calls", "Calls of the vector store.", labels=["outcome"])
    families = {"move": (moves, 2), "tokens": (tokens, 1), "model": (models, 2), "store": (store, 1)}
    seconds = {
        "model_seconds": HistogramMetricFamily("memsched_model_request_duration_seconds", "Requests to models."),
        "store_seconds": HistogramMetricFamily("memsched_store_call_duration_seconds", "Calls of the vector store."),
    }
    histograms = {name: Histogram() for name in seconds}
    for name, count in sorted(counts.items()):
        kind, *labels = name.split(":")
        if kind in families and len(labels) == families[kind][1]:
            families[kind][0].add_metric(labels, count)
        elif kind in histograms and len(labels) == 1:
            histograms[kind].add(labels[0], count)
    for name, histogram in histograms.items():
        _add(seconds[name], [], histogram)
    yield from (family for family, _ in families.values())
    yield from seconds.values()


def _add(family: HistogramMetricFamily, labels: Iterable[str], histogram: Histogram) -> None:
    below, buckets = 0, []
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], histogram.buckets, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(list(labels), buckets, histogram.sum_seconds)


class _Read(Collector):
    """What was read, as a registry wants it."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
