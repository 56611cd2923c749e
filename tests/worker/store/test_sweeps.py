"""What a sweep does with jobs of lost workers, and which workers count."""

from __future__ import annotations

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.store.redis_views import ids, in_state, score, texts
from worker.execution.claims import grace_ms
from worker.jobs.record import State

_WRITE = f"{SUBSYSTEM}.write"


# --- sweeps


def test_beyond_the_limit_jobs_are_left_to_the_next_sweep(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    assert harness.node().sweep(free_slots=0) == ([], [])
    due = score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert 0 < due - redis_now_ms(harness.client) <= 1000
    harness.let_time_pass()
    assert harness.node().sweep(free_slots=1) == ([job_id], [])


def test_a_lease_that_lapsed_is_given_the_grace_time(harness: Harness):
    job_id = harness.accept("create_volume")
    token = harness.node().claim(job_id).token
    key, due = f"{PREFIX}job:{job_id}", f"{PREFIX}due:{SUBSYSTEM}"
    harness.client.hset(
        f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping={"at": redis_now_ms(harness.client) - 5000, "since": 1}
    )
    harness.client.hset(key, "lease", redis_now_ms(harness.client) + 5000)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert redis_now_ms(harness.client) - int(texts(harness, f"last_sweep:{SUBSYSTEM}")["at"]) < 5000
    assert texts(harness, f"last_sweep:{SUBSYSTEM}")["since"] == "1"
    # It has not lapsed: it is looked at again when it would have.
    assert harness.client.zscore(due, job_id) == int(harness.field(job_id, "lease"))
    assert harness.field(job_id, "stalled_since") == ""
    harness.client.hset(key, "lease", 1)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert harness.job(job_id).state is State.RUNNING
    stalled = int(harness.field(job_id, "stalled_since"))
    assert abs(stalled - redis_now_ms(harness.client)) < 10_000
    assert score(harness, due, job_id) > stalled
    # Sweeps had a gap: the grace time begins anew, and it is looked at again when that is over.
    since = redis_now_ms(harness.client)
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "since", since)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert score(harness, due, job_id) == since + grace_ms(harness.settings.lease)
    harness.client.zadd(due, {job_id: 1})
    assert harness.scripts.renew_leases(15_000, job_id, token) == ["GO"]
    assert (harness.field(job_id, "stalled_since"), int(harness.field(job_id, "lease"))) == (
        "",
        score(harness, due, job_id),
    )


@pytest.mark.parametrize("ago_ms", [11_000, -3_600_000])
def test_after_a_gap_of_sweeps_or_a_clock_set_back_the_grace_time_restarts(harness: Harness, ago_ms: int):
    """No lease could be renewed meanwhile, or it was written by another clock."""
    harness.client.hset(
        f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping={"at": redis_now_ms(harness.client) - ago_ms, "since": 1}
    )
    before = redis_now_ms(harness.client)
    harness.node().sweep()
    assert before <= int(texts(harness, f"last_sweep:{SUBSYSTEM}")["since"]) <= redis_now_ms(harness.client)


def test_a_job_that_was_cancelled_before_anything_was_sent_ends_cancelled_with_its_worker(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    harness.jobs.cancel(job_id, "ann")
    assert (in_state(harness, State.CANCELLING), in_state(harness, State.RUNNING)) == ([job_id], [])
    harness.let_time_pass()
    assert harness.field(job_id, "cancellable") == "1"
    harness.node().sweep()
    assert harness.job(job_id).state is State.CANCELLED
    assert (harness.field(job_id, "cancellable"), harness.field(job_id, "token")) == ("0", "")
    assert not harness.leftovers()


def _recovered(harness: Harness) -> tuple[list[str], list[str]]:
    """The jobs that a sweep publishes, and those that it hands to its worker, by their ids."""
    harness.let_time_pass()
    messages, to_reconcile, _ = harness.scripts.recover_jobs(SUBSYSTEM, 15_000, 5000, 3, 1000, "sweep", 4)
    return [message[0].decode() for message in messages], sorted(to_reconcile)


def test_a_sweep_publishes_the_jobs_of_lost_workers_itself(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    assert _recovered(harness) == ([job_id], [])


def test_missing_records_do_not_change_the_order(harness: Harness):
    first, behind = (harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=n) for n in (1, 2))
    (ordering,) = (key for key in harness.client.scan_iter(f"{PREFIX}ordering:*"))
    harness.client.zadd(ordering, {"gone": 0, "gone too": 0.5})
    assert harness.scripts.claim(behind, "t", 15_000, 1000, 1000)[0] == "BLOCKED"
    assert ids(harness, ordering.decode()) == [first, behind]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_sweep_publishes_the_job_behind_one_that_it_ends(harness: Harness, is_cancelled: bool):
    job_id = harness.accept("update_volume", volume="vol")
    behind = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=7)
    harness.node().claim(job_id)
    if is_cancelled:
        harness.jobs.cancel(job_id, "ann")
    else:
        harness.client.hset(f"{PREFIX}job:{job_id}", "deadline", 1)
    assert _recovered(harness) == ([behind], [])


def test_a_job_that_was_renewed_beyond_its_time_limit_is_not_tried_again(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    harness.client.hset(f"{PREFIX}job:{job_id}", "deadline", 1)
    assert _recovered(harness) == ([], [])
    assert harness.field(job_id, "error_code") == "timed-out"


def test_why_a_change_is_in_doubt_is_recorded_once(harness: Harness):
    jobs = [harness.accept("create_volume", volume=name) for name in ("silence", "lost", "overdue")]
    tokens = []
    for job_id in jobs:
        lease = harness.node().claim(job_id)
        lease.record_intent("create_volume")
        tokens.append(lease.token)
        harness.client.hset(f"{PREFIX}job:{job_id}", "deadline", 1)
    for job_id, token, reason in zip(jobs, tokens, ("backend-timeout", ""), strict=False):
        harness.scripts.hand_over(job_id, token, 0, reason, 1000)
    for _ in range(2):
        assert _recovered(harness) == ([], sorted(jobs))
        assert [harness.field(job_id, "in_doubt_reason") for job_id in jobs] == ["backend-timeout", "", "timed-out"]
        # The worker that reconciles it now has the grace time, too.
        assert [harness.field(job_id, "stalled_since") for job_id in jobs] == [""] * 3


# --- workers


def test_slots_of_workers_that_are_silent_or_shut_down_do_not_count(harness: Harness):
    queue, scripts = "q", harness.scripts
    scripts.worker_heartbeat("one", {queue: 4, "other": 1})
    scripts.worker_heartbeat("two", {queue: 3})
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"7"
    assert harness.client.get(f"{PREFIX}capacity:other") == b"1"
    assert 10_000 < harness.client.pttl(f"{PREFIX}capacity:{queue}") <= 15_000
    harness.client.zadd(f"{PREFIX}workers:{queue}", {"one": redis_now_ms(harness.client) - 15_500, "old": 1})
    scripts.worker_heartbeat("two", {queue: 3})
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"3"
    assert texts(harness, f"slots:{queue}") == {"two": "3"}
    assert ids(harness, f"{PREFIX}workers:{queue}") == ["one", "two"]
    assert scripts.queue_stats(15_000, queue) == [(0, 0, 0, [b"two"])]


def test_a_worker_that_shuts_down_is_offline_for_every_queue(harness: Harness):
    scripts = harness.scripts
    scripts.worker_heartbeat("one", {"q": 4, "other": 1})
    harness.client.zadd(f"{PREFIX}draining", {"long-ago": redis_now_ms(harness.client) - 600_500})
    now_ms = scripts.worker_draining("one", "q", "other")
    assert abs(now_ms - redis_now_ms(harness.client)) < 10_000
    assert scripts.queue_stats(15_000, "q", "other") == [(0, 0, 0, []), (0, 0, 0, [])]
    assert ids(harness, f"{PREFIX}draining") == ["one"]


def test_queue_statistics(harness: Harness):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(3)]
    harness.node().claim(jobs[0])
    harness.client.hset(f"{PREFIX}job:{jobs[1]}", "created", redis_now_ms(harness.client) - 60_000)
    waiting, running, oldest_ms, workers = harness.scripts.queue_stats(15_000, _WRITE)[0]
    assert (waiting, running, workers) == (2, 1, [])
    assert 60_000 <= oldest_ms < 70_000
