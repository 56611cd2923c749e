"""The process that sends webhooks: what it publishes, and what it reports of itself."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.worker.harness import PREFIX, Harness
from tests.worker.webhooks.outboxes import dispatcher_of, make_deliveries, state_of
from worker.config.callback_hosts import CallbackHosts
from worker.health_report import CONSUMER_SILENT, OK, REDIS_UNAVAILABLE
from worker.jobs.event_log import EventLog
from worker.maintenance.silent_consumer import SilentConsumer
from worker.webhooks.dispatcher import WAIT_MS, Dispatcher
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver
from worker.webhooks.tasks import DeliverTask


class AwayLog:
    """An event log in a Redis that cannot be reached."""

    def tail(self) -> None:
        raise redis.ConnectionError("away")


@pytest.mark.parametrize(
    ("silent_s", "log", "state"), [(9.0, None, OK), (11.0, None, CONSUMER_SILENT), (0.0, AwayLog(), REDIS_UNAVAILABLE)]
)
def test_the_state_of_the_process_is_reported(harness: Harness, silent_s: float, log: Any, state: str):
    dispatcher, states = dispatcher_of(harness, silent_s=silent_s, log=log)
    dispatcher.run()
    assert states == [state]
    assert harness.client.exists(f"{PREFIX}webhook_callbacks")


def test_a_process_publishes_due_deliveries_and_reports_no_callbacks(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.webhooks.dispatcher.WAIT_MS", 1)
    make_deliveries(harness, 2)
    published: list[str] = []
    harness.client.set(f"{PREFIX}webhook_callbacks", "1")
    dispatcher, _ = dispatcher_of(
        harness, callbacks=False, publish=lambda delivery_id, _trace: published.append(delivery_id)
    )
    dispatcher.start()
    dispatcher.join(20)
    assert published == ["msg_0", "msg_1"]
    assert not harness.client.exists(f"{PREFIX}webhook_callbacks")


def test_a_state_is_reported_at_once_when_it_is_another_and_else_every_few_seconds(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr("worker.webhooks.dispatcher.time.monotonic", lambda: clock[0])
    dispatcher, states = dispatcher_of(harness)
    for state, later_s in ((OK, 0.0), (OK, 2.9), (CONSUMER_SILENT, 0.0), (OK, 0.0), (OK, 3.1)):
        clock[0] += later_s
        dispatcher._report(state)
    assert states == [OK, CONSUMER_SILENT, OK, OK]


def test_a_process_that_consumes_nothing_for_long_is_restarted_but_not_while_redis_is_away(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
):
    dispatcher, restarts_at_s, clock = dispatcher_of(harness)[0], list[float](), [1000.0]

    def restart() -> None:
        restarts_at_s.append(clock[0])
        dispatcher.stop()

    consumer = SilentConsumer(lambda: 99.0, restart, lambda: clock[0])
    monkeypatch.setattr(dispatcher, "_consumer", consumer)
    monkeypatch.setattr(dispatcher, "_report", lambda _state: True)
    monkeypatch.setattr(dispatcher, "publish_due", lambda: None)

    def pass_time(_wait_ms: int) -> None:
        clock[0] += 1.0
        if clock[0] == 1020.0:
            raise redis.ConnectionError("away")

    monkeypatch.setattr(dispatcher, "dispatch", pass_time)
    monkeypatch.setattr(dispatcher._over, "wait", lambda _seconds: None)
    dispatcher.run()
    assert restarts_at_s == [1052.0]


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), ValueError("a mistake")])
def test_a_process_pauses_after_each_failure(harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception):
    dispatcher, pauses_s, attempts = dispatcher_of(harness)[0], list[float](), list[int]()

    def fail(wait_ms: int) -> None:
        attempts.append(wait_ms)
        if len(attempts) == 2:
            dispatcher.stop()
        raise error

    monkeypatch.setattr(dispatcher, "dispatch", fail)
    monkeypatch.setattr(dispatcher, "_report", lambda _state: False)
    monkeypatch.setattr(dispatcher._over, "wait", pauses_s.append)
    dispatcher.run()
    assert (attempts, pauses_s) == ([WAIT_MS, WAIT_MS], [0.5, 0.5])


def test_requests_may_name_receivers_only_where_there_is_a_secret(harness: Harness):
    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    outbox.announce_callbacks(possible=True)
    assert harness.client.exists(f"{PREFIX}webhook_callbacks")
    outbox.announce_callbacks(possible=False)
    assert not harness.client.exists(f"{PREFIX}webhook_callbacks")


@pytest.mark.parametrize("callbacks", [True, False])
def test_the_key_for_callbacks_is_restored_when_lost_and_deleted_once(harness: Harness, *, callbacks: bool):
    silent_s, states = [0.0], list[str]()

    def report(state: str) -> None:
        states.append(state)
        silent_s[0] = 11.0
        if len(states) > 1:
            dispatcher.stop()
        elif callbacks:
            harness.client.delete(f"{PREFIX}webhook_callbacks")
        else:
            # As another process that has the secret does.
            harness.client.set(f"{PREFIX}webhook_callbacks", "1")

    dispatcher = Dispatcher(
        EventLog(harness.client, PREFIX), Outbox(harness.client, harness.scripts, PREFIX), harness.scripts, {},
        lambda *_message: None, callbacks=callbacks, report_health=report, silent_s=lambda: silent_s[0],
        restart=lambda: None,
    )  # fmt: skip
    dispatcher.run()
    assert states == [OK, CONSUMER_SILENT]
    assert harness.client.exists(f"{PREFIX}webhook_callbacks")


def test_the_end_of_an_attempt_releases_the_next(harness: Harness):
    outbox = make_deliveries(harness, 6)
    published: list[str] = []
    dispatcher = Dispatcher(
        EventLog(harness.client, PREFIX), outbox, harness.scripts, {},
        lambda delivery_id, _trace: published.append(delivery_id),
        callbacks=False, report_health=lambda state_of: None, silent_s=lambda: 0.0, restart=lambda: None,
    )  # fmt: skip
    for number in range(6):
        harness.client.hset(f"{PREFIX}webhook:msg_{number}", mapping={"receiver": "one", "url": "http://127.0.0.1:1/"})
    receiver = Receiver("one", "http://127.0.0.1:1/", "")
    task = DeliverTask(outbox, {"one": receiver}, "", CallbackHosts(""), dispatcher.publish_next)
    dispatcher.publish_due()
    assert published == ["msg_0", "msg_1", "msg_2", "msg_3"]
    harness.client.hset(f"{PREFIX}webhook:msg_0", "receiver", "one")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("worker.webhooks.tasks.post", lambda *_: 204)
        patched.setattr("worker.webhooks.tasks.signed_headers", lambda *_: {})
        task.run("msg_0")
        assert published[4:] == ["msg_4"]
        task.run("msg_0")
        assert published[5:] == []
    assert outbox.get("msg_0") is None


def test_a_receiver_that_is_configured_no_more_gets_nothing(harness: Harness):
    outbox = make_deliveries(harness, 1)
    harness.client.hset(f"{PREFIX}webhook:msg_0", "receiver", "one")
    task = DeliverTask(outbox, {}, "", CallbackHosts(""), lambda _target: None)
    outbox.take("one", is_configured=True)
    task.run("msg_0")
    assert state_of(harness)["last_error"] == "no such receiver is configured"
