"""How Celery is configured here, and which of its classes and steps are replaced."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import celery as celery_package
import pytest
from celery import Celery
from celery.worker.state import maybe_shutdown
from structlog.testing import capture_logs

from worker.config.settings import Settings, load
from worker.messaging import task_events
from worker.messaging.app import create_celery, required_settings
from worker.messaging.consumer import ActivityStep, Consumer, _check, use_consumer
from worker.messaging.messages import TaskMessage, publish_message
from worker.messaging.task_events import BufferedEventDispatcher, EventFlushStep
from worker.messaging.transport import Channel, SentinelChannel


@pytest.fixture
def application() -> Celery:
    """A worker's application."""
    return create_celery(load(Settings), consumed=["filer.read", "filer.write"])


def test_a_worker_consumes_its_queues_without_acknowledgements(application: Celery):
    queues = [(queue.name, queue.routing_key, queue.no_ack) for queue in application.conf.task_queues]
    assert queues == [("filer.read", "filer.read", True), ("filer.write", "filer.write", True)]
    assert create_celery(load(Settings)).conf.task_queues is None


def test_events_wait_for_the_loop_and_celery_leaves_output_and_logging_alone(application: Celery):
    assert application.events.dispatcher_cls is BufferedEventDispatcher
    assert EventFlushStep in application.steps["consumer"]
    conf = application.conf
    assert (conf.worker_send_task_events, conf.task_send_sent_event, conf.event_queue_ttl) == (True, False, 30)
    assert (conf.worker_redirect_stdouts, conf.worker_hijack_root_logger) == (False, False)
    assert (conf.broker_pool_limit, conf.worker_enable_remote_control) == (0, False)


@pytest.mark.parametrize(("url", "takes_no_more"), [("redis://host/0", True), ("amqp://host/v", False)])
def test_the_settings_on_which_the_guarantees_depend(url: str, *, takes_no_more: bool):
    assert required_settings(url) == {
        "task_acks_late": False, "worker_disable_prefetch": takes_no_more, "worker_prefetch_multiplier": 1,
        "task_ignore_result": True, "task_serializer": "json", "accept_content": ["json"],
    }  # fmt: skip


@pytest.mark.parametrize(("scheme", "is_encrypted"), [("redis", False), ("rediss", True)])
@pytest.mark.parametrize("consumed", [[], ["filer.write"]])
def test_connections_to_the_broker_are_encrypted_and_kept_alive(
    scheme: str, consumed: list[str], *, is_encrypted: bool
):
    conf = create_celery(load(Settings, redis_url=f"{scheme}://host/0"), consumed=consumed).conf
    assert bool(conf.broker_use_ssl) is is_encrypted
    assert conf.broker_transport_options["socket_keepalive"] is True


def test_it_is_not_the_default_application(application: Celery):
    assert celery_package.current_app != application


@pytest.mark.parametrize("more", [{}, {"broker_url": "amqp://u:p@host/v"}])
def test_a_front_end_gives_up_on_a_broker_at_once(more: dict[str, Any]):
    front_end = create_celery(load(Settings, **more)).conf.broker_transport_options
    pauses_s = {name: front_end[name] for name in ("max_retries", "interval_start", "interval_step", "interval_max")}
    assert pauses_s == {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


def test_a_worker_never_gives_up_on_a_broker():
    worker = create_celery(load(Settings), consumed=["q"]).conf
    assert (worker.broker_connection_retry_on_startup, worker.broker_connection_max_retries) == (True, None)
    assert worker.broker_transport_options["health_check_interval"] == 5


def test_half_open_connections_to_rabbitmq_are_detected_within_30_seconds():
    options = create_celery(load(Settings, broker_url="amqp://u:p@host/v")).conf.broker_transport_options
    assert options["socket_settings"] == {
        socket.TCP_KEEPIDLE: 12, socket.TCP_KEEPINTVL: 4, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 10_000,
    }  # fmt: skip


def test_a_workers_application_has_our_consumer_and_its_check(application: Celery):
    activity = use_consumer(application)
    assert application.conf.worker_consumer == f"{Consumer.__module__}:Consumer"
    assert ActivityStep in application.steps["consumer"]
    assert application.consumer_activity is activity


def test_a_consumer_tries_to_connect_within_two_seconds_again_and_again():
    consumer, connection = Consumer.__new__(Consumer), Mock()
    consumer._opened, consumer.first_connection_attempt = [], True
    assert consumer.ensure_connected(connection) is connection
    connection.ensure_connection.assert_called_once_with(consumer._report, None, 0.2, 0.4, 2.0, callback=maybe_shutdown)
    assert (consumer._opened, consumer.first_connection_attempt) == ([connection], False)


def test_a_connection_that_could_not_be_made_is_logged(monkeypatch: pytest.MonkeyPatch):
    consumer = Consumer.__new__(Consumer)
    monkeypatch.setattr(consumer, "_recover", recover := Mock())
    with capture_logs() as lines:
        consumer.on_connection_error_before_connected(OSError("no route"))
    (line,) = lines
    assert (line["event"], line["error"], line["detail"]) == ("broker.unavailable", "OSError", "no route")
    assert line["retry_in_s"] == 2.0
    recover.assert_called_once_with()


@pytest.mark.parametrize("step_class", [EventFlushStep, ActivityStep])
def test_a_step_ends_the_timer_that_it_has_started(step_class: Any):
    consumer = Mock()
    step = step_class(consumer)
    step.stop(consumer)
    step.start(consumer)
    repeated = (1.0, _check, (consumer,)) if step_class is ActivityStep else (0.2, consumer.event_dispatcher.flush)
    consumer.timer.call_repeatedly.assert_called_once_with(*repeated)
    timer = consumer.timer.call_repeatedly.return_value
    assert timer.cancel.mock_calls == []
    step.stop(consumer)
    timer.cancel.assert_called_once_with()


def test_buffered_events_are_sent_when_a_worker_ends():
    consumer = Mock()
    step = EventFlushStep(consumer)
    step.start(consumer)
    step.shutdown(consumer)
    consumer.timer.call_repeatedly.return_value.cancel.assert_called_once_with()
    consumer.event_dispatcher.flush.assert_called_once_with()
    # It may end before it has reached the broker.
    consumer.event_dispatcher = None
    EventFlushStep(consumer).shutdown(consumer)


@pytest.mark.parametrize("channel", [Channel, SentinelChannel])
def test_no_record_of_unacknowledged_messages_is_kept(channel: Any):
    assert channel.ack_emulation is False


def test_message_events_for_flower_are_those_of_celery(monkeypatch: pytest.MonkeyPatch):
    sent = Mock()
    task_events.emit_received(SimpleNamespace(flower_events=sent), "job-1", "storage.x")
    fields = {"name": "storage.x", "args": "('job-1',)", "kwargs": "{}", "root_id": "job-1", "retries": 0}
    assert sent.send.mock_calls == [call("task-received", uuid="job-1", **fields)]


def test_a_message_that_cannot_be_sent_is_not_tried_again_by_celery():
    """The publisher does so, and the maintenance loop."""
    application, producer = Mock(), Mock()
    publish_message(application, producer, TaskMessage("job-1", "filer.write", "delete_volume"))
    (sent,) = application.send_task.mock_calls
    assert sent.kwargs == {
        "args": ["job-1"], "task_id": "job-1", "queue": "filer.write", "producer": producer, "retry": False,
        "ignore_result": True,
    }  # fmt: skip
