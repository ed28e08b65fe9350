"""Traces of messages: spans `send`, `process` and `settle`, in OpenTelemetry's terms, where somebody collects them.

A message carries where it came from as a W3C traceparent (``trace_id``), and what processes it links to that. Nothing
of OpenTelemetry is imported while traces are off. An exporter that is away blocks nothing: spans wait in a bounded
queue of the SDK, and are dropped when it is full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from memsched.errors import SettingsError
from memsched.messages import ScheduleMessageItem
from memsched.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_span: ContextVar[Span | None] = ContextVar("memsched_span", default=None)
_MOST_LINKS = 100
_on: Tracing | None = None
"""What makes the spans of this process, once somebody asked for it."""
P = ParamSpec("P")
T = TypeVar("T")


class Tracing:
    """Makes the spans; a middleware of the worker.

    Args:
        texts: whether what messages say stands in the spans.
    """

    def __init__(self, tracer: Tracer, *, texts: bool = False) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._texts = texts
        self._trace = trace
        self._context = context
        self._propagator = TraceContextTextMapPropagator()

    # -- producers -----------------------------------------------------------------------------------------------

    @contextmanager
    def send(self, messages: Sequence[ScheduleMessageItem]) -> Iterator[list[ScheduleMessageItem]]:
        """A span about submitting these messages; yields them with where they came from."""
        given = next((each.trace_id for each in messages if each.trace_id), None)
        parent = self._context.get_current()
        if given and not self._trace.get_current_span(parent).get_span_context().is_valid:
            parent = self._propagator.extract({"traceparent": given})
        labels = {each.label for each in messages}
        name = f"send {labels.pop()}" if len(labels) == 1 else "send"
        with self._current(name, self._trace.SpanKind.PRODUCER, self._about("send", messages), parent):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            origin = carrier.get("traceparent")
            yield [each.model_copy(update={"trace_id": origin}) if origin else each for each in messages]

    # -- workers -------------------------------------------------------------------------------------------------

    def before(self, messages: list[ScheduleMessageItem]) -> None:
        """A handler is about to be called."""
        span = self._tracer.start_span(
            f"process {messages[0].label}",
            kind=self._trace.SpanKind.CONSUMER,
            links=self._links(messages),
            attributes=self._about("process", messages),
        )
        _span.set(span)
        self._context.attach(self._trace.set_span_in_context(span))

    def after(self, messages: list[ScheduleMessageItem]) -> None:
        """It returned."""
        if (span := _span.get()) is not None:
            span.end()

    def failed(self, messages: list[ScheduleMessageItem], error: BaseException) -> None:
        """It raised, or ran too long."""
        if (span := _span.get()) is not None:
            self._fail(span, error)
            span.end()

    def settled(self, messages: Sequence[ScheduleMessageItem], outcome: str, began_ns: int) -> None:
        """The server has taken what became of messages of one label."""
        if messages:
            self._tracer.start_span(
                f"settle {messages[0].label}",
                kind=self._trace.SpanKind.CLIENT,
                links=self._links(messages),
                attributes={**self._about("settle", messages), "memsched.outcome": outcome},
                start_time=began_ns,
            ).end(time.time_ns())

    @contextmanager
    def memory(self, operation: str) -> Iterator[None]:
        """A span about an operation of memory, by its name in the semantic conventions."""
        about = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "memsched"}
        with self._current(operation, self._trace.SpanKind.INTERNAL, about, None):
            yield

    @contextmanager
    def _current(self, name: str, kind: SpanKind, about: dict[str, Any], parent: Context | None) -> Iterator[None]:
        """A span that is the current one; an error's own words stand in it only if texts may."""
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind,
            attributes=about,
            record_exception=self._texts,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                self._fail(span, error)
                raise

    def _fail(self, span: Span, error: BaseException) -> None:
        span.set_attribute("error.type", type(error).__qualname__)
        said = str(error) if self._texts else type(error).__qualname__
        span.set_status(self._trace.StatusCode.ERROR, said)

    def _about(self, kind: str, messages: Sequence[ScheduleMessageItem]) -> dict[str, Any]:
        about: dict[str, Any] = {
            "messaging.system": "memsched",
            "messaging.operation.type": kind,
            "messaging.operation.name": kind,
            "messaging.batch.message_count": len(messages),
        }
        if len({each.label for each in messages}) == 1:
            about["messaging.destination.name"] = messages[0].label
        if len(messages) == 1:
            about["messaging.message.id"] = messages[0].item_id
        if self._texts:
            about["memsched.texts"] = [each.content for each in messages]
        return about

    def _links(self, messages: Sequence[ScheduleMessageItem]) -> list[Link]:
        links = []
        for origin in dict.fromkeys(each.trace_id for each in messages if each.trace_id):
            found = self._trace.get_current_span(self._propagator.extract({"traceparent": origin})).get_span_context()
            if found.is_valid:
                links.append(self._trace.Link(found))
        return links[:_MOST_LINKS]


def tracing_of(traces: Literal["auto", "on", "off"], *, texts: bool) -> Tracing | None:
    """What makes the spans of this process; None if nobody collects them. Raises SettingsError.

    Args:
        traces: ``auto``: if the usual variables of OpenTelemetry name a collector.
        texts: whether what messages say stands in the spans.
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    asked = traces == "on" or (traces == "auto" and any(os.environ.get(name) for name in _ENDPOINTS))
    if not asked or disabled:
        return None
    global _on
    _on = _tracing(os.getpid(), texts)
    return _on


def memory_operation(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorates an operation of memory, so that it has a span where this process is traced.

    Args:
        name: `search_memory`, `upsert_memory` or `delete_memory`, as the semantic conventions for GenAI have it.
    """

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(function)
        async def traced(*args: P.args, **kwargs: P.kwargs) -> T:
            if _on is None:
                return await function(*args, **kwargs)
            with _on.memory(name):
                return await function(*args, **kwargs)

        return traced

    return decorate


@lru_cache(maxsize=4)
def _tracing(_process: int, texts: bool) -> Tracing:
    """One for each process: its exporter has a thread, which a fork does not take along."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"MEMSCHED_TRACES needs the extra otel: pip install 'memsched[otel]' ({error})") from error
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):  # else the application has its own, and collects there
        name = os.environ.get("OTEL_SERVICE_NAME") or "memsched"
        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("memsched", __version__), texts=texts)
