"""What a worker's claims hold: time limits, delays, messages, and what a shutdown changes."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.worker.bench import PREFIX, SUBSYSTEM, Bench, CountedScripts, Node
from worker.execution import claims
from worker.execution.claims import Completion, grace_ms
from worker.execution.lease import Lease
from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.store.results import ClaimResult

_TRACEPARENT = f"00-{1:032x}-{2:016x}-01"
_WRITE = f"{SUBSYSTEM}.write"
_DONE = Completion(State.SUCCEEDED, result=b"null")


def _now_ms(bench: Bench) -> int:
    seconds, micros = bench.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_the_grace_time_is_a_third_of_the_lease_and_at_most_five_seconds():
    assert [grace_ms(lease_s) for lease_s in (3, 9, 15, 40)] == [1000, 3000, 5000, 5000]


def test_the_time_limit_of_a_lease_depends_on_the_kind_of_its_job(bench: Bench):
    settings = bench.settings
    for operation, limit_s in (("create_volume", settings.change_timeout), ("list_volumes", settings.read_timeout)):
        sent_at = time.monotonic()
        lease = bench.node().claim(bench.accept(operation))
        assert sent_at + limit_s <= lease.limit_at <= time.monotonic() + limit_s


def test_a_lease_counts_from_when_its_claim_was_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def answer_late(what: str) -> None:
        clock.now += 5.0 * what.startswith("after")

    node = bench.node(scripts=CountedScripts(bench.scripts, answer_late))
    ids = [bench.accept("create_volume", volume=volume) for volume in ("a", "b", "c")]
    first = node.claim(ids[0])
    second = node.claims.claim_next(_WRITE)
    assert second is not None
    second.claims_next = lambda: True
    assert node.claims.complete(second, _DONE)
    third = second.next_lease
    assert third is not None
    taken_over = node.claims.take_over(ids[2], third.token)
    assert taken_over is not None
    sent_at = [lease.limit_at - bench.settings.change_timeout for lease in (first, second, third, taken_over[0])]
    assert sent_at == [1000.0, 1005.0, 1010.0, 1015.0]


def test_a_job_in_doubt_is_taken_over_only_by_the_worker_that_was_given_it(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume"))
    assert node.claims.take_over(lease.job_id, "another") is None
    assert node.lease_renewer.leases() == [lease]


def _behind_a_path(bench: Bench) -> tuple[Node, Lease, str]:
    """A worker with a change by path that is not resolved yet, and a job that waits for that."""
    by_path = bench.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    behind = bench.accept("update_volume", volume="out", percentage_snapshot_reserve=1)
    node = bench.node()
    assert node.claims.claim(behind) is ClaimResult.BLOCKED
    lease = node.claim(by_path)
    bench.publisher.take()
    return node, lease, behind


def test_a_change_whose_path_is_resolved_wakes_the_jobs_that_waited_for_that(bench: Bench):
    node, lease, behind = _behind_a_path(bench)
    assert node.claims.join_ordering(lease, ["volume:vol"], {})
    assert [message.job_id for message in bench.publisher.take()] == [behind]
    assert not bench.client.exists(f"{PREFIX}barrier:{SUBSYSTEM}")
    assert node.lease_renewer.leases() == [lease]


def test_a_change_begins_when_its_path_is_resolved(bench: Bench):
    """Before, earlier changes of the same volume may have been running."""
    node, lease, _ = _behind_a_path(bench)
    bench.client.hset(f"{PREFIX}job:{lease.job_id}", "started", 1)
    before_ms = _now_ms(bench)
    assert node.claims.join_ordering(lease, ["volume:vol"], {})
    assert before_ms <= (bench.job(lease.job_id).started_ms or 0) <= _now_ms(bench)


def test_a_change_that_ends_before_its_path_is_resolved_wakes_them_too(bench: Bench):
    node, lease, behind = _behind_a_path(bench)
    node.claims.complete(lease, Completion(State.FAILED, Failure("no-such-volume", "There is none.")))
    assert [message.job_id for message in bench.publisher.take()] == [behind]


def test_a_change_that_must_wait_for_its_volume_is_not_renewed(bench: Bench):
    node = bench.node()
    other = node.claim(bench.accept("update_volume", volume="vol", percentage_snapshot_reserve=1))
    lease = node.claim(bench.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1))
    assert not node.claims.join_ordering(lease, ["volume:vol"], {})
    assert node.lease_renewer.leases() == [other]


def test_a_job_that_is_returned_keeps_its_trace(bench: Bench):
    _, job_id, _ = bench.jobs.accept(replace(bench.new("create_volume"), traceparent=_TRACEPARENT))
    node = bench.node()
    lease = node.claim(job_id)
    bench.publisher.take()
    node.claims.requeue(lease, 0)
    assert [message.traceparent for message in bench.publisher.take()] == [_TRACEPARENT]
    # Before its delay is over no worker could claim it.
    node.claims.requeue(node.claim(job_id), 60)
    assert bench.publisher.take() == []


def test_an_in_doubt_change_is_looked_at_again_after_its_delay(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume"))
    lease.record_intent("create_volume")
    node.claims.hand_over(lease, "", 30.0)
    due: Any = bench.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", lease.job_id)
    assert 20_000 < due - _now_ms(bench) <= 30_000
    assert node.sweep() == ([], [])


def test_a_job_of_a_newer_version_is_returned_and_does_not_count_as_an_attempt(bench: Bench):
    job_id = bench.accept("create_volume")
    bench.client.hset(f"{PREFIX}job:{job_id}", "operation", "of_the_future")
    assert bench.node().claims.claim(job_id) is ClaimResult.UNKNOWN
    assert (bench.field(job_id, "state"), bench.field(job_id, "attempt")) == ("queued", "0")
    assert bench.node().claims.claim(job_id) is ClaimResult.LATER


def test_a_result_is_kept_as_configured(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume"))
    assert node.claims.complete(lease, _DONE)
    ttl_ms, keep_ms = bench.client.pttl(f"{PREFIX}result:{lease.job_id}"), bench.settings.result_keep * 1000
    assert keep_ms - 60_000 < ttl_ms <= keep_ms
    assert bench.settings.result_keep < bench.settings.job_keep


def test_a_slot_with_a_next_job_does_not_wait(bench: Bench):
    node = bench.node()
    leases = [node.claim(bench.accept("create_volume", volume=volume)) for volume in ("a", "b")]
    waiting = bench.accept("create_volume", volume="c")
    for lease in leases:
        lease.claims_next = lambda: True
        assert node.claims.complete(lease, _DONE)
    assert leases[0].next_lease is not None
    assert (leases[0].next_lease.job_id, leases[0].waiting_slot) == (waiting, None)
    assert leases[1].next_lease is None
    assert leases[1].waiting_slot is not None


def test_a_slot_waits_from_when_the_end_of_its_job_was_first_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    node, finish, clock = bench.node(), bench.scripts.finish, [1000.0]
    lease = node.claim(bench.accept("create_volume"))
    lease.claims_next = lambda: True

    def late(*arguments: Any) -> Any:
        clock[0] += 10
        if clock[0] < 1015:
            raise redis.ConnectionError("the reply was lost")
        return finish(*arguments)

    monkeypatch.setattr(bench.scripts, "finish", late)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None))
    assert node.claims.complete(lease, _DONE)
    assert lease.waiting_slot is not None
    assert lease.waiting_slot.since == 1000


def test_the_lease_of_a_next_job_begins_anew_where_the_answer_was_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    node, finish = bench.node(), bench.scripts.finish
    lease, waiting = (node.claim(bench.accept("create_volume", volume="a")), bench.accept("create_volume", volume="b"))
    lease.claims_next = lambda: True
    lost = iter([True, False])

    def lossy(*arguments: Any) -> Any:
        answer = finish(*arguments)
        if next(lost):
            bench.client.hset(f"{PREFIX}job:{waiting}", "lease", "1")
            raise redis.ConnectionError("the reply was lost")
        return answer

    monkeypatch.setattr(bench.scripts, "finish", lossy)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None))
    assert node.claims.complete(lease, _DONE)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == waiting
    now_ms, lease_ms = bench.client.time()[0] * 1000, bench.settings.lease * 1000
    assert 0 < int(bench.field(waiting, "lease")) - now_ms <= lease_ms + 1000


def test_the_end_of_a_member_claims_the_next_one_of_its_batch(bench: Bench):
    batch_id = bench.accept_batch(*[bench.new("create_volume", volume=volume) for volume in "ab"], parallel=1)
    first, second = bench.members(batch_id)
    node = bench.node()
    lease = node.claim(first.id)
    lease.claims_next = lambda: False
    assert node.claims.complete(lease, _DONE)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == second.id


def test_a_worker_that_shuts_down_claims_nothing_with_the_end_of_a_job(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume", volume="a"))
    waiting = bench.accept("create_volume", volume="b")
    lease.claims_next = lambda: True
    node.drain.set()
    assert node.claims.complete(lease, _DONE)
    assert (lease.next_lease, lease.waiting_slot) == (None, None)
    assert bench.job(waiting).state is State.QUEUED


def test_a_worker_that_shuts_down_does_not_wait_long_for_redis(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    node, calls = bench.node(), list[str]()
    lease = node.claim(bench.accept("create_volume"))

    def unavailable(job_id: str, *_: Any) -> None:
        calls.append(job_id)
        if len(calls) < 4:
            raise redis.ConnectionError("away")
        pytest.fail("it went on")

    monkeypatch.setattr(bench.scripts, "finish", unavailable)
    monkeypatch.setattr(claims, "_COMPLETE_DRAINING_TIMEOUT_S", 0.0)
    node.drain.set()
    assert not node.claims.complete(lease, _DONE)
    assert calls == [lease.job_id]
