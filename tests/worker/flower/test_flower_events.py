"""Flower gets the events with the times at which they happened, also across a broken connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from worker.execution.outcome_events import emit_ended, emit_started
from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.messaging.request import TaskRequest
from worker.messaging.task_events import BufferedEventDispatcher, EventFlushStep, emit_received


@pytest.fixture
def celery() -> Celery:
    celery = Celery(broker="memory://", set_as_current=False)
    celery.events.dispatcher_cls = BufferedEventDispatcher
    return celery


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def connected(celery: Celery, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Connect a worker to the broker, anew each time; its line to Flower."""

    def publish(_self: Any, events: Any, _producer: Any, routing_key: str, **_options: Any) -> None:
        sent.extend(events if routing_key == "task.multi" else [events])

    monkeypatch.setattr(BufferedEventDispatcher, "_publish", publish)
    timer = SimpleNamespace(call_repeatedly=lambda *_: SimpleNamespace(cancel=lambda: None))

    def connect() -> Any:
        dispatcher = celery.events.Dispatcher(celery.connection_for_write(), buffer_group=["task"])
        # Celery's consumer would flush after each event.
        dispatcher.on_send_buffered = lambda: pytest.fail("an event is not sent by itself")
        EventFlushStep(None).start(SimpleNamespace(app=celery, timer=timer, event_dispatcher=dispatcher))
        return dispatcher

    return connect


def test_events_are_sent_by_the_loop(celery, connected, sent):
    dispatcher = connected()
    before = time.time()
    emit_received(celery, "1", "storage.create_volume")
    emit_started(celery, "1")
    emit_ended(celery, "1", State.SUCCEEDED, runtime_s=2.5)
    after = time.time()
    assert sent == []

    dispatcher.flush()
    assert [(event["type"], event["uuid"]) for event in sent] == [
        ("task-received", "1"),
        ("task-started", "1"),
        ("task-succeeded", "1"),
    ]
    assert all(before <= event["timestamp"] <= after for event in sent)
    assert [event["clock"] for event in sent] == sorted({event["clock"] for event in sent})
    assert (sent[0]["name"], sent[2]["runtime"]) == ("storage.create_volume", 2.5)


@pytest.mark.parametrize(
    ("state", "failure", "kind"),
    [(State.FAILED, Failure("lock-held", "It is locked."), "task-failed"), (State.CANCELLED, None, "task-revoked")],
)
def test_other_ends_have_the_names_of_celery(celery, connected, sent, state, failure, kind):
    dispatcher = connected()
    emit_ended(celery, "1", state, failure)
    dispatcher.flush()
    (event,) = sent
    assert event["type"] == kind
    assert failure is None or failure.code in event["exception"]


def test_refused_requests_are_distinguished_from_failures_of_the_service(celery, connected, sent):
    dispatcher = connected()
    for code in ("lock-held", "backend-error"):
        emit_ended(celery, "1", State.FAILED, Failure(code, "No."))
    dispatcher.flush()
    assert [event["exception"] for event in sent] == ["RequestRefused('lock-held')", "JobFailed('backend-error')"]


def test_events_from_before_a_reconnect_are_sent_after_it(celery, connected, sent):
    connected().close()
    emit_received(celery, "1", "storage.create_volume")
    emit_started(celery, "1")
    dispatcher = connected()
    emit_ended(celery, "1", State.SUCCEEDED)
    dispatcher.flush()
    assert [event["type"] for event in sent] == ["task-received", "task-started", "task-succeeded"]


def test_many_events_are_buffered_for_the_loop(celery, connected, sent):
    dispatcher = connected()
    # As many as Python calls could be inside each other.
    for number in range(1_000):
        emit_started(celery, str(number))
    assert sent == []
    dispatcher.flush()
    assert len(sent) == 1_000


def test_events_of_workers_are_sent_at_once(connected, sent):
    connected().send("worker-online")
    assert [event["type"] for event in sent] == ["worker-online"]


def test_the_number_of_buffered_events_is_limited(celery, connected):
    dispatcher = connected()
    for number in range(50_001):
        emit_started(celery, str(number))
    assert [fields["uuid"] for _, fields in (dispatcher.noted[0], dispatcher.noted[-1])] == ["1", "50000"]


def test_buffered_events_are_sent_before_a_worker_ends(celery, connected, sent):
    dispatcher = connected()
    emit_started(celery, "1")
    EventFlushStep(None).shutdown(SimpleNamespace(event_dispatcher=dispatcher))
    assert [event["type"] for event in sent] == ["task-started"]


def test_messages_send_no_events_of_their_own():
    sent: list[str] = []
    request: Any = TaskRequest.__new__(TaskRequest)
    request._eventer = SimpleNamespace(enabled=True, send=lambda kind, **_: sent.append(kind))
    request._task, request.id = SimpleNamespace(send_events=True), "1"
    for kind in ("received", "started", "succeeded", "failed", "revoked"):
        request.send_event(f"task-{kind}")
    assert sent == ["task-received", "task-revoked"]


def test_a_message_is_acknowledged_without_a_command_to_the_broker():
    request: Any = TaskRequest.__new__(TaskRequest)
    assert not request.acknowledged
    # It has no connection.
    request.acknowledge()
    assert request.acknowledged


def test_without_a_dispatcher_nothing_is_emitted(celery):
    emit_started(celery, "1")
    assert not hasattr(celery, "flower_events")
