"""When deliveries to one receiver are due, how many of them at a time, and that none is made twice."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from tests.worker.bench import PREFIX, Bench
from worker.config.callback_hosts import CallbackHosts
from worker.webhooks.outbox import Outbox
from worker.webhooks.sending import NotSent, post

_DAY_MS = 24 * 3600 * 1000


def _make(bench: Bench, count: int, *, backoff_ms: int = 60_000) -> Outbox:
    """Make deliveries for the receiver ``one``."""
    deliveries = [[f"msg_{number}", "one", {"body": "{}", "job_id": "job"}] for number in range(count)]
    assert bench.scripts.dispatch_webhooks("", "1-0-1", deliveries)
    return Outbox(bench.client, bench.scripts, PREFIX, backoff_ms=backoff_ms)


def _due_in_ms(bench: Bench, delivery_id: str) -> float:
    seconds, micros = bench.client.time()
    due: Any = bench.client.zscore(f"{PREFIX}webhook_due:one", delivery_id)
    return float(due) - (seconds * 1000 + micros // 1000)


def test_another_worker_that_read_the_same_events_makes_no_second_ones(bench: Bench):
    outbox = _make(bench, 1)
    assert not bench.scripts.dispatch_webhooks("", "1-0-1", [["msg_x", "one", {"body": "{}", "job_id": "job"}]])
    assert outbox.take("one") == [("msg_0", "")]
    assert outbox.take("one") == []


def test_four_are_sent_at_a_time_and_one_while_the_receiver_fails(bench: Bench):
    outbox = _make(bench, 9, backoff_ms=0)
    first = outbox.take("one")
    assert len(first) == 4
    for delivery_id, _ in first:
        outbox.end(delivery_id, "it answered 500")
    assert len(outbox.take("one")) == 1
    assert outbox.take("one") == []


def test_a_receiver_that_failed_is_left_alone_and_so_is_what_waits_for_it(bench: Bench):
    outbox = _make(bench, 5)
    for delivery_id, _ in outbox.take("one"):
        outbox.end(delivery_id, "it answered 500")
    assert outbox.take("one") == []
    assert _due_in_ms(bench, "msg_4") <= 0


def test_the_pause_grows_up_to_its_limit(bench: Bench):
    _make(bench, 2).take("one")
    for delivery_id, attempts, at_least, at_most in (("msg_0", 2, 3_000, 4_000), ("msg_1", 15, 9_000, 10_000)):
        bench.client.hset(f"{PREFIX}webhook:{delivery_id}", "attempts", attempts)
        assert bench.scripts.end_delivery(delivery_id, "it answered 500", 1_000, 10_000, _DAY_MS) == "again"
        assert at_least < _due_in_ms(bench, delivery_id) <= at_most


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
