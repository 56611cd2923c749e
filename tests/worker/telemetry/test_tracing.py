"""Spans: when they are made at all, below which span, with which times and attributes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.http import parse_excluded_urls

from tests.worker.harness import SUBSYSTEM, Harness
from worker.config.callback_hosts import CallbackHosts
from worker.config.settings import Settings, load
from worker.execution.runner import JobRunner, Slots, _attempt_span
from worker.messaging.app import create_celery
from worker.messaging.message_templates import MessageTemplates
from worker.messaging.messages import TaskMessage, publish_message
from worker.messaging.worker_loop import run_worker
from worker.telemetry import tracing
from worker.webhooks.outbox import Delivery
from worker.webhooks.tasks import DeliverTask, publisher

_ROOT = Path(__file__).parents[3]
_JOB_TRACE, _REQUEST_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_JOB = f"00-{_JOB_TRACE}-{_REQUEST_SPAN}-01"


@pytest.mark.parametrize(
    ("environ", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_SDK_DISABLED": "false", "OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_the_standard_variables_configure_tracing(environ: dict[str, str], is_wanted: bool):
    assert tracing.is_wanted(environ) is is_wanted


def test_without_tracing_no_span_is_made():
    assert not tracing.is_on()
    assert tracing.current_context() == ""
    with tracing.span("a", _JOB), tracing.within(_JOB), tracing.quiet():
        tracing.set_attributes(a=1)
        tracing.record_span("b", _JOB, 1, 2)
        assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(("traceparent", "trace_id"), [(_JOB, _JOB_TRACE), ("", ""), ("nonsense", "")])
def test_the_trace_of_a_context(traceparent: str, trace_id: str):
    assert tracing.trace_id_of(traceparent) == trace_id


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


@pytest.mark.usefixtures("spans")
@pytest.mark.parametrize(
    ("url", "is_traced"),
    [
        ("http://10.0.0.1:8001/healthz", False), ("http://10.0.0.1:8001/readyz", False),
        ("https://host/readyz?x=1", False), ("http://10.0.0.1:8001/metrics", False), ("https://host/", True),
        ("https://host/v4/netapp/volumes/metrics", True), ("https://metrics.example/v4/jobs?x=/readyz", True),
    ],
)  # fmt: skip
def test_probes_make_no_spans(monkeypatch: pytest.MonkeyPatch, url: str, is_traced: bool):
    options: dict[str, Any] = {}
    monkeypatch.setattr(FlaskInstrumentor, "instrument_app", lambda _self, _app, **given: options.update(given))
    tracing.instrument_flask(object())
    assert parse_excluded_urls(options["excluded_urls"]).url_disabled(url) is not is_traced


def _parent(span: ReadableSpan) -> tuple[str, str]:
    """The ids of the trace and of the span above; empty without one."""
    above = span.parent
    return (f"{above.trace_id:032x}", f"{above.span_id:016x}") if above else ("", "")


def test_a_span_is_below_that_of_its_job_unless_one_of_the_same_trace_is_current(spans: InMemorySpanExporter):
    with tracing.span("outer", _JOB, **{"job.id": "1"}), tracing.span("inner", _JOB):
        tracing.set_attributes(outcome="delivered")
        assert tracing.trace_id_of(tracing.current_context()) == _JOB_TRACE
    with tracing.span("other"), tracing.span("job", _JOB):
        pass
    inner, outer, job, other = spans.get_finished_spans()
    assert (inner.name, dict(inner.attributes or {})) == ("inner", {"outcome": "delivered"})
    assert (outer.name, dict(outer.attributes or {})) == ("outer", {"job.id": "1"})
    assert _parent(outer) == _parent(job) == (_JOB_TRACE, _REQUEST_SPAN)
    assert outer.context
    assert _parent(inner) == (_JOB_TRACE, f"{outer.context.span_id:016x}")
    assert _parent(other) == ("", "")


def test_an_error_marks_its_span(spans: InMemorySpanExporter):
    with pytest.raises(ZeroDivisionError), tracing.span("a"):
        _ = 1 / 0
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR


def test_spans_of_a_block_are_below_the_trace_that_it_is_given(spans: InMemorySpanExporter):
    with tracing.span("loop"):
        with tracing.within(_JOB), tracing.span("job"):
            pass
        with tracing.within(""), tracing.span("alone"):
            pass
        with tracing.span("next"):
            pass
    job, alone, following, loop = spans.get_finished_spans()
    assert loop.context
    assert [_parent(span) for span in (job, alone, following)] == [
        (_JOB_TRACE, _REQUEST_SPAN), ("", ""), (f"{loop.context.trace_id:032x}", f"{loop.context.span_id:016x}"),
    ]  # fmt: skip


@pytest.mark.usefixtures("spans")
def test_a_message_is_published_in_the_trace_of_its_job():
    contexts: list[str] = []
    celery: Any = SimpleNamespace(send_task=lambda *_, **__: contexts.append(tracing.current_context()))
    producer: Any = None
    publish_message(celery, producer, TaskMessage("id", "filer.write", "create_volume", _JOB))
    assert contexts == [_JOB]


@pytest.mark.usefixtures("spans")
@pytest.mark.parametrize("traceparent", [_JOB, ""])
def test_a_delivery_is_published_in_the_trace_of_its_job_or_in_none(traceparent: str):
    contexts: list[tuple[str, bool]] = []
    celery: Any = SimpleNamespace(
        send_task=lambda *_, **__: contexts.append((tracing.current_context(), is_instrumentation_enabled()))
    )
    # As the thread that publishes deliveries.
    with tracing.quiet():
        publisher(celery)("msg_1", traceparent)
    assert contexts == [(traceparent, bool(traceparent))]


@pytest.mark.usefixtures("spans")
def test_the_loop_of_celery_makes_no_spans():
    states: list[bool] = []
    worker = SimpleNamespace(start=lambda: states.append(is_instrumentation_enabled()), exitcode=0)
    celery: Any = SimpleNamespace(Worker=lambda **_: worker)
    assert run_worker(celery, queues=["queue"], threads=1, hostname="node@host") == 0
    assert states == [False]


def test_an_attempt_of_a_delivery_is_a_span_of_its_jobs_trace(spans: InMemorySpanExporter):
    delivery = Delivery("msg_1", "", "https://hooks.example/x", b"{}", "job-1", _JOB)
    outbox: Any = SimpleNamespace(get=lambda _id: delivery, end=lambda _id, _error: "again")
    DeliverTask(outbox, {}, "", CallbackHosts(""), lambda _target: None).run("msg_1")
    (span,) = spans.get_finished_spans()
    assert (span.name, _parent(span)) == ("deliver webhook", (_JOB_TRACE, _REQUEST_SPAN))
    assert dict(span.attributes or {}) == {
        "job.id": "job-1", "webhook.id": "msg_1", "webhook.receiver": "", "webhook.outcome": "again",
        "webhook.error": "callbacks to this host are not allowed",
    }  # fmt: skip


@pytest.mark.usefixtures("spans")
def test_a_message_that_is_written_with_its_job_is_in_the_trace_of_that():
    templates = MessageTemplates(create_celery(load(Settings)))
    for context in (_JOB, _JOB.replace("0af", "1af")):
        message = json.loads(templates.render(TaskMessage("id", "filer.write", "create_volume", context)))
        assert message["headers"]["traceparent"] == context


def test_an_ended_job_is_recorded_with_its_times_in_its_own_trace_only(spans: InMemorySpanExporter):
    with tracing.span("loop"):
        tracing.record_span("wait", _JOB, 1_500, 2_750, queue="filer.write")
        tracing.record_span("none", "", 1, 2)
    wait, _ = spans.get_finished_spans()
    assert (wait.name, wait.start_time, wait.end_time) == ("wait", 1_500_000_000, 2_750_000_000)
    assert (_parent(wait), dict(wait.attributes or {})) == ((_JOB_TRACE, _REQUEST_SPAN), {"queue": "filer.write"})


def test_an_attempt_and_its_wait_are_separate_spans(spans: InMemorySpanExporter, harness: Harness):
    job = harness.job(harness.accept("create_volume"))
    job = replace(job, traceparent=_JOB, created_ms=1_500, started_ms=2_750, attempt=2)
    with _attempt_span(job):
        pass
    wait, attempt = spans.get_finished_spans()
    assert (wait.start_time, wait.end_time) == (1_500_000_000, 2_750_000_000)
    assert attempt.name == "attempt create_volume"
    assert dict(attempt.attributes or {}) == dict(wait.attributes or {}) == {"job.id": job.id, "job.attempt": 2}
    assert _parent(attempt) == _parent(wait) == (_JOB_TRACE, _REQUEST_SPAN)


def test_calls_of_a_storage_system_are_spans_of_the_attempt_or_the_job(spans: InMemorySpanExporter, harness: Harness):
    node, celery = harness.node(), create_celery(load(Settings))
    _, lost_id, _ = harness.jobs.accept(replace(harness.new("restrict_volume"), traceparent=_JOB))
    node.claim(lost_id).record_intent("restrict_volume")
    harness.let_time_pass()
    assert node.sweep()[0] == [lost_id]
    _, job_id, _ = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=_JOB))
    runner = JobRunner(celery, node.claims, node.executor, Slots(harness.settings), 1)
    runner._claimed.lease = node.claim(job_id)
    assert runner.run_claimed(job_id)
    reconciled, _wait, called, attempt = spans.get_finished_spans()
    assert (reconciled.name, dict(reconciled.attributes or {})) == ("reconcile restrict_volume", {"job.id": lost_id})
    assert _parent(reconciled) == (_JOB_TRACE, _REQUEST_SPAN)
    assert (called.name, dict(called.attributes or {})) == ("storage create_volume", {"subsystem": SUBSYSTEM})
    assert attempt.context
    assert _parent(called) == (_JOB_TRACE, f"{attempt.context.span_id:016x}")


@pytest.mark.usefixtures("spans")
def test_the_task_of_a_job_that_was_claimed_without_a_message_is_in_the_trace_of_that_job(harness: Harness):
    _, job_id, _ = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=_JOB))
    node, calls = harness.node(), list[tuple[str, dict[str, Any]]]()
    lease = node.claim(job_id)
    task = SimpleNamespace(name="task", apply=lambda **named: calls.append((tracing.current_context(), named)))
    celery: Any = SimpleNamespace(tasks={lease.job.operation.task_name: task})
    with tracing.span("the job before"):
        JobRunner(celery, node.claims, node.executor, Slots(harness.settings), 1)._run_as_task(lease)
    # Celery's own log and its signals name the task by its id.
    assert calls == [(_JOB, {"args": (job_id,), "task_id": job_id})]


@pytest.mark.usefixtures("spans")
def test_the_loops_of_a_process_make_no_spans_of_libraries():
    assert is_instrumentation_enabled()
    with tracing.quiet():
        assert not is_instrumentation_enabled()
    assert is_instrumentation_enabled()


#: Sends the messages of jobs, each in the trace of its job.
_TRACED_LOOPS = {"worker/messaging/publisher.py::_publish_all"}


def _loops(file: Path) -> dict[str, list[str]]:
    """What each thread of a module runs, with its decorators."""
    tree = ast.parse(file.read_text("utf-8"))
    targets = set(re.findall(r"threading\.Thread\(target=self\.(\w+)", ast.unparse(tree)))
    return {
        f"{file.relative_to(_ROOT)}::{method.name}": [ast.unparse(each) for each in method.decorator_list]
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef)
        and method.name in ({*targets, "run"} if "threading.Thread" in map(ast.unparse, kind.bases) else targets)
    }


def test_every_loop_suppresses_spans_of_libraries():
    """Periodic requests to Redis or a filer belong to no client's request."""
    loops = {name: marks for file in (_ROOT / "worker").rglob("*.py") for name, marks in _loops(file).items()}
    assert len(loops) >= 8
    assert {name for name, marks in loops.items() if "tracing.quiet()" not in marks} == _TRACED_LOOPS
