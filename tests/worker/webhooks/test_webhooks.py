"""Ends of jobs reach their receivers: once made, tried until taken, and never anywhere else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.worker.harness import PREFIX, Harness
from tests.worker.webhooks.receiver import SECRET, HookReceiver
from worker.config.callback_hosts import CallbackHosts
from worker.config.settings import load
from worker.jobs.event_log import EventLog
from worker.webhooks import outbox as outbox_module
from worker.webhooks import sending
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.outbox import Outbox
from worker.webhooks.receivers import Receiver, read_receivers
from worker.webhooks.sending import NotSent, post
from worker.webhooks.settings import WebhookSettings
from worker.webhooks.tasks import DeliverTask


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    made = HookReceiver()
    yield made
    made.close()


class Post:
    """A process that sends webhooks, whose steps a test takes."""

    def __init__(self, harness: Harness, receivers: list[Receiver], hosts: str, *, secret: str = SECRET) -> None:
        self.outbox = Outbox(harness.client, harness.scripts, PREFIX, backoff_ms=1)
        self.published: list[tuple[str, str]] = []
        by_name = {receiver.name: receiver for receiver in receivers}
        log = EventLog(harness.client, PREFIX)
        self.states: list[str] = []
        self.dispatcher = Dispatcher(
            log,
            self.outbox,
            harness.scripts,
            by_name,
            lambda *message: self.published.append(message),
            callbacks=bool(secret),
            report_health=self.states.append,
            silent_s=lambda: 0.0,
            restart=lambda: None,
        )
        self.task = DeliverTask(self.outbox, by_name, secret, CallbackHosts(hosts), self.dispatcher.publish_next)
        self.dispatcher.dispatch(1)

    def work(self) -> None:
        """Send what is due now."""
        self.dispatcher.dispatch(1)
        self.dispatcher.publish_due()
        while self.published:
            self.task.run(self.published.pop(0)[0])


def hosts_of(*receivers: HookReceiver) -> str:
    return ",".join(f"http://127.0.0.1:{receiver.port}" for receiver in receivers)


def end_one(harness: Harness, callback: str = "", operation: str = "update_volume") -> str:
    job_id = harness.jobs.accept(replace(harness.new(operation), callback=callback))[1]
    harness.node().carry_out(job_id)
    return job_id


def test_an_end_reaches_each_receiver_once_signed_with_the_job(harness: Harness, receiver: HookReceiver):
    other = HookReceiver()
    sender = Post(
        harness,
        [Receiver("one", receiver.url, SECRET), Receiver("two", other.url, SECRET)],
        hosts_of(receiver, other),
        secret="that of callbacks",
    )
    job_id = end_one(harness)
    sender.work()
    sender.work()
    (hook,), (twin,) = receiver.hooks, other.hooks
    assert hook.body["type"] == "job.succeeded"
    assert hook.body["data"]["id"] == twin.body["data"]["id"] == job_id
    assert hook.body["timestamp"] == hook.body["data"]["finished_at"]
    assert hook.id.startswith("msg_")
    assert hook.id != twin.id
    other.close()


def test_filters_and_events_select_deliveries(harness: Harness, receiver: HookReceiver, tmp_path: Path):
    file = tmp_path / "hooks.toml"
    (tmp_path / "secret").write_text(SECRET + "\n")
    table = f'url = "{receiver.url}"\nsecret = {{file = "secret"}}\n'
    file.write_text(
        f'[failures]\n{table}events = ["job.failed"]\n'
        f'[vol]\n{table}operation = "update_volume, batch"\nvolume = "vol"\n'
        f'[others]\n{table}requested_by = "bob"\n[cancelled]\n{table}state = "cancelled"\n'
    )
    receivers = read_receivers(load(WebhookSettings, webhooks_file=str(file)))
    sender = Post(harness, list(receivers.values()), hosts_of(receiver))
    changed = harness.jobs.accept(replace(harness.new("update_volume"), volume="vol"))[1]
    harness.node().carry_out(changed)
    end_one(harness, operation="create_policy")
    stopped = harness.accept("delete_snapshot")
    harness.jobs.cancel(stopped, "ann")
    sender.work()
    assert sorted((hook.body["data"]["id"], hook.body["type"]) for hook in receiver.hooks) == [
        (changed, "job.succeeded"), (stopped, "job.cancelled"),
    ]  # fmt: skip


def test_two_processes_make_a_delivery_once(harness: Harness, receiver: HookReceiver):
    hook = Receiver("one", receiver.url, SECRET)
    first, second = Post(harness, [hook], hosts_of(receiver)), Post(harness, [hook], hosts_of(receiver))
    end_one(harness)
    first.work()
    second.work()
    assert receiver.attempts == 1


def test_a_failed_delivery_is_retried_with_the_same_id(harness: Harness, receiver: HookReceiver):
    ids: list[str] = []
    take = receiver.take

    def noting(headers: dict[str, str], body: bytes) -> int:
        ids.append(headers["webhook-id"])
        return take(headers, body)

    receiver.take = noting  # type: ignore[method-assign]
    receiver.answer = lambda attempt: 503 if attempt < 4 else 200
    sender = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    end_one(harness)
    until(partial(_worked, sender, receiver))
    assert receiver.attempts == 4
    assert len(set(ids)) == 1
    assert harness.client.keys(f"{PREFIX}webhook:*") == []


def test_the_delivery_of_a_killed_worker_is_sent_by_another(harness: Harness, receiver: HookReceiver, monkeypatch: Any):
    monkeypatch.setattr(outbox_module, "_LEASE_MS", 1)
    killed = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    end_one(harness)
    killed.dispatcher.dispatch(1)
    killed.dispatcher.publish_due()
    assert len(killed.published) == 1
    other = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    until(partial(_worked, other, receiver))


def test_an_unavailable_receiver_is_tried_once_at_a_time_and_delays_no_other(harness: Harness, receiver: HookReceiver):
    gone = HookReceiver()
    gone.close()
    receivers = [Receiver("gone", gone.url, SECRET), Receiver("here", receiver.url, SECRET)]
    sender = Post(harness, receivers, hosts_of(receiver, gone))
    jobs = [end_one(harness) for _ in range(10)]
    sender.work()
    assert [hook.body["data"]["id"] for hook in receiver.hooks] == jobs
    assert harness.client.zcard(f"{PREFIX}webhook_due:gone") == 10
    until(lambda: sender.outbox.take("gone", is_configured=True))
    assert sender.outbox.take("gone", is_configured=True) == []
    assert int(harness.client.hget(f"{PREFIX}webhook_state:gone", "failures") or 0) >= 1


def test_a_delivery_that_fails_for_a_day_is_given_up(harness: Harness, receiver: HookReceiver, monkeypatch: Any):
    monkeypatch.setattr(outbox_module, "_KEEP_MS", -1)
    receiver.answer = lambda _: 500
    sender = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    end_one(harness)
    sender.work()
    assert harness.client.keys(f"{PREFIX}webhook:*") == []
    assert harness.client.hget(f"{PREFIX}metrics", "webhook one given-up") == b"1"


def test_a_callback_reaches_the_client_of_the_job_only(harness: Harness, receiver: HookReceiver):
    sender = Post(harness, [], hosts_of(receiver))
    job_id = end_one(harness, callback=receiver.url)
    end_one(harness)
    sender.work()
    assert [hook.body["data"]["id"] for hook in receiver.hooks] == [job_id]
    # Hosts of callbacks are not remembered.
    assert sender.outbox.targets() == []


@pytest.mark.parametrize(("hosts", "secret"), [("", SECRET), ("other.example", SECRET)])
def test_a_callback_that_is_not_allowed_any_more_is_not_sent(
    harness: Harness, receiver: HookReceiver, hosts: str, secret: str
):
    sender = Post(harness, [], hosts, secret=secret)
    end_one(harness, callback=receiver.url)
    sender.work()
    assert receiver.attempts == 0


def test_no_secret_is_in_redis(harness: Harness, receiver: HookReceiver):
    receiver.answer = lambda _: 500
    sender = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    end_one(harness)
    sender.work()
    texts = [harness.client.dump(key) or b"" for key in harness.client.keys("*")]
    assert len(texts) > 5
    assert not any(SECRET.removeprefix("whsec_").encode() in text for text in texts)


# --- what a receiver may answer


def test_redirects_are_not_followed(harness: Harness, receiver: HookReceiver):
    receiver.answer = lambda _: 302
    sender = Post(harness, [Receiver("one", receiver.url, SECRET)], hosts_of(receiver))
    end_one(harness)
    sender.work()
    assert set(receiver.paths) == {"/hook?a=1"}
    assert harness.client.hget(f"{PREFIX}webhook_state:one", "last_error") == b"it answered 302"


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x" * 20_000]
)
def test_a_slow_or_malformed_response_times_out(words: bytes, monkeypatch: Any):
    # Its delivery's lease is longer.
    assert sending.TIMEOUT_S * 1000 == outbox_module._LEASE_MS / 2
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connections: list[socket.socket] = []

        def serve() -> None:
            connection, _ = server.accept()
            connections.append(connection)
            connection.sendall(words)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(NotSent):
            post(f"http://127.0.0.1:{port}/", b"{}", {}, CallbackHosts(f"http://127.0.0.1:{port}"))
        for connection in connections:
            connection.close()


def _worked(sender: Post, receiver: HookReceiver) -> bool:
    sender.work()
    return bool(receiver.hooks)


def until(so: Any) -> None:
    deadline = time.monotonic() + 20
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
