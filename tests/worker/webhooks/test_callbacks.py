"""Callbacks: of which jobs they are made, and to which host an attempt belongs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from structlog.testing import capture_logs

from tests.worker.harness import PREFIX, Harness
from tests.worker.webhooks.outboxes import dispatcher_of
from worker.config.callback_hosts import CallbackHosts
from worker.jobs.event_log import Event, EventLog, Position
from worker.jobs.service import NewJob
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver
from worker.webhooks.tasks import DeliverTask, publisher


def _with_callback(harness: Harness, volume: str) -> NewJob:
    return replace(harness.new("create_volume", volume=volume), callback="https://hooks.example.org:8443/ends")


def test_callbacks_are_sent_of_ends_alone_and_only_where_there_is_a_secret(harness: Harness):
    receivers = {"one": Receiver("one", "https://127.0.0.1:1/", "")}
    outbox, volumes = Outbox(harness.client, harness.scripts, PREFIX), iter("ab")
    for callbacks, targets in ((False, ["one"]), (True, ["callbacks:hooks.example.org:8443", "one"])):
        dispatcher = Dispatcher(
            EventLog(harness.client, PREFIX), outbox, harness.scripts, receivers, lambda _id, _trace: None,
            callbacks=callbacks, report_health=lambda _state: None, silent_s=lambda: 0.0, restart=lambda: None,
        )  # fmt: skip
        dispatcher.dispatch(1)
        job_id = harness.jobs.accept(_with_callback(harness, next(volumes)))[1]
        dispatcher.dispatch(1)
        assert outbox.targets() == (["one"] if callbacks else [])
        harness.node().carry_out(job_id)
        dispatcher.dispatch(1)
        assert outbox.targets() == targets
    # One label for all hosts, which clients choose.
    deliveries = [harness.client.hgetall(key) for key in harness.client.scan_iter(f"{PREFIX}webhook:*")]
    assert {each[b"label"] for each in deliveries} == {b"one", b"callbacks"}
    assert job_id.encode() in {each[b"job_id"] for each in deliveries}


def test_the_end_of_a_job_that_this_version_cannot_read_is_passed_over(harness: Harness):
    dispatcher, _ = dispatcher_of(harness)
    assert list(dispatcher._deliveries(Event(Position("1-0", 1), 1, None))) == []


def test_links_have_the_path_of_the_public_url(harness: Harness):
    receivers = {"one": Receiver("one", "https://127.0.0.1:1/", "")}
    dispatcher = Dispatcher(
        EventLog(harness.client, PREFIX), Outbox(harness.client, harness.scripts, PREFIX), harness.scripts, receivers,
        lambda _id, _trace: None, callbacks=False, path_prefix="/storage", report_health=lambda _state: None,
        silent_s=lambda: 0.0, restart=lambda: None,
    )  # fmt: skip
    dispatcher.dispatch(1)
    job_id = harness.accept("create_volume", volume="linked")
    harness.node().carry_out(job_id)
    dispatcher.dispatch(1)
    (delivery,) = harness.client.scan_iter(f"{PREFIX}webhook:*")
    links = orjson.loads(harness.client.hget(delivery, "body"))["data"]["links"]  # type: ignore[arg-type]
    assert links == {
        "self": f"/storage/v4/jobs/{job_id}", "result": f"/storage/v4/jobs/{job_id}/result",
        "cancel": f"/storage/v4/jobs/{job_id}/cancel",
    }  # fmt: skip


def test_the_end_of_a_callback_releases_the_next_to_the_same_host(harness: Harness):
    targets: list[str] = []
    task = DeliverTask(Outbox(harness.client, harness.scripts, PREFIX), {}, "", CallbackHosts(""), targets.append)
    harness.client.hset(f"{PREFIX}webhook:msg_0", mapping={
        "url": "https://hooks.example.org:8443/ends", "body": "{}", "job_id": "job", "attempts": "0", "created": "1",
        "target": "callbacks:hooks.example.org:8443", "traceparent": f"00-{1:032x}-{2:016x}-01",
    })  # fmt: skip
    with capture_logs() as lines:
        task.run("msg_0")
    assert [(line["event"], line["trace_id"]) for line in lines] == [("webhook.attempted", f"{1:032x}")]
    assert targets == ["callbacks:hooks.example.org:8443"]


def test_a_delivery_that_cannot_be_read_or_published_now_is_left_to_its_lease(monkeypatch: pytest.MonkeyPatch):
    class Away:
        def get(self, _delivery_id: str) -> None:
            raise redis.ConnectionError("away")

    outbox: Any = Away()
    DeliverTask(outbox, {}, "", CallbackHosts(""), lambda _target: None).run("msg_0")
    sent: list[Any] = []

    def send_task(_celery: Celery, name: str, **options: Any) -> None:
        sent.append((name, options["args"], options["queue"], options["retry"]))
        raise OperationalError("away")

    monkeypatch.setattr(Celery, "send_task", send_task)
    publisher(Celery())("msg_0", "")
    assert sent == [("storage.deliver_webhook", ["msg_0"], "webhooks", False)]
