"""When deliveries to one receiver are due, how many of them at a time, and that none is made twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import redis

from tests.worker.harness import PREFIX, Harness
from worker.config.callback_hosts import CallbackHosts
from worker.health_report import CONSUMER_SILENT, OK, REDIS_UNAVAILABLE
from worker.jobs.event_log import EventLog
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.outbox import Delivery, Outbox
from worker.webhooks.receivers import Receiver
from worker.webhooks.sending import NotSent, post
from worker.webhooks.tasks import DeliverTask

_DAY_MS = 24 * 3600 * 1000


def _make(harness: Harness, count: int, *, backoff_ms: int = 60_000) -> Outbox:
    """Make deliveries for the receiver ``one``."""
    deliveries = [[f"msg_{number}", "one", {"body": "{}", "job_id": "job"}] for number in range(count)]
    assert harness.scripts.dispatch_webhooks("", "1-0-1", deliveries)
    return Outbox(harness.client, harness.scripts, PREFIX, backoff_ms=backoff_ms)


def _due_in_ms(harness: Harness, delivery_id: str) -> float:
    seconds, micros = harness.client.time()
    due: Any = harness.client.zscore(f"{PREFIX}webhook_due:one", delivery_id)
    return float(due) - (seconds * 1000 + micros // 1000)


def test_another_worker_that_read_the_same_events_makes_no_second_ones(harness: Harness):
    outbox = _make(harness, 1)
    assert not harness.scripts.dispatch_webhooks("", "1-0-1", [["msg_x", "one", {"body": "{}", "job_id": "job"}]])
    harness.client.hset(f"{PREFIX}webhook:msg_0", mapping={"receiver": "one", "traceparent": "00-a-b-01"})
    assert outbox.take("one", is_configured=True) == [("msg_0", "00-a-b-01")]
    assert outbox.get("msg_0") == Delivery("msg_0", "one", "", b"{}", "job", "00-a-b-01")
    assert outbox.take("one", is_configured=True) == []


def test_four_are_sent_at_a_time_and_one_while_the_receiver_fails(harness: Harness):
    outbox = _make(harness, 9, backoff_ms=0)
    first = outbox.take("one", is_configured=True)
    assert len(first) == 4
    for delivery_id, _ in first:
        outbox.end(delivery_id, "it answered 500")
    assert len(outbox.take("one", is_configured=True)) == 1
    assert outbox.take("one", is_configured=True) == []


def test_a_receiver_that_failed_is_left_alone_and_so_is_what_waits_for_it(harness: Harness):
    outbox = _make(harness, 5)
    for delivery_id, _ in outbox.take("one", is_configured=True):
        outbox.end(delivery_id, "it answered 500")
    assert outbox.take("one", is_configured=True) == []
    assert _due_in_ms(harness, "msg_4") <= 0


def test_a_clock_that_was_set_back_delays_no_delivery(harness: Harness):
    outbox = _make(harness, 3)
    assert len(outbox.take("one", is_configured=True)) == 3
    seconds, _ = harness.client.time()
    far, soon = (seconds + 3600) * 1000, (seconds + 599) * 1000
    harness.client.delete(f"{PREFIX}webhook_running:one")
    harness.client.zadd(f"{PREFIX}webhook_running:one", {"msg_0": far})
    harness.client.zadd(f"{PREFIX}webhook_due:one", {"msg_1": far, "msg_2": soon})
    harness.client.hset(f"{PREFIX}webhook_state:one", mapping={"failures": "0", "not_before": str(far)})
    assert {delivery_id for delivery_id, _ in outbox.take("one", is_configured=True)} == {"msg_0", "msg_1"}


def test_the_pause_grows_up_to_its_limit(harness: Harness):
    _make(harness, 2).take("one", is_configured=True)
    for delivery_id, attempts, at_least, at_most in (("msg_0", 2, 3_000, 4_000), ("msg_1", 15, 9_000, 10_000)):
        harness.client.hset(f"{PREFIX}webhook:{delivery_id}", "attempts", attempts)
        assert harness.scripts.end_delivery(delivery_id, "it answered 500", 1_000, 10_000, _DAY_MS) == "again"
        assert at_least < _due_in_ms(harness, delivery_id) <= at_most
    # As the processes have it: from two seconds to ten minutes.
    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    for attempts, at_least, at_most in ((0, 1_000, 2_000), (30, 590_000, 600_000)):
        harness.client.hset(f"{PREFIX}webhook:msg_0", "attempts", attempts)
        assert outbox.end("msg_0", "it answered 500") == "again"
        assert at_least < _due_in_ms(harness, "msg_0") <= at_most


def test_a_receiver_that_never_ends_its_head_is_left():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n" + b"x" * 40_000)
                connection.recv(1)

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(NotSent, match="too much"):
            post(f"http://127.0.0.1:{port}/", b"{}", {}, CallbackHosts(f"http://127.0.0.1:{port}"))


# --- what is kept of a receiver


def _take(outbox: Outbox, target: str = "one") -> list[str]:
    """The ids of deliveries that are due, and are taken."""
    return [delivery_id for delivery_id, _ in outbox.take(target, is_configured=True)]


def _state(harness: Harness) -> dict[str, str]:
    found: Any = harness.client.hgetall(f"{PREFIX}webhook_state:one")
    return {name.decode(): value.decode() for name, value in found.items()}


def test_how_a_receiver_does_is_known(harness: Harness):
    outbox = _make(harness, 2)
    first, second = _take(outbox)
    assert outbox.end(first, "it answered 500") == "again"
    failing = _state(harness)
    assert (failing["failures"], failing["last_error"]) == ("1", "it answered 500")
    assert failing["failing_since"] == failing["last_failure"]
    assert 50_000 < int(failing["not_before"]) - int(failing["last_failure"]) <= 60_000
    harness.client.hset(f"{PREFIX}webhook_state:one", "failing_since", "5")
    assert outbox.end(second, "it answered 503") == "again"
    # It has been failing since the first time, and its pause grows with each.
    assert (_state(harness)["failures"], _state(harness)["failing_since"]) == ("2", "5")
    assert 110_000 < int(_state(harness)["not_before"]) - int(_state(harness)["last_failure"]) <= 120_000
    assert outbox.end(first) == "delivered"
    assert {name: _state(harness)[name] for name in ("failures", "not_before", "failing_since", "last_error")} == {
        "failures": "0", "not_before": "", "failing_since": "", "last_error": "",
    }  # fmt: skip
    assert _state(harness)["last_success"]
    assert [harness.client.exists(f"{PREFIX}webhook:{each}") for each in (first, second)] == [0, 1]
    assert harness.client.hgetall(f"{PREFIX}metrics") == {b"webhook one again": b"2", b"webhook one delivered": b"1"}
    assert harness.client.hget(f"{PREFIX}webhook:{second}", "attempts") == b"1"


def test_what_has_ended_already_is_delivered_and_changes_nothing(harness: Harness):
    outbox = _make(harness, 1)
    (delivery_id,) = _take(outbox)
    assert outbox.end(delivery_id) == "delivered"
    before = _state(harness)
    assert outbox.end(delivery_id, "it answered 500") == "delivered"
    assert _state(harness) == before


@pytest.mark.parametrize("outcome", ["delivered", "given-up"])
@pytest.mark.parametrize(
    ("target", "label", "is_kept"),
    [("one", "one", True), ("former", "former", False), ("callbacks:example.org:443", "callbacks", False)],
)
def test_only_receivers_of_the_file_are_remembered_when_nothing_more_waits(
    harness: Harness, target: str, label: str, outcome: str, *, is_kept: bool
):
    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    deliveries = [[f"msg_{n}", target, {"body": "{}", "job_id": "job", "label": label}] for n in range(2)]
    assert harness.scripts.dispatch_webhooks("", "1-0-1", deliveries)
    dispatcher, _ = _dispatcher(harness, receivers={"one": Receiver("one", "https://example.org", "")})
    dispatcher.publish_due()
    assert [outbox.end(f"msg_{n}", "it answered 500") for n in range(2)] == ["again", "again"]
    for number in range(2):
        dispatcher.publish_due()
        assert outbox.targets() == [target]
        assert harness.client.hget(f"{PREFIX}webhook_state:{target}", "last_error") == b"it answered 500"
        harness.client.hset(f"{PREFIX}webhook:msg_{number}", "created", "1")
        assert outbox.end(f"msg_{number}", "" if outcome == "delivered" else "it answered 500") == outcome
        harness.client.hset(f"{PREFIX}webhook_state:{target}", "last_error", "it answered 500")
    dispatcher.publish_due()
    assert outbox.targets() == ([target] if is_kept else [])
    assert harness.client.exists(f"{PREFIX}webhook_state:{target}") == is_kept
    counted: Any = harness.client.hgetall(f"{PREFIX}metrics")
    assert counted == {f"webhook {label} again".encode(): b"2", f"webhook {label} {outcome}".encode(): b"2"}


def test_deliveries_go_out_in_their_order_and_again_after_their_lease(harness: Harness):
    outbox = _make(harness, 6)
    first = _take(outbox)
    assert first == ["msg_0", "msg_1", "msg_2", "msg_3"]
    assert _take(outbox) == []
    running: Any = harness.client.zscore(f"{PREFIX}webhook_running:one", "msg_0")
    seconds, micros = harness.client.time()
    assert 15_000 < running - (seconds * 1000 + micros // 1000) <= 20_000
    harness.client.zadd(f"{PREFIX}webhook_running:one", {"msg_1": 1})
    assert _take(outbox) == ["msg_4"]
    assert outbox.end("msg_4") == "delivered"
    assert _take(outbox) == ["msg_5"]


def test_one_that_would_be_tried_after_a_day_is_given_up(harness: Harness):
    outbox = _make(harness, 2)
    for delivery_id, age_ms, outcome in (
        ("msg_0", _DAY_MS - 120_000, "again"),
        ("msg_1", _DAY_MS - 30_000, "given-up"),
    ):
        seconds, micros = harness.client.time()
        created = seconds * 1000 + micros // 1000 - age_ms
        harness.client.hset(f"{PREFIX}webhook:{delivery_id}", "created", created)
        assert outbox.end(delivery_id, "it answered 500") == outcome
    assert [harness.client.exists(f"{PREFIX}webhook:msg_{n}") for n in range(2)] == [1, 0]
    assert harness.client.zscore(f"{PREFIX}webhook_due:one", "msg_1") is None


def test_events_are_made_into_deliveries_from_where_they_were_read(harness: Harness):
    outbox = _make(harness, 1)
    assert outbox.position() == "1-0-1"
    later = [["msg_9", "one", {"body": "{}", "job_id": "job"}]]
    assert not harness.scripts.dispatch_webhooks("0-0-0", "2-0-2", later)
    assert outbox.position() == "1-0-1"
    assert harness.scripts.dispatch_webhooks("1-0-1", "2-0-2", later)
    assert outbox.position() == "2-0-2"


# --- the process that sends them


def _dispatcher(
    harness: Harness,
    *,
    silent_s: float = 0.0,
    log: Any = None,
    callbacks: bool = True,
    publish: Any = lambda *_: None,
    receivers: Mapping[str, Receiver] = MappingProxyType({}),
) -> tuple[Dispatcher, list[str]]:
    """One that ends when it has reported a state."""
    states: list[str] = []

    def report(state: str) -> None:
        states.append(state)
        dispatcher.stop()

    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    dispatcher = Dispatcher(
        log or EventLog(harness.client, PREFIX), outbox, harness.scripts, receivers, publish,
        callbacks=callbacks, report_health=report, silent_s=lambda: silent_s,
    )  # fmt: skip
    return dispatcher, states


class AwayLog:
    """An event log in a Redis that cannot be reached."""

    def tail(self) -> None:
        raise redis.ConnectionError("away")


@pytest.mark.parametrize(
    ("silent_s", "log", "state"), [(9.0, None, OK), (11.0, None, CONSUMER_SILENT), (0.0, AwayLog(), REDIS_UNAVAILABLE)]
)
def test_how_the_process_does_is_reported(harness: Harness, silent_s: float, log: Any, state: str):
    dispatcher, states = _dispatcher(harness, silent_s=silent_s, log=log)
    dispatcher.run()
    assert states == [state]
    assert harness.client.exists(f"{PREFIX}webhook_callbacks")


def test_a_process_publishes_what_is_due_and_tells_that_it_sends_no_callbacks(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.webhooks.dispatcher._WAIT_MS", 1)
    _make(harness, 2)
    published: list[str] = []
    harness.client.set(f"{PREFIX}webhook_callbacks", "1")
    dispatcher, _ = _dispatcher(
        harness, callbacks=False, publish=lambda delivery_id, _trace: published.append(delivery_id)
    )
    dispatcher.run()
    assert published == ["msg_0", "msg_1"]
    assert not harness.client.exists(f"{PREFIX}webhook_callbacks")


def test_a_state_is_reported_at_once_when_it_is_another_and_else_every_few_seconds(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr("worker.webhooks.dispatcher.time.monotonic", lambda: clock[0])
    dispatcher, states = _dispatcher(harness)
    for state, later_s in ((OK, 0.0), (OK, 2.9), (CONSUMER_SILENT, 0.0), (OK, 0.0), (OK, 3.1)):
        clock[0] += later_s
        dispatcher._report(state)
    assert states == [OK, CONSUMER_SILENT, OK, OK]


def test_requests_may_name_receivers_only_where_there_is_a_secret(harness: Harness):
    outbox = Outbox(harness.client, harness.scripts, PREFIX)
    outbox.announce_callbacks(possible=True)
    assert harness.client.exists(f"{PREFIX}webhook_callbacks")
    outbox.announce_callbacks(possible=False)
    assert not harness.client.exists(f"{PREFIX}webhook_callbacks")


@pytest.mark.parametrize("callbacks", [True, False])
def test_that_callbacks_are_possible_is_written_again_where_it_is_lost(harness: Harness, *, callbacks: bool):
    silent_s, states = [0.0], list[str]()

    def report(state: str) -> None:
        states.append(state)
        harness.client.delete(f"{PREFIX}webhook_callbacks")
        silent_s[0] = 11.0
        if len(states) > 1:
            dispatcher.stop()

    dispatcher = Dispatcher(
        EventLog(harness.client, PREFIX), Outbox(harness.client, harness.scripts, PREFIX), harness.scripts, {},
        lambda *_message: None, callbacks=callbacks, report_health=report, silent_s=lambda: silent_s[0],
    )  # fmt: skip
    dispatcher.run()
    assert states == [OK, CONSUMER_SILENT]
    assert bool(harness.client.exists(f"{PREFIX}webhook_callbacks")) is callbacks


def test_an_attempt_that_has_ended_makes_room_for_the_next(harness: Harness):
    outbox = _make(harness, 6)
    published: list[str] = []
    dispatcher = Dispatcher(
        EventLog(harness.client, PREFIX), outbox, harness.scripts, {},
        lambda delivery_id, _trace: published.append(delivery_id),
        callbacks=False, report_health=lambda _state: None, silent_s=lambda: 0.0,
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
    outbox = _make(harness, 1)
    harness.client.hset(f"{PREFIX}webhook:msg_0", "receiver", "one")
    task = DeliverTask(outbox, {}, "", CallbackHosts(""), lambda _target: None)
    outbox.take("one", is_configured=True)
    task.run("msg_0")
    assert _state(harness)["last_error"] == "no such receiver is configured"
