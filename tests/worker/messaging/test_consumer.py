"""Whether a worker's consumer still consumes, and how it continues after a lost connection."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import redis
from celery import Celery
from celery.worker import consumer as celery_consumer
from structlog.testing import capture_logs

from worker.messaging import consumer as module
from worker.messaging import transport
from worker.messaging.consumer import Consumer, ConsumerActivity


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time as both modules see it, and how long was paused."""
    made = SimpleNamespace(now_s=1000.0, pauses_s=[])
    time = SimpleNamespace(monotonic=lambda: made.now_s, sleep=made.pauses_s.append)
    monkeypatch.setattr(module, "time", time)
    monkeypatch.setattr(transport, "time", time)
    return made


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """One without a connection and without Celery's own parts."""
    monkeypatch.setattr(celery_consumer.Consumer, "__init__", init := Mock(return_value=None))
    made = Consumer("argument", option=1)
    init.assert_called_once_with("argument", option=1)
    return made


@pytest.mark.parametrize(("silent_s", "is_seen"), [(0.0, True), (4.9, True), (5.1, False), (None, True)])
def test_a_consumer_works_while_the_broker_answers_it(clock: SimpleNamespace, silent_s: float | None, is_seen: bool):
    activity = ConsumerActivity()
    # RabbitMQ's channels do not say: there it is enough that the loop runs.
    channel = SimpleNamespace() if silent_s is None else SimpleNamespace(silent_s=lambda: silent_s)
    app = SimpleNamespace(consumer_activity=activity)
    clock.now_s += 100
    module._check(SimpleNamespace(app=app, task_consumer=None))
    assert activity.silent_s() == 100
    module._check(SimpleNamespace(app=app, task_consumer=SimpleNamespace(channel=channel)))
    assert activity.silent_s() == (0 if is_seen else 100)


class _FakeConnection:
    """What kombu's channel does with a request for messages."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self._answer = answer
        self.has_free_threads = True
        self.qos = SimpleNamespace(can_consume=lambda: self.has_free_threads)

    def _brpop_read(self) -> bool:
        return self._answer()


class _Channel(transport._Consuming, _FakeConnection):
    """The worker's channel on such a one."""


def _raising(error: Exception) -> Callable[[], bool]:
    def answer() -> bool:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "expected", "is_answered"),
    [
        (lambda: True, True, True),
        (_raising(Empty()), Empty, True),
        (_raising(ValueError("no JSON")), True, True),
        (_raising(RecursionError()), True, True),
        (_raising(ConnectionError("gone")), ConnectionError, False),
    ],
)
def test_empty_and_malformed_answers_count_as_answers(
    clock: SimpleNamespace, answer: Callable[[], bool], expected: Any, is_answered: bool
):
    channel: Any = _Channel(answer)
    clock.now_s += 7
    if expected is True:
        assert channel._brpop_read() is True
    else:
        with pytest.raises(expected):
            channel._brpop_read()
    assert channel.silent_s() == (0 if is_answered else 7)
    clock.now_s += 7
    assert channel.silent_s() > 0
    channel.has_free_threads = False
    assert channel.silent_s() == 0


def test_contents_of_messages_are_not_logged(clock: SimpleNamespace):
    unreadable = UnicodeDecodeError("utf-8", b"s3cret \xff", 7, 8, "invalid start byte")
    for error in (unreadable, ValueError("no JSON: s3cret")):
        channel: Any = _Channel(_raising(error))
        with capture_logs() as lines:
            channel._brpop_read()
        assert [(line["event"], line["reason"]) for line in lines] == [("message.rejected", type(error).__name__)]
        assert "s3cret" not in str(lines)


def test_a_channel_is_closed_although_its_last_request_failed_with_the_connection():
    closings = list[str]()

    class Failing:
        """kombu's channel, which first reads the answer to its last request."""

        def close(self) -> None:
            closings.append("tried")
            if len(closings) == 1:
                raise redis.ConnectionError("the connection broke")
            closings.append("closed")

    class Channel(transport._Consuming, Failing):
        """The worker's channel on such a one."""

    Channel().close()
    assert closings == ["tried", "tried", "closed"]


def test_a_consumer_that_fails_again_and_again_pauses_and_closes_what_it_opened(
    clock: SimpleNamespace, consumer: Consumer
):
    closed = list[str]()
    events, other = (SimpleNamespace(release=lambda name=name: closed.append(name)) for name in ("events", "other"))
    consumer._opened += [events, other]
    # The connection for events is closed by its own step.
    consumer.event_dispatcher = SimpleNamespace(connection=events)
    consumer._recover()
    assert (closed, consumer._opened, clock.pauses_s) == (["other"], [events], [])
    clock.now_s += 9
    consumer._recover()
    assert clock.pauses_s == [2.0]
    clock.now_s += 11
    consumer._recover()
    assert clock.pauses_s == [2.0]


def test_everything_opened_is_closed_with_or_without_a_connection(clock: SimpleNamespace):
    closed = list[str]()
    consumer = Consumer.__new__(Consumer)
    connection = MagicMock()
    consumer._failed_at, consumer.connection, consumer.event_dispatcher = 0.0, connection, None
    consumer.app = Celery(set_as_current=False)
    consumer.app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
    consumer.app.conf.worker_enable_prefetch_count_reduction = False
    for name in ("before", "after"):
        consumer._opened = [SimpleNamespace(release=lambda name=name: closed.append(name))]
        getattr(consumer, f"on_connection_error_{name}_connected")(ConnectionError("gone"))
    assert (closed, clock.pauses_s) == (["before", "after"], [2.0])
    connection.close.assert_called_once_with()
