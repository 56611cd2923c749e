"""Slots of a queue, and the messages for idle ones."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.redis_clock import redis_now_ms
from worker.catalog.operations import QueueClass
from worker.config.settings import load
from worker.execution.runner import Slots
from worker.jobs.record import State
from worker.messaging.app import create_celery
from worker.messaging.messages import TaskMessage
from worker.messaging.publisher import TaskPublisher


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def test_the_number_of_slots_of_a_queue_is_limited(harness: Harness):
    slots, queue = Slots(harness.settings), f"{SUBSYSTEM}.write"
    taken = [slots.take(queue, QueueClass.WRITE) for _ in range(200)]
    assert sum(taken) == harness.settings.write_slots
    # Other messages were dropped: slots that become free claim their jobs before they are released.
    assert [slots.free(queue) for _ in range(harness.settings.write_slots)] == [False] * harness.settings.write_slots
    assert slots.free_slots(queue) == 0
    assert slots.free(queue)
    assert slots.free_slots(queue) == 1


def _queue_of_messages(harness: Harness) -> list[str]:
    """The ids of the jobs that have a message."""
    messages: Any = harness.client.lrange(f"{PREFIX}celery:{SUBSYSTEM}.write", 0, -1)
    return [json.loads(text)["headers"]["id"] for text in messages]


def test_no_message_is_sent_for_a_job_that_finds_every_slot_busy(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    message = json.dumps({"headers": {"id": "{}"}})
    monkeypatch.setattr(
        harness.publisher, "message_for", lambda message_of: message.replace("{}", message_of.job_id), raising=False
    )
    harness.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 2})
    accepted = [harness.accept("create_volume", volume=f"v{n}") for n in range(5)]
    assert sorted(_queue_of_messages(harness)) == sorted(accepted[:2])
    assert [job_id for job_id in accepted if harness.field(job_id, "dispatched_at")] == accepted[:2]
    # A slot that takes its message can take no other.
    harness.client.delete(f"{PREFIX}celery:{SUBSYSTEM}.write")
    node = harness.node()
    leases = [node.claim(job_id) for job_id in accepted[:2]]
    harness.accept("create_volume", volume="late")
    assert _queue_of_messages(harness) == []
    for lease in leases:
        node.executor.execute(lease)
    sent = harness.accept("create_volume", volume="later")
    assert _queue_of_messages(harness) == [sent]


def test_an_end_sends_no_more_messages_than_there_are_idle_slots(harness: Harness, node: Node):
    harness.scripts.worker_heartbeat("node", {f"{SUBSYSTEM}.write": 1})
    clone = node.claim(harness.accept("clone_volume"))
    behind = [harness.accept("update_volume", volume=name, percentage_snapshot_reserve=1) for name in ("vol", "copy")]
    harness.publisher.take()
    node.executor.execute(clone)
    sent = [message.job_id for message in harness.publisher.take()]
    assert len(sent) == 1
    assert [job_id for job_id in behind if harness.field(job_id, "dispatched_at")] == sent


def test_the_slot_of_a_job_that_ends_gets_the_next_runnable_one_in_the_same_step(harness: Harness, node: Node):
    first = harness.accept("create_volume", volume="vol1")
    behind = harness.accept("update_volume", volume="held", percentage_snapshot_reserve=1)
    blocked = harness.accept("update_volume", volume="held", percentage_snapshot_reserve=2)
    free = harness.accept("create_volume", volume="vol2")
    lease, blocking = node.claim(first), node.claim(behind)
    lease.claims_next = lambda: True
    node.executor.execute(lease)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == free
    assert harness.job(free).state is State.RUNNING
    assert harness.job(blocked).state is State.QUEUED
    assert blocking.next_lease is None


@pytest.mark.parametrize("are_busy", [False, True])
def test_a_job_whose_message_is_in_transit_is_left_to_idle_slots_where_there_are_any(
    harness: Harness, node: Node, *, are_busy: bool
):
    lease = node.claim(harness.accept("create_volume", volume="vol1"))
    in_transit = harness.accept("create_volume", volume="vol2")
    harness.client.hset(f"{PREFIX}job:{in_transit}", "dispatched_at", redis_now_ms(harness.client))
    harness.client.delete(f"{PREFIX}celery:{SUBSYSTEM}.write")
    if are_busy:
        harness.client.lpush(f"{PREFIX}celery:{SUBSYSTEM}.write", "a message that no slot has taken")
    lease.claims_next = lambda: False
    node.executor.execute(lease)
    assert [lease.next_lease.job_id if lease.next_lease else None] == [in_transit if are_busy else None]


@pytest.mark.parametrize("meanwhile", ["nothing", "taken", "cancelled"])
def test_a_next_job_whose_reply_was_lost_is_not_lost_and_not_begun_twice(harness: Harness, node: Node, meanwhile: str):
    first, second = harness.accept("create_volume", volume="vol1"), harness.accept("create_volume", volume="vol2")
    lease = node.claim(first)
    lease.claims_next = lambda: True
    finish, calls = harness.scripts.finish, 0

    def lose_the_first_reply(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = finish(*arguments)
        if calls == 1:
            harness.client.hset(f"{PREFIX}job:{second}", "lease", 1)
            if meanwhile == "taken":
                harness.client.hset(f"{PREFIX}job:{second}", "token", "of another worker")
            if meanwhile == "cancelled":
                harness.jobs.cancel(second, "ann")
            raise redis.ConnectionError("lost")
        return answer

    node.scripts = harness.scripts
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(node.claims._scripts, "finish", lose_the_first_reply)
        node.executor.execute(lease)
    assert calls == 2
    begun = [lease.next_lease.job_id] if lease.next_lease else []
    assert begun == ([second] if meanwhile == "nothing" else [])
    assert [renewed.job_id for renewed in node.lease_renewer.leases()] == begun
    assert (int(harness.field(second, "lease")) > redis_now_ms(harness.client)) is (meanwhile == "nothing")


def test_free_slots_find_runnable_jobs_far_behind_in_the_queue(harness: Harness, node: Node):
    for _ in range(150):
        harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=1)
    other = harness.accept("create_volume", volume="other")
    harness.publisher.take()
    node.fill()
    assert other in [message.job_id for message in harness.publisher.take()]
    node.fill()
    assert harness.publisher.take() == []


def test_an_unavailable_broker_delays_no_request(harness: Harness):
    settings = load(type(harness.settings), SAPI_DEBUG=True, broker_url="amqp://127.0.0.1:1//")
    publisher = TaskPublisher(create_celery(settings), limit=10)
    submitting = threading.Thread(
        target=publisher.publish_soon,
        args=([TaskMessage(str(n), f"{SUBSYSTEM}.write", "create_volume") for n in range(100)],),
        daemon=True,
    )
    submitting.start()
    submitting.join(timeout=20)
    assert not submitting.is_alive()
    publisher.close(timeout_s=0.1)
