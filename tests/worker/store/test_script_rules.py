"""Rules of the scripts about one job: its place in the queue, its attempts, and who may end them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.store.redis_views import ids, in_state, score, snapshot, texts
from worker.catalog.operations import OPERATIONS
from worker.jobs.record import State
from worker.messaging.messages import TaskMessage

_WRITE = f"{SUBSYSTEM}.write"
_QUEUED = f"{PREFIX}queued:{_WRITE}"


# --- the order of a queue


def test_requesters_with_fewer_queued_jobs_come_first(harness: Harness):
    mine = [harness.jobs.accept(snapshot(harness, f"a{n}"))[1] for n in range(5)]
    other = harness.jobs.accept(snapshot(harness, "b", who="bob"))[1]
    # Each job that waits already counts as 64 later arrivals: bob's first is sixth to come, and ann's second 66th.
    assert ids(harness, _QUEUED) == [mine[0], other, *mine[1:]]
    status = harness.jobs.get(other)
    assert status is not None
    assert (status.position, status.behind) == (1, True)
    harness.node().claim(mine[0])
    after = harness.jobs.accept(snapshot(harness, "b2", who="bob"))[1]
    # What began does not count any more: bob has one waiting, as ann's second job had one before it.
    waiting = ids(harness, _QUEUED)
    assert waiting[:3] == [other, mine[1], after]
    # Sweeps leave each where it is.
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", dict.fromkeys(waiting, 1))
    harness.node().sweep()
    assert ids(harness, _QUEUED) == waiting


def test_a_job_that_is_put_off_is_in_its_queue_again_and_runs_nowhere(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    lease = node.claim(job_id)
    assert (ids(harness, _QUEUED), ids(harness, f"{PREFIX}running:{_WRITE}")) == ([], [job_id])
    assert "" not in (harness.field(job_id, "started"), harness.field(job_id, "token"))
    assert in_state(harness, State.QUEUED) == []
    harness.client.hset(f"{PREFIX}job:{job_id}", "updated", 1)
    node.claims.requeue(lease, 0)
    assert (ids(harness, _QUEUED), ids(harness, f"{PREFIX}running:{_WRITE}")) == ([job_id], [])
    assert abs(int(harness.field(job_id, "updated")) - redis_now_ms(harness.client)) < 10_000
    assert (harness.field(job_id, "started"), harness.field(job_id, "token")) == ("", "")
    assert (in_state(harness, State.QUEUED), in_state(harness, State.RUNNING)) == ([job_id], [])
    assert score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id) == int(harness.field(job_id, "not_before"))


def test_an_attempt_begins_with_nothing_of_the_one_before(harness: Harness):
    job_id = harness.accept("create_volume")
    former = dict.fromkeys(("stalled_since", "not_before", "waiting_reason", "step", "backend_job", "message"), "1")
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping=former)  # type: ignore[arg-type]
    harness.node().claim(job_id)
    assert {name: harness.field(job_id, name) for name in former} == dict.fromkeys(former, "")


def test_a_job_that_is_first_in_its_queue_may_be_behind_another(harness: Harness):
    harness.node().claim(harness.accept("create_snapshot", volume="vol", name="a"))
    behind, free = (
        harness.jobs.get(harness.accept("create_snapshot", volume=name, name="b")) for name in ("vol", "out")
    )
    assert behind is not None
    assert free is not None
    assert [(status.position, status.behind) for status in (behind, free)] == [(0, True), (1, True)]
    harness.client.delete(_QUEUED)
    alone = harness.jobs.get(harness.accept("create_snapshot", volume="third", name="b"))
    assert alone is not None
    assert (alone.position, alone.behind) == (0, False)


def test_a_sweep_restores_a_job_that_is_missing_in_its_queue(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.client.delete(_QUEUED)
    harness.let_time_pass()
    harness.node().sweep()
    assert ids(harness, _QUEUED) == [job_id]
    due = score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert 55_000 < due - redis_now_ms(harness.client) <= 60_000


def test_ended_and_deleted_jobs_are_not_checked_again(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().carry_out(job_id)
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1, "deleted-by-hand": 1})
    assert harness.node().sweep() == ([], [])
    assert ids(harness, f"{PREFIX}due:{SUBSYSTEM}") == []


def test_a_job_without_a_record_is_removed_from_the_queue(harness: Harness):
    harness.client.zadd(_QUEUED, {"deleted-by-hand": 1})
    job_id = harness.accept("create_volume")
    harness.publisher.take()
    harness.node().fill()
    assert ids(harness, _QUEUED) == [job_id]
    assert [message.job_id for message in harness.publisher.take()] == [job_id]
    harness.client.zadd(_QUEUED, {"deleted-by-hand": 0})
    assert harness.node().claims.claim_next(_WRITE) is not None
    assert ids(harness, _QUEUED) == []


def test_a_job_is_published_once_a_second_within_the_limit(harness: Harness):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(5)]
    # It is behind the first, and published with its end.
    harness.accept("update_volume", volume="v0", percentage_snapshot_reserve=1)
    # As many are looked at as was said, whether they were published or not.
    picked = [harness.scripts.pick_runnable(_WRITE, 3, scan) for scan in (100, 4, 100)]
    assert [[message[0].decode() for message in each] for each in picked] == [jobs[:3], jobs[3:4], jobs[4:]]
    assert harness.scripts.pick_runnable(_WRITE, 3, 100) == []
    for job_id, ago_ms in ((jobs[0], 900), (jobs[1], 1001), (jobs[2], -60_000)):
        harness.client.hset(f"{PREFIX}job:{job_id}", "dispatched_at", redis_now_ms(harness.client) - ago_ms)
    # One that seems to have been published in a minute was so before the clock was set back.
    found = harness.scripts.pick_runnable(_WRITE, 3, 100)
    assert [message[0].decode() for message in found] == [jobs[1], jobs[2]]
    later = {"dispatched_at": "", "not_before": str(redis_now_ms(harness.client) + 60_000)}
    harness.client.hset(f"{PREFIX}job:{jobs[0]}", mapping=later)  # type: ignore[arg-type]
    assert harness.scripts.pick_runnable(_WRITE, 3, 100) == []


# --- attempts


def test_the_first_failure_is_noted_once_and_an_attempt_that_does_not_count_is_taken_back(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    token = node.claim(job_id).token
    assert harness.scripts.requeue(job_id, token, 0, "retrying", ("code", "why"), counts=True) == "DONE"
    first = harness.field(job_id, "first_failure")
    assert abs(int(first) - redis_now_ms(harness.client)) < 10_000
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", int(first) - 5000)
    token = node.claim(job_id).token
    assert harness.field(job_id, "attempt") == "2"
    assert harness.scripts.requeue(job_id, token, 7000, "retrying", counts=False) == "DONE"
    assert (harness.field(job_id, "attempt"), harness.field(job_id, "message")) == ("1", "")
    assert harness.field(job_id, "first_failure") == str(int(first) - 5000)
    assert 5000 < int(harness.field(job_id, "not_before")) - redis_now_ms(harness.client) <= 7000
    assert len(json.loads(harness.field(job_id, "attempts"))) == 1
    # A sweep ends no delay, except one that seems to be of an hour since the clock was set back.
    for not_before, is_kept in (
        (harness.field(job_id, "not_before"), True),
        (str(redis_now_ms(harness.client) + 3_600_000), False),
    ):
        harness.client.hset(f"{PREFIX}job:{job_id}", "not_before", not_before)
        harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
        node.sweep()
        assert harness.field(job_id, "not_before") == (not_before if is_kept else "")


def test_a_job_that_is_returned_without_a_reason_has_not_failed(harness: Harness):
    job_id = harness.accept("create_volume")
    token = harness.node().claim(job_id).token
    harness.scripts.requeue(job_id, token, 0, "", counts=False)
    assert harness.field(job_id, "first_failure") == ""
    assert harness.field(job_id, "attempts") == ""


@pytest.mark.parametrize("field", ["token", "state"])
def test_only_the_holder_can_requeue_hand_over_or_end_a_job(harness: Harness, field: str):
    job_id = harness.accept("create_volume")
    token = harness.node().claim(job_id).token
    if field == "token":
        token += "x"
    else:
        harness.client.hset(f"{PREFIX}job:{job_id}", "state", "queued")
    before = texts(harness, f"job:{job_id}")
    scripts = harness.scripts
    assert scripts.requeue(job_id, token, 0, "retrying", counts=True) == "LOST"
    assert scripts.hand_over(job_id, token, 0, "", 1000) == "LOST"
    assert scripts.record_progress(job_id, token, "step", {"step": "x"}) == "LOST"
    assert scripts.renew_leases(1000, job_id, token) == ["LOST"]
    assert scripts.join_ordering(job_id, token, ["x"], {})[0] == "LOST"
    assert scripts.finish(job_id, token, "succeeded", {}, [], 1000, b"", 1000, 10)[0] == "LOST"
    assert texts(harness, f"job:{job_id}") == before


def test_a_repeated_hand_over_keeps_time_and_cause(harness: Harness):
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    lease.record_intent("create_volume")
    assert harness.scripts.hand_over(job_id, lease.token, 5000, "silence", 1000, '{"code": "1"}') == "DONE"
    since = int(harness.field(job_id, "in_doubt_since"))
    due = score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert abs(since - redis_now_ms(harness.client)) < 10_000
    assert 2000 < due - redis_now_ms(harness.client) <= 5000
    assert harness.field(job_id, "token") == ""
    harness.client.hset(
        f"{PREFIX}job:{job_id}",
        mapping={"token": "t", "in_doubt_since": since - 9000, "state": "cancelling", "cancellable": "1"},
    )
    harness.scripts.hand_over(job_id, "t", 5000, "silence", 1000)
    assert harness.field(job_id, "in_doubt_since") == str(since - 9000)
    assert harness.field(job_id, "in_doubt_cause") == '{"code": "1"}'
    assert (harness.field(job_id, "cancellable"), harness.field(job_id, "token")) == ("0", "")


def test_messages_name_the_job_its_queue_and_its_operation(harness: Harness):
    traceparent = f"00-{1:032x}-{2:016x}-01"
    job_id = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=traceparent))[1]
    (message,) = harness.scripts.pick_runnable(_WRITE, 1, 10)
    parts = [part.decode() for part in message]
    assert TaskMessage(*parts) == TaskMessage(job_id, _WRITE, OPERATIONS["create_volume"].name, traceparent)
