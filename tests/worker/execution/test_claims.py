"""What a worker's claims hold: time limits, delays, messages, and what a shutdown changes."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.worker.counted_calls import CountedScripts
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from worker.execution import claims
from worker.execution.claims import Completion, grace_ms
from worker.execution.lease import Lease
from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.messaging.messages import TaskMessage
from worker.store.results import ClaimResult

_TRACEPARENT = f"00-{1:032x}-{2:016x}-01"
_WRITE = f"{SUBSYSTEM}.write"
_DONE = Completion(State.SUCCEEDED, result=b"null")


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_the_grace_time_is_a_third_of_the_lease_and_at_most_five_seconds():
    assert [grace_ms(lease_s) for lease_s in (3, 9, 15, 40)] == [1000, 3000, 5000, 5000]


def test_the_time_limit_of_a_lease_depends_on_the_kind_of_its_job(harness: Harness):
    settings = harness.settings
    for operation, limit_s in (("create_volume", settings.change_timeout), ("list_volumes", settings.read_timeout)):
        sent_at = time.monotonic()
        lease = harness.node().claim(harness.accept(operation))
        assert sent_at + limit_s <= lease.limit_at <= time.monotonic() + limit_s


def test_a_lease_counts_from_when_its_claim_was_sent(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def answer_late(what: str) -> None:
        clock.now += 5.0 * what.startswith("after")

    node = harness.node(scripts=CountedScripts(harness.scripts, answer_late))
    ids = [harness.accept("create_volume", volume=volume) for volume in ("a", "b", "c")]
    first = node.claim(ids[0])
    second = node.claims.claim_next(_WRITE)
    assert second is not None
    second.claims_next = lambda: True
    assert node.claims.complete(second, _DONE)
    third = second.next_lease
    assert third is not None
    taken_over = node.claims.take_over(ids[2], third.token)
    assert taken_over is not None
    sent_at = [lease.limit_at - harness.settings.change_timeout for lease in (first, second, third, taken_over[0])]
    assert sent_at == [1000.0, 1005.0, 1010.0, 1015.0]


def test_a_claim_lasts_for_the_lease_and_a_run_for_the_time_limit_of_its_kind(harness: Harness):
    settings, before_ms = harness.settings, _now_ms(harness)
    for operation, limit_s in (("create_volume", settings.change_timeout), ("list_volumes", settings.read_timeout)):
        job_id = harness.node().claim(harness.accept(operation)).job_id
        times_ms = [int(harness.field(job_id, name)) - before_ms for name in ("lease", "deadline")]
        passed_ms = _now_ms(harness) - before_ms
        for time_ms, lasts_s in zip(times_ms, (settings.lease, limit_s), strict=True):
            assert 0 <= time_ms - lasts_s * 1000 <= passed_ms


def test_a_job_in_doubt_is_taken_over_only_by_the_worker_that_was_given_it(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    assert node.claims.take_over(lease.job_id, "another") is None
    assert node.claims.take_over("no record of it is left", "another") is None
    assert node.lease_renewer.leases() == [lease]


def _behind_a_path(harness: Harness) -> tuple[Node, Lease, str]:
    """A worker with a change by path that is not resolved yet, and a job that waits for that."""
    by_path = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    behind = harness.accept("update_volume", volume="out", percentage_snapshot_reserve=1)
    node = harness.node()
    assert node.claims.claim(behind) is ClaimResult.BLOCKED
    lease = node.claim(by_path)
    harness.publisher.take()
    return node, lease, behind


def test_resolving_the_path_of_a_change_publishes_waiting_jobs(harness: Harness):
    node, lease, behind = _behind_a_path(harness)
    assert node.claims.join_ordering(lease, ["volume:vol"], {})
    assert [message.job_id for message in harness.publisher.take()] == [behind]
    assert not harness.client.exists(f"{PREFIX}barrier:{SUBSYSTEM}")
    assert node.lease_renewer.leases() == [lease]


def test_a_change_begins_when_its_path_is_resolved(harness: Harness):
    """Before, earlier changes of the same volume may have been running."""
    node, lease, _ = _behind_a_path(harness)
    harness.client.hset(f"{PREFIX}job:{lease.job_id}", "started", 1)
    before_ms = _now_ms(harness)
    assert node.claims.join_ordering(lease, ["volume:vol"], {})
    assert before_ms <= (harness.job(lease.job_id).started_ms or 0) <= _now_ms(harness)


def test_ending_a_change_with_an_unresolved_path_publishes_waiting_jobs(harness: Harness):
    node, lease, behind = _behind_a_path(harness)
    node.claims.complete(lease, Completion(State.FAILED, Failure("no-such-volume", "There is none.")))
    assert [message.job_id for message in harness.publisher.take()] == [behind]


def test_a_change_that_must_wait_for_its_volume_is_not_renewed(harness: Harness):
    node = harness.node()
    other = node.claim(harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=1))
    lease = node.claim(harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1))
    assert not node.claims.join_ordering(lease, ["volume:vol"], {})
    assert node.lease_renewer.leases() == [other]


def test_the_message_of_a_job_that_is_returned_is_as_the_first_one(harness: Harness):
    _, job_id, _ = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=_TRACEPARENT))
    node = harness.node()
    lease = node.claim(job_id)
    first = harness.publisher.take()
    node.claims.requeue(lease, 0)
    assert harness.publisher.take() == first == [TaskMessage(job_id, _WRITE, "create_volume", _TRACEPARENT)]
    # Before its delay is over no worker could claim it.
    node.claims.requeue(node.claim(job_id), 60)
    assert harness.publisher.take() == []


def test_a_job_that_another_worker_has_is_not_returned(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    harness.client.hset(f"{PREFIX}job:{lease.job_id}", "token", "another")
    harness.publisher.take()
    node.claims.requeue(lease, 0)
    assert (harness.job(lease.job_id).state, harness.publisher.take()) == (State.RUNNING, [])


def test_an_in_doubt_change_is_reconciled_again_after_its_delay(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    lease.record_intent("create_volume")
    node.claims.hand_over(lease, "", 30.0)
    due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", lease.job_id)
    assert 20_000 < due - _now_ms(harness) <= 30_000
    assert node.sweep() == ([], [])


def test_a_job_of_a_newer_version_is_returned_and_does_not_count_as_an_attempt(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.client.hset(f"{PREFIX}job:{job_id}", "operation", "of_the_future")
    assert harness.node().claims.claim(job_id) is ClaimResult.UNKNOWN
    assert (harness.field(job_id, "state"), harness.field(job_id, "attempt")) == ("queued", "0")
    assert harness.node().claims.claim(job_id) is ClaimResult.LATER
    harness.client.hset(f"{PREFIX}job:{job_id}", "operation", "create_volume")
    assert [(attempt.code, attempt.retry_in_ms) for attempt in harness.job(job_id).attempts] == [("wrong-worker", 5000)]


def test_a_result_expires_as_configured(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    assert node.claims.complete(lease, _DONE)
    ttl_ms, keep_ms = harness.client.pttl(f"{PREFIX}result:{lease.job_id}"), harness.settings.result_keep * 1000
    assert keep_ms - 60_000 < ttl_ms <= keep_ms
    assert harness.settings.result_keep < harness.settings.job_keep


def test_a_slot_with_a_next_job_does_not_wait(harness: Harness):
    node = harness.node()
    leases = [node.claim(harness.accept("create_volume", volume=volume)) for volume in ("a", "b")]
    waiting = harness.accept("create_volume", volume="c")
    for lease in leases:
        lease.claims_next = lambda: True
        assert node.claims.complete(lease, _DONE)
    assert leases[0].next_lease is not None
    assert (leases[0].next_lease.job_id, leases[0].waiting_slot) == (waiting, None)
    assert leases[1].next_lease is None
    assert leases[1].waiting_slot is not None


def test_a_slot_waits_from_when_the_end_of_its_job_was_first_sent(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    node, finish, clock, pauses_s = harness.node(), harness.scripts.finish, [1000.0], list[float]()
    lease = node.claim(harness.accept("create_volume"))
    lease.claims_next = lambda: True

    def late(*arguments: Any) -> Any:
        clock[0] += 10
        if clock[0] < 1015:
            raise redis.ConnectionError("the reply was lost")
        return finish(*arguments)

    monkeypatch.setattr(harness.scripts, "finish", late)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=pauses_s.append))
    assert node.claims.complete(lease, _DONE)
    assert lease.waiting_slot is not None
    assert (lease.waiting_slot.since, pauses_s) == (1000, [0.3])


def test_the_lease_of_a_next_job_is_renewed_when_the_answer_was_lost(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    node, finish = harness.node(), harness.scripts.finish
    lease, waiting = (
        node.claim(harness.accept("create_volume", volume="a")),
        harness.accept("create_volume", volume="b"),
    )
    lease.claims_next = lambda: True
    lost = iter([True, False])

    def lossy(*arguments: Any) -> Any:
        answer = finish(*arguments)
        if next(lost):
            harness.client.hset(f"{PREFIX}job:{waiting}", "lease", "1")
            raise redis.ConnectionError("the reply was lost")
        return answer

    monkeypatch.setattr(harness.scripts, "finish", lossy)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None))
    assert node.claims.complete(lease, _DONE)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == waiting
    now_ms, lease_ms = harness.client.time()[0] * 1000, harness.settings.lease * 1000
    assert 0 < int(harness.field(waiting, "lease")) - now_ms <= lease_ms + 1000


def test_an_end_whose_answer_was_lost_while_nothing_waited_is_an_end(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    node, finish, lost = harness.node(), harness.scripts.finish, iter([True, False])
    lease = node.claim(harness.accept("create_volume"))
    lease.claims_next = lambda: True

    def lossy(*arguments: Any) -> Any:
        answer = finish(*arguments)
        if next(lost):
            raise redis.ConnectionError("the reply was lost")
        return answer

    monkeypatch.setattr(harness.scripts, "finish", lossy)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None))
    assert node.claims.complete(lease, _DONE)
    assert lease.next_lease is None
    assert lease.waiting_slot is not None


def test_the_end_of_a_member_claims_the_next_one_of_its_batch(harness: Harness):
    batch_id = harness.accept_batch(*[harness.new("create_volume", volume=volume) for volume in "ab"], parallel=1)
    first, second = harness.members(batch_id)
    node = harness.node()
    lease = node.claim(first.id)
    lease.claims_next = lambda: False
    assert node.claims.complete(lease, _DONE)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == second.id


def test_a_worker_that_shuts_down_claims_nothing_with_the_end_of_a_job(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume", volume="a"))
    waiting = harness.accept("create_volume", volume="b")
    lease.claims_next = lambda: True
    node.drain.set()
    assert node.claims.complete(lease, _DONE)
    assert (lease.next_lease, lease.waiting_slot) == (None, None)
    assert harness.job(waiting).state is State.QUEUED


def test_a_worker_that_shuts_down_does_not_wait_long_for_redis(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    node, calls = harness.node(), list[str]()
    lease = node.claim(harness.accept("create_volume"))

    def unavailable(job_id: str, *_: Any) -> None:
        calls.append(job_id)
        if len(calls) < 4:
            raise redis.ConnectionError("away")
        pytest.fail("it went on")

    monkeypatch.setattr(harness.scripts, "finish", unavailable)
    monkeypatch.setattr(claims, "_COMPLETE_DRAINING_TIMEOUT_S", 0.0)
    node.drain.set()
    assert not node.claims.complete(lease, _DONE)
    assert calls == [lease.job_id]
