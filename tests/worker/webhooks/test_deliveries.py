"""When deliveries to one receiver are due, how many of them at a time, and that none is made twice."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.worker.harness import PREFIX, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.webhooks.outboxes import dispatcher_of, make_deliveries, state_of
from worker.config.callback_hosts import CallbackHosts
from worker.webhooks.outbox import Delivery, Outbox
from worker.webhooks.receivers import Receiver
from worker.webhooks.sending import NotSent, post

_DAY_MS = 24 * 3600 * 1000


def _due_in_ms(harness: Harness, delivery_id: str) -> float:
    seconds, micros = harness.client.time()
    due: Any = harness.client.zscore(f"{PREFIX}webhook_due:one", delivery_id)
    return float(due) - (seconds * 1000 + micros // 1000)


def test_another_worker_that_read_the_same_events_makes_no_second_ones(harness: Harness):
    outbox = make_deliveries(harness, 1)
    assert not harness.scripts.dispatch_webhooks("", "1-0-1", [["msg_x", "one", {"body": "{}", "job_id": "job"}]])
    harness.client.hset(f"{PREFIX}webhook:msg_0", mapping={"receiver": "one", "traceparent": "00-a-b-01"})
    assert outbox.take("one", is_configured=True) == [("msg_0", "00-a-b-01")]
    assert outbox.get("msg_0") == Delivery("msg_0", "one", "", b"{}", "job", "00-a-b-01")
    assert outbox.take("one", is_configured=True) == []


def test_a_delivery_goes_on_with_the_trace_of_its_job(harness: Harness):
    traceparent = f"00-{1:032x}-{2:016x}-01"
    _, job_id, _ = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=traceparent))
    fields = {"receiver": "one", "body": "{}", "job_id": job_id}
    assert harness.scripts.dispatch_webhooks("", "1-0-1", [["msg_0", "one", fields]])
    expected = Delivery("msg_0", "one", "", b"{}", job_id, traceparent)
    assert Outbox(harness.client, harness.scripts, PREFIX).get("msg_0") == expected


def test_four_are_sent_at_a_time_and_one_while_the_receiver_fails(harness: Harness):
    outbox = make_deliveries(harness, 9, backoff_ms=0)
    first = outbox.take("one", is_configured=True)
    assert len(first) == 4
    for delivery_id, _ in first:
        outbox.end(delivery_id, "it answered 500")
        # More are under way than may be while it fails.
        assert len(outbox.take("one", is_configured=True)) == (delivery_id == "msg_3")
    assert outbox.take("one", is_configured=True) == []


def test_deliveries_to_a_failing_receiver_are_delayed(harness: Harness):
    outbox = make_deliveries(harness, 5)
    for delivery_id, _ in outbox.take("one", is_configured=True):
        outbox.end(delivery_id, "it answered 500")
    assert outbox.take("one", is_configured=True) == []
    assert _due_in_ms(harness, "msg_4") <= 0


def test_a_clock_that_was_set_back_delays_no_delivery(harness: Harness):
    outbox = make_deliveries(harness, 3)
    assert len(outbox.take("one", is_configured=True)) == 3
    seconds, _ = harness.client.time()
    far, soon = (seconds + 3600) * 1000, (seconds + 599) * 1000
    harness.client.delete(f"{PREFIX}webhook_running:one")
    harness.client.zadd(f"{PREFIX}webhook_running:one", {"msg_0": far})
    harness.client.zadd(f"{PREFIX}webhook_due:one", {"msg_1": far, "msg_2": soon})
    harness.client.hset(f"{PREFIX}webhook_state:one", mapping={"failures": "0", "not_before": str(far)})
    assert {delivery_id for delivery_id, _ in outbox.take("one", is_configured=True)} == {"msg_0", "msg_1"}


def test_the_retry_delay_grows_up_to_its_limit(harness: Harness):
    make_deliveries(harness, 2).take("one", is_configured=True)
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


def test_a_receiver_that_never_ends_its_headers_times_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer_slowly() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n" + b"x" * 40_000)
                connection.recv(1)

        threading.Thread(target=answer_slowly, daemon=True).start()
        with pytest.raises(NotSent, match="too much"):
            post(f"http://127.0.0.1:{port}/", b"{}", {}, CallbackHosts(f"http://127.0.0.1:{port}"))


def _take(outbox: Outbox, target: str = "one") -> list[str]:
    """The ids of deliveries that are due, and are taken."""
    return [delivery_id for delivery_id, _ in outbox.take(target, is_configured=True)]


def test_the_state_of_a_receiver_is_recorded(harness: Harness):
    outbox = make_deliveries(harness, 2)
    first, second = _take(outbox)
    assert outbox.end(first, "it answered 500") == "again"
    failing = state_of(harness)
    assert (failing["failures"], failing["last_error"]) == ("1", "it answered 500")
    assert failing["failing_since"] == failing["last_failure"]
    assert 50_000 < int(failing["not_before"]) - int(failing["last_failure"]) <= 60_000
    harness.client.hset(f"{PREFIX}webhook_state:one", "failing_since", "5")
    assert outbox.end(second, "it answered 503") == "again"
    # It has been failing since the first time, and its pause grows with each.
    assert (state_of(harness)["failures"], state_of(harness)["failing_since"]) == ("2", "5")
    assert 110_000 < int(state_of(harness)["not_before"]) - int(state_of(harness)["last_failure"]) <= 120_000
    assert outbox.end(first) == "delivered"
    assert {name: state_of(harness)[name] for name in ("failures", "not_before", "failing_since", "last_error")} == {
        "failures": "0", "not_before": "", "failing_since": "", "last_error": "",
    }  # fmt: skip
    assert state_of(harness)["last_success"]
    assert [harness.client.exists(f"{PREFIX}webhook:{each}") for each in (first, second)] == [0, 1]
    assert harness.client.hgetall(f"{PREFIX}metrics") == {b"webhook one again": b"2", b"webhook one delivered": b"1"}
    assert harness.client.hget(f"{PREFIX}webhook:{second}", "attempts") == b"1"


def test_a_repeated_end_of_a_delivery_changes_nothing(harness: Harness):
    outbox = make_deliveries(harness, 1)
    (delivery_id,) = _take(outbox)
    assert outbox.end(delivery_id) == "delivered"
    before = state_of(harness)
    assert outbox.end(delivery_id, "it answered 500") == "delivered"
    assert state_of(harness) == before


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
    dispatcher, _ = dispatcher_of(harness, receivers={"one": Receiver("one", "https://example.org", "")})
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
    outbox = make_deliveries(harness, 6)
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


def test_a_delivery_is_given_up_after_a_day(harness: Harness):
    outbox = make_deliveries(harness, 2)
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
    outbox = make_deliveries(harness, 1)
    assert outbox.position() == "1-0-1"
    later = [["msg_9", "one", {"body": "{}", "job_id": "job"}]]
    assert not harness.scripts.dispatch_webhooks("0-0-0", "2-0-2", later)
    assert outbox.position() == "1-0-1"
    assert harness.scripts.dispatch_webhooks("1-0-1", "2-0-2", later)
    assert outbox.position() == "2-0-2"


def _age(harness: Harness, age_ms: int, *delivery_ids: str) -> None:
    for delivery_id in delivery_ids:
        harness.client.hset(f"{PREFIX}webhook:{delivery_id}", "created", redis_now_ms(harness.client) - age_ms)


def _there(harness: Harness, count: int) -> list[int]:
    return [harness.client.exists(f"{PREFIX}webhook:msg_{n}") for n in range(count)]


def test_a_delivery_delayed_for_a_day_is_given_up_without_an_attempt(harness: Harness):
    """One at a time is tried: the deliveries to a receiver that is gone would otherwise accumulate."""
    outbox = make_deliveries(harness, 4)
    (first, *_) = _take(outbox)
    assert outbox.end(first, "it answered 500") == "again"
    harness.client.delete(f"{PREFIX}webhook_running:one")
    _age(harness, _DAY_MS + 60_000, "msg_0")
    # One of them was deleted by hand.
    harness.client.zadd(f"{PREFIX}webhook_due:one", {"gone": 0, "msg_1": 1, "msg_2": 2, "msg_3": 3, "msg_x": 4})
    _age(harness, _DAY_MS + 60_000, "msg_1", "msg_2")
    _age(harness, _DAY_MS - 60_000, "msg_3")

    assert _take(outbox) == []

    assert _there(harness, 4) == [1, 0, 0, 1]
    assert harness.client.zrange(f"{PREFIX}webhook_due:one", 0, -1) == [b"msg_3", b"msg_x", b"msg_0"]
    assert harness.client.hget(f"{PREFIX}metrics", "webhook one given-up") == b"2"


def test_a_delivery_that_waited_a_day_for_a_process_is_sent(harness: Harness):
    outbox = make_deliveries(harness, 2)
    _age(harness, _DAY_MS + 60_000, "msg_0", "msg_1")

    assert _take(outbox) == ["msg_0", "msg_1"]
    assert _there(harness, 2) == [1, 1]
