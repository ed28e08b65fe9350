"""Traces: a message can be followed from whoever sent it to what became of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.conditions import until
from support.messages import LABEL, message

from memsched import AsyncMemScheduler, ScheduleMessageItem, tracing
from memsched.deletion import Deletion
from memsched.memory.ingest.writer import MemoryWriter
from memsched.memory.search.hybrid import HybridSearch

REQUEST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    tracing._tracing.cache_clear()
    yield found
    tracing._tracing.cache_clear()
    monkeypatch.setattr(tracing, "_on", None)


def by_name(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == f"{name} {LABEL}"]


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


@pytest.mark.parametrize("texts", [False, True])
async def test_a_message_is_followed_from_its_request_to_its_end(
    schedulers_at: Callable[..., AsyncMemScheduler], exporter: InMemorySpanExporter, texts: bool
) -> None:
    current: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        current.append(format(trace.get_current_span().get_span_context().span_id, "x"))
        if batch[0].content == "bad secret":
            raise ValueError("of the bad secret")

    scheduler = schedulers_at("memory://traced", traces="on", trace_texts=texts, max_errors=0)
    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    await scheduler.submit_messages(message("fine secret", trace_id=REQUEST))
    await scheduler.submit_messages(message("bad secret"))
    await scheduler.wait(timeout=30)
    await until(lambda: len(by_name(exporter, "settle")) == 2)
    await scheduler.stop()

    sent, processed, settled = (by_name(exporter, name) for name in ("send", "process", "settle"))
    assert format(sent[0].context.trace_id, "032x") == REQUEST.split("-")[1]
    for spans in (processed, settled):
        assert sorted((link.context.trace_id, link.context.span_id) for each in spans for link in each.links) == sorted(
            map(ids, sent)
        )
    assert sorted(current) == sorted(format(span.context.span_id, "x") for span in processed)
    assert sorted(span.status.is_ok for span in processed) == [False, True]
    assert {str(span.attributes["memsched.outcome"]) for span in settled} == {"done", "dead"}
    assert ("secret" in "".join(span.to_json() for span in exporter.get_finished_spans())) == texts


async def test_what_memory_does_has_the_names_of_the_conventions(exporter: InMemorySpanExporter) -> None:
    assert tracing.tracing_of("on", texts=False) is not None

    @tracing.memory_operation("search_memory")
    async def search(query: str) -> str:
        raise LookupError(query)

    with pytest.raises(LookupError):
        await search("a secret")
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.operation.name"]) == ("search_memory", "search_memory")
    assert span.attributes["error.type"] == "LookupError"
    assert "secret" not in span.to_json()
    for method in (HybridSearch.search, MemoryWriter.write_turns, Deletion.delete, Deletion.delete_all):
        assert hasattr(method, "__wrapped__"), method


def test_nothing_is_loaded_while_they_are_off() -> None:
    asked = "import sys, memsched; from memsched.worker.worker import Worker; memsched.AsyncMemScheduler(); "
    asked += "names = ('opentelemetry.sdk.trace', 'opentelemetry.exporter'); "  # redis-py loads what it measures with
    asked += "print([name for name in sys.modules if name.startswith(names)])"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
