"""Slots that wait for the next job of their queue: it is claimed for one of them by the step that makes it runnable."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from worker.execution import claims
from worker.execution.lease import Lease, WaitingSlot
from worker.jobs.event_log import BEGINNING, EventLog
from worker.jobs.ids import JobIds
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import Jobs

_WAITING = f"{PREFIX}waiting_slots:{SUBSYSTEM}.write"


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def _waiting(node: Node, volume: str = "first") -> WaitingSlot:
    """The slot of a job that has ended, entered for the longest time, so that a slow test does not outlast it."""
    harness, before = node.harness, set(_entered(node.harness))
    lease = node.claim(harness.accept("create_volume", volume=volume))
    harness.publisher.take()
    lease.claims_next = lambda: False
    node.executor.execute(lease)
    assert lease.next_lease is None
    assert lease.waiting_slot is not None
    assert harness.client.pttl(_WAITING) != -1
    (new,) = set(_entered(harness)) - before
    _enter(harness, new, until_ms=_now_ms(harness) + 1000)
    return lease.waiting_slot


def _entered(harness: Harness) -> list[bytes]:
    slots: Any = harness.client.zrange(_WAITING, 0, -1)
    return list(slots)


def _enter(harness: Harness, slot: bytes, *, until_ms: int) -> None:
    harness.client.zadd(_WAITING, {slot: until_ms})
    harness.client.expire(_WAITING, 10)


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_a_slot_is_registered_as_long_as_it_waits(harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch):
    """A job that is claimed for it afterwards would begin only when its lease has expired."""
    lease = node.claim(harness.accept("create_volume"))
    lease.claims_next = lambda: False
    began_ms = _now_ms(harness)
    node.executor.execute(lease)
    entered: Any = harness.client.zrange(_WAITING, 0, -1, withscores=True)
    ((_, until_ms),) = entered
    left_ms, waits_s = until_ms - _now_ms(harness), list[float]()
    monkeypatch.setattr(node.scripts, "take_handed", lambda _token, wait_s: waits_s.append(wait_s))
    assert lease.waiting_slot is not None
    assert node.claims.await_next(lease.waiting_slot) is None
    assert left_ms <= waits_s[0] * 1000
    assert until_ms > began_ms


def test_a_new_job_is_claimed_for_a_slot_that_waits(harness: Harness, node: Node):
    slot = _waiting(node)
    job_id = harness.accept("create_volume", volume="next")
    assert harness.job(job_id).state is State.RUNNING
    assert harness.publisher.take() == []
    assert 5_000 < harness.client.pttl(f"{PREFIX}handed:{slot.token}") <= 10_000
    lease = node.claims.await_next(slot)
    assert lease is not None
    assert lease.job_id == job_id
    assert lease in node.lease_renewer.leases()
    node.executor.execute(lease)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.job(job_id).attempt == 1
    assert harness.effects()[job_id]
    assert not harness.leftovers()


def test_each_version_of_a_job_that_is_claimed_at_once_is_an_event(harness: Harness, node: Node):
    _waiting(node)
    job_id = harness.accept("create_volume", volume="next")
    logged = [event.status.job for event in EventLog(harness.client, PREFIX).read(BEGINNING, 1000) if event.status]
    versions = [(job.version, job.state) for job in logged if job.id == job_id]
    assert versions == [(1, State.QUEUED), (2, State.RUNNING)]


def test_the_submission_returns_a_job_that_is_running(harness: Harness, node: Node):
    slot = _waiting(node)
    _, job_id, status = harness.jobs.accept(harness.new("create_volume", volume="next"))
    assert status is not None
    assert (status.job.id, status.job.state) == (job_id, State.RUNNING)
    lease = node.claims.await_next(slot)
    assert lease is not None
    assert _newest(harness, State.RUNNING) == job_id
    node.executor.execute(lease)
    assert _newest(harness, State.SUCCEEDED) == job_id


def _newest(harness: Harness, state: State) -> str:
    """The newest job in a state, as lists of jobs have it."""
    (job, *_), _ = harness.jobs.find(JobFilter(states=(state,)), JobScope(everybody=True), 1)
    return job.job.id


def test_a_slot_gets_one_job(harness: Harness, node: Node):
    slot = _waiting(node)
    claimed, other = harness.accept("create_volume", volume="a"), harness.accept("create_volume", volume="b")
    assert [harness.job(job_id).state for job_id in (claimed, other)] == [State.RUNNING, State.QUEUED]
    assert [message.job_id for message in harness.publisher.take()] == [other]
    lease = node.claims.await_next(slot)
    assert lease is not None
    assert lease.job_id == claimed


@pytest.mark.parametrize("left_ms", [0, 3_600_000])
def test_a_slot_that_waits_no_longer_gets_nothing(harness: Harness, node: Node, left_ms: int):
    """Or that seems to wait for an hour, because the clock was set back."""
    _waiting(node)
    _enter(harness, _entered(harness)[0], until_ms=_now_ms(harness) + left_ms)
    job_id = harness.accept("create_volume", volume="next")
    assert harness.job(job_id).state is State.QUEUED
    assert [message.job_id for message in harness.publisher.take()] == [job_id]


def test_changes_of_a_volume_keep_their_order(harness: Harness, node: Node):
    slot = _waiting(node)
    running = node.claim(_without_slots(harness, "update_volume", volume="vol", percentage_snapshot_reserve=1))
    behind = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    assert harness.job(behind).state is State.QUEUED
    assert len(_entered(harness)) == 1
    harness.publisher.take()
    # With the end of the one before it goes to the slot that waits.
    node.executor.execute(running)
    assert harness.job(behind).state is State.RUNNING
    assert harness.publisher.take() == []
    lease = node.claims.await_next(slot)
    assert lease is not None
    assert lease.job_id == behind


def test_a_job_that_the_slot_of_the_one_before_has_claimed_is_given_to_no_other(harness: Harness, node: Node):
    _waiting(node)
    running = node.claim(_without_slots(harness, "update_volume", volume="vol", percentage_snapshot_reserve=1))
    behind = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    harness.publisher.take()
    running.claims_next = lambda: False
    node.executor.execute(running)
    assert running.next_lease is not None
    assert (running.next_lease.job_id, harness.job(behind).attempt) == (behind, 1)
    assert len(_entered(harness)) == 1
    assert harness.publisher.take() == []


def _without_slots(harness: Harness, operation: str, **arguments: Any) -> str:
    """Accept a job while no slot waits."""
    (slot,) = _entered(harness)
    harness.client.delete(_WAITING)
    job_id = harness.accept(operation, **arguments)
    _enter(harness, slot, until_ms=_now_ms(harness) + 1000)
    return job_id


def test_members_of_a_batch_begin_only_when_they_are_released(harness: Harness, node: Node):
    first = node.claim(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=1))
    others = [harness.new("create_volume", volume=name) for name in ("a", "b")]
    batch_id = harness.accept_batch(
        *others, harness.new("update_volume", volume="vol", percentage_snapshot_reserve=2), parallel=2
    )
    _waiting(node)
    # It is at the head of its volume's order now.
    node.executor.execute(first)
    assert harness.members(batch_id)[2].state is State.QUEUED


def test_no_worker_begins_before_enough_replicas_have_the_job(harness: Harness, node: Node):
    _waiting(node)
    replicated = harness.settings.model_copy(update={"wait_replicas": 1})
    harness.jobs = Jobs(harness.client, harness.scripts, JobIds(b"secret"), harness.publisher, replicated)  # type: ignore[arg-type]
    job_id = harness.accept("create_volume", volume="next")
    assert harness.job(job_id).state is State.QUEUED


def test_a_job_claimed_during_an_outage_of_redis_is_found(
    harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch
):
    slot = _waiting(node)
    job_id = harness.accept("create_volume", volume="next")
    take, errors = harness.scripts.take_handed, iter([redis.ConnectionError("away")])
    pauses_s = list[float]()

    def fail_once(*arguments: Any) -> Any:
        for error in errors:
            raise error
        return take(*arguments)

    monkeypatch.setattr(harness.scripts, "take_handed", fail_once)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses_s.append))
    lease = node.claims.await_next(slot)
    assert lease is not None
    assert (lease.job_id, pauses_s) == (job_id, [0.3])


def test_a_slot_does_not_wait_long_for_a_redis_that_is_away(node: Node, monkeypatch: pytest.MonkeyPatch):
    pauses_s = list[float]()

    def away(*_: Any) -> None:
        assert len(pauses_s) < 100
        raise redis.ConnectionError("away")

    monkeypatch.setattr(node.scripts, "take_handed", away)
    clock = SimpleNamespace(monotonic=lambda: 1000.0 + sum(pauses_s), sleep=pauses_s.append)
    monkeypatch.setattr(claims, "time", clock)
    with capture_logs() as lines:
        assert node.claims.await_next(WaitingSlot("token", 1000.0)) is None
    assert 5 < sum(pauses_s) < 6
    assert [(line["event"], line["error"]) for line in lines] == [("slot.abandoned", "ConnectionError")]


def test_the_next_job_of_a_lost_worker_is_done_once_by_another(harness: Harness, node: Node):
    _waiting(node)
    job_id = harness.accept("create_volume", volume="next")
    assert harness.job(job_id).state is State.RUNNING
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.job(job_id).attempt == 2
    assert harness.effects()[job_id]


def test_a_worker_that_shuts_down_returns_the_job(harness: Harness, node: Node):
    slot = _waiting(node)
    job_id = harness.accept("create_volume", volume="next")
    node.drain.set()
    lease = node.claims.await_next(slot)
    assert lease is not None
    node.executor.execute(lease)
    assert harness.job(job_id).state is State.QUEUED
    assert harness.job(job_id).attempt == 0
    assert [message.job_id for message in harness.publisher.take()] == [job_id]
    assert node.lease_renewer.leases() == []


def test_a_lease_counts_from_before_the_slot_was_entered(harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr("worker.execution.claims.time.monotonic", lambda: clock[0])
    slot = _waiting(node)
    harness.accept("create_volume", volume="next")
    clock[0] += harness.settings.lease
    lease = node.claims.await_next(slot)
    assert isinstance(lease, Lease)
    assert lease.seconds_left == 0
