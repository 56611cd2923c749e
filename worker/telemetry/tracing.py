"""Spans of jobs. OpenTelemetry is imported only if ``configure`` finds that tracing is enabled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

_EXPORTERS = "opentelemetry_traces_exporter"
#: Values of the variable that differ from the names of the exporters' entry points.
_NAMES = {"otlp": "otlp_proto_http"}

#: URLs of probes and metrics, which make no spans; a volume may have the same name.
_PROBES = r"^[a-z]+://[^/]+/(healthz|readyz|metrics)(\?|$)"

_tracer: Any = None


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Do the standard variables enable tracing?"""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    if exporter:
        return exporter != "none"
    return bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def configure(service: str) -> bool:
    """Enable tracing if the variables say so; return whether it is enabled.

    ``service`` is the process's name, unless OTEL_SERVICE_NAME is set.
    """
    global _tracer  # noqa: PLW0603 - one for the process, as OpenTelemetry's own
    if _tracer is not None or not is_wanted():
        return _tracer is not None
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create())
    for exporter in _exporters(os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _instrument_libraries()
    _tracer = trace.get_tracer("storage-api")
    return True


def instrument_flask(app: Any) -> None:
    """Make a span of each request of a Flask application, within the client's trace."""
    if _tracer is not None:
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        instrumentor: Any = FlaskInstrumentor()
        instrumentor.instrument_app(app, excluded_urls=_PROBES)


def current_context() -> str:
    """Return the current span's context as ``traceparent`` (W3C Trace Context); empty without one."""
    if _tracer is None:
        return ""
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def trace_id_of(traceparent: str) -> str:
    """Return the id of the trace of a ``traceparent``; empty when it is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) > 1 else ""


@contextmanager
def span(name: str, traceparent: str = "", **attributes: str | int) -> Iterator[None]:
    """Make a span of the block, below the current span, unless that is of another trace than ``traceparent``.

    Then it is below the span of ``traceparent``. An error marks it.
    """
    if _tracer is None:
        yield
        return
    context = _context_of(traceparent) if traceparent and not _is_current(traceparent) else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes):
        yield


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Make the span of ``traceparent`` the parent of spans made in the block; empty: no parent."""
    if _tracer is None:
        yield
        return
    with _attached(_context_of(traceparent)):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the libraries' spans in the block: the loops of a process belong to no request."""
    if _tracer is None:
        yield
        return
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        yield


def is_on() -> bool:
    """Is tracing enabled?"""
    return _tracer is not None


def record_span(name: str, traceparent: str, start_ms: int, end_ms: int, **attributes: str | int) -> None:
    """Record a span that has ended; its begin and end are in Unix milliseconds."""
    if _tracer is not None and traceparent:
        made = _tracer.start_span(
            name, context=_context_of(traceparent), start_time=start_ms * 1_000_000, attributes=attributes
        )
        made.end(end_time=end_ms * 1_000_000)


def set_attributes(**attributes: str | int) -> None:
    """Add attributes to the current span."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(attributes)


def _is_current(traceparent: str) -> bool:
    from opentelemetry import trace

    current = trace.get_current_span().get_span_context()
    return current.is_valid and trace.format_trace_id(current.trace_id) == trace_id_of(traceparent)


@contextmanager
def _attached(context: Any) -> Iterator[None]:
    from opentelemetry import context as contexts

    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def _context_of(traceparent: str) -> Any:
    from opentelemetry import propagate
    from opentelemetry.context import Context

    # Below nothing, where there is none: not all propagators begin with the root context by themselves.
    return propagate.extract({"traceparent": traceparent}, context=Context())


def _exporters(names: str) -> Iterator[Any]:
    for name in names.split(","):
        entry_point_name = _NAMES.get(name.strip(), name.strip())
        for entry_point in entry_points(group=_EXPORTERS, name=entry_point_name):
            yield entry_point.load()()


def _instrument_libraries() -> None:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    for instrumentor in (CeleryInstrumentor, RedisInstrumentor, RequestsInstrumentor):
        instrumentor().instrument()
