"""Rules that the scripts keep and that no process shows by itself: shares, times, counters, and what is dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.catalog.operations import OPERATIONS
from worker.execution.claims import Completion, grace_ms
from worker.jobs.event_log import BEGINNING, EventLog
from worker.jobs.failure import Failure
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.repeats import Repeat
from worker.jobs.service import NewJob
from worker.messaging.messages import TaskMessage
from worker.store.results import SubmitOutcome

_WRITE = f"{SUBSYSTEM}.write"
_QUEUED = f"{PREFIX}queued:{_WRITE}"


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def _snapshot(harness: Harness, name: str, *, who: str = "ann", volume: str = "vol") -> NewJob:
    return replace(harness.new("create_snapshot", volume=volume, name=name), requester=who)


def _ids(harness: Harness, key: str) -> list[str]:
    found: Any = harness.client.zrange(key, 0, -1)
    return [each.decode() for each in found]


def _score(harness: Harness, key: str, member: str) -> float:
    found: Any = harness.client.zscore(key, member)
    return float(found)


def _texts(harness: Harness, key: str) -> dict[str, str]:
    found: Any = harness.client.hgetall(f"{PREFIX}{key}")
    return {name.decode(): value.decode() for name, value in found.items()}


# --- the order of a queue


def test_who_has_few_jobs_waiting_comes_before_who_has_many(harness: Harness):
    mine = [harness.jobs.accept(_snapshot(harness, f"a{n}"))[1] for n in range(5)]
    other = harness.jobs.accept(_snapshot(harness, "b", who="bob"))[1]
    # Each job that waits already counts as 64 later arrivals: bob's first is sixth to come, and ann's second 66th.
    assert _ids(harness, _QUEUED) == [mine[0], other, *mine[1:]]
    status = harness.jobs.get(other)
    assert status is not None
    assert (status.position, status.behind) == (1, True)
    harness.node().claim(mine[0])
    after = harness.jobs.accept(_snapshot(harness, "b2", who="bob"))[1]
    # What began does not count any more: bob has one waiting, as ann's second job had one before it.
    waiting = _ids(harness, _QUEUED)
    assert waiting[:3] == [other, mine[1], after]
    # Sweeps leave each where it is.
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", dict.fromkeys(waiting, 1))
    harness.node().sweep()
    assert _ids(harness, _QUEUED) == waiting


def test_a_job_that_is_put_off_is_in_its_queue_again_and_runs_nowhere(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    lease = node.claim(job_id)
    assert (_ids(harness, _QUEUED), _ids(harness, f"{PREFIX}running:{_WRITE}")) == ([], [job_id])
    assert "" not in (harness.field(job_id, "started"), harness.field(job_id, "token"))
    assert _in_state(harness, State.QUEUED) == []
    harness.client.hset(f"{PREFIX}job:{job_id}", "updated", 1)
    node.claims.requeue(lease, 0)
    assert (_ids(harness, _QUEUED), _ids(harness, f"{PREFIX}running:{_WRITE}")) == ([job_id], [])
    assert abs(int(harness.field(job_id, "updated")) - _now_ms(harness)) < 10_000
    assert (harness.field(job_id, "started"), harness.field(job_id, "token")) == ("", "")
    assert (_in_state(harness, State.QUEUED), _in_state(harness, State.RUNNING)) == ([job_id], [])
    assert _score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id) == int(harness.field(job_id, "not_before"))


def _in_state(harness: Harness, state: State) -> list[str]:
    statuses, _ = harness.jobs.find(JobFilter(states=(state,)), JobScope("ann"), 10)
    return [status.job.id for status in statuses]


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


def test_a_sweep_puts_a_job_back_that_is_missing_in_its_queue(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.client.delete(_QUEUED)
    harness.let_time_pass()
    harness.node().sweep()
    assert _ids(harness, _QUEUED) == [job_id]
    due = _score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert 55_000 < due - _now_ms(harness) <= 60_000


def test_what_has_ended_or_is_gone_is_checked_no_more(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().carry_out(job_id)
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1, "deleted-by-hand": 1})
    assert harness.node().sweep() == ([], [])
    assert _ids(harness, f"{PREFIX}due:{SUBSYSTEM}") == []


def test_a_job_whose_record_is_gone_leaves_the_queue(harness: Harness):
    harness.client.zadd(_QUEUED, {"deleted-by-hand": 1})
    job_id = harness.accept("create_volume")
    harness.publisher.take()
    harness.node().fill()
    assert _ids(harness, _QUEUED) == [job_id]
    assert [message.job_id for message in harness.publisher.take()] == [job_id]
    harness.client.zadd(_QUEUED, {"deleted-by-hand": 0})
    assert harness.node().claims.claim_next(_WRITE) is not None
    assert _ids(harness, _QUEUED) == []


def test_one_message_a_second_and_no_more_than_there_is_room_for(harness: Harness):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(4)]
    picked = [harness.scripts.pick_runnable(_WRITE, 3, 100) for _ in range(2)]
    assert [[message[0].decode() for message in each] for each in picked] == [jobs[:3], jobs[3:]]
    assert harness.scripts.pick_runnable(_WRITE, 3, 100) == []
    for job_id, ago_ms in ((jobs[0], 900), (jobs[1], 1001), (jobs[2], -60_000)):
        harness.client.hset(f"{PREFIX}job:{job_id}", "dispatched_at", _now_ms(harness) - ago_ms)
    # One that seems to have been published in a minute was so before the clock was set back.
    found = harness.scripts.pick_runnable(_WRITE, 3, 100)
    assert [message[0].decode() for message in found] == [jobs[1], jobs[2]]
    assert harness.scripts.pick_runnable(_WRITE, 3, 0) == []


# --- attempts


def test_the_first_failure_is_noted_once_and_an_attempt_that_does_not_count_is_taken_back(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    token = node.claim(job_id).token
    assert harness.scripts.requeue(job_id, token, 0, "retrying", ("code", "why"), counts=True) == "DONE"
    first = harness.field(job_id, "first_failure")
    assert abs(int(first) - _now_ms(harness)) < 10_000
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", int(first) - 5000)
    token = node.claim(job_id).token
    assert harness.field(job_id, "attempt") == "2"
    assert harness.scripts.requeue(job_id, token, 7000, "retrying", counts=False) == "DONE"
    assert (harness.field(job_id, "attempt"), harness.field(job_id, "message")) == ("1", "")
    assert harness.field(job_id, "first_failure") == str(int(first) - 5000)
    assert 5000 < int(harness.field(job_id, "not_before")) - _now_ms(harness) <= 7000
    assert len(json.loads(harness.field(job_id, "attempts"))) == 1
    # A sweep ends no delay, except one that seems to be of an hour since the clock was set back.
    for not_before, is_kept in (
        (harness.field(job_id, "not_before"), True),
        (str(_now_ms(harness) + 3_600_000), False),
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
def test_only_who_holds_a_job_puts_it_off_hands_it_over_or_ends_it(harness: Harness, field: str):
    job_id = harness.accept("create_volume")
    token = harness.node().claim(job_id).token
    if field == "token":
        token += "x"
    else:
        harness.client.hset(f"{PREFIX}job:{job_id}", "state", "queued")
    before = _texts(harness, f"job:{job_id}")
    scripts = harness.scripts
    assert scripts.requeue(job_id, token, 0, "retrying", counts=True) == "LOST"
    assert scripts.hand_over(job_id, token, 0, "", 1000) == "LOST"
    assert scripts.record_progress(job_id, token, "step", {"step": "x"}) == "LOST"
    assert scripts.renew_leases(1000, job_id, token) == ["LOST"]
    assert scripts.join_ordering(job_id, token, ["x"], {})[0] == "LOST"
    assert scripts.finish(job_id, token, "succeeded", {}, [], 1000, b"", 1000, 10)[0] == "LOST"
    assert _texts(harness, f"job:{job_id}") == before


def test_a_hand_over_is_dated_once_and_keeps_its_cause(harness: Harness):
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    lease.record_intent("create_volume")
    assert harness.scripts.hand_over(job_id, lease.token, 5000, "silence", 1000, '{"code": "1"}') == "DONE"
    since = int(harness.field(job_id, "in_doubt_since"))
    due = _score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert abs(since - _now_ms(harness)) < 10_000
    assert 2000 < due - _now_ms(harness) <= 5000
    assert harness.field(job_id, "token") == ""
    harness.client.hset(
        f"{PREFIX}job:{job_id}",
        mapping={"token": "t", "in_doubt_since": since - 9000, "state": "cancelling", "cancellable": "1"},
    )
    harness.scripts.hand_over(job_id, "t", 5000, "silence", 1000)
    assert harness.field(job_id, "in_doubt_since") == str(since - 9000)
    assert harness.field(job_id, "in_doubt_cause") == '{"code": "1"}'
    assert (harness.field(job_id, "cancellable"), harness.field(job_id, "token")) == ("0", "")


# --- sweeps


def test_who_can_reconcile_no_more_leaves_a_job_to_the_next_sweep(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    assert harness.node().sweep(free_slots=0) == ([], [])
    due = _score(harness, f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert 0 < due - _now_ms(harness) <= 1000
    harness.let_time_pass()
    assert harness.node().sweep(free_slots=1) == ([job_id], [])


def test_a_lease_that_lapsed_is_given_the_grace_time(harness: Harness):
    job_id = harness.accept("create_volume")
    token = harness.node().claim(job_id).token
    key, due = f"{PREFIX}job:{job_id}", f"{PREFIX}due:{SUBSYSTEM}"
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping={"at": _now_ms(harness) - 5000, "since": 1})
    harness.client.hset(key, "lease", _now_ms(harness) + 5000)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert _now_ms(harness) - int(_texts(harness, f"last_sweep:{SUBSYSTEM}")["at"]) < 5000
    assert _texts(harness, f"last_sweep:{SUBSYSTEM}")["since"] == "1"
    # It has not lapsed: it is looked at again when it would have.
    assert harness.client.zscore(due, job_id) == int(harness.field(job_id, "lease"))
    assert harness.field(job_id, "stalled_since") == ""
    harness.client.hset(key, "lease", 1)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert harness.job(job_id).state is State.RUNNING
    stalled = int(harness.field(job_id, "stalled_since"))
    assert abs(stalled - _now_ms(harness)) < 10_000
    assert _score(harness, due, job_id) > stalled
    # Sweeps had a gap: the grace time begins anew, and it is looked at again when that is over.
    since = _now_ms(harness)
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "since", since)
    harness.client.zadd(due, {job_id: 1})
    harness.node().sweep()
    assert _score(harness, due, job_id) == since + grace_ms(harness.settings.lease)
    harness.client.zadd(due, {job_id: 1})
    assert harness.scripts.renew_leases(15_000, job_id, token) == ["GO"]
    assert (harness.field(job_id, "stalled_since"), int(harness.field(job_id, "lease"))) == (
        "",
        _score(harness, due, job_id),
    )


@pytest.mark.parametrize("ago_ms", [11_000, -3_600_000])
def test_after_a_gap_of_sweeps_or_a_clock_that_was_set_back_the_grace_time_begins_anew(harness: Harness, ago_ms: int):
    """Nobody could renew a lease meanwhile, or it was written by another clock."""
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping={"at": _now_ms(harness) - ago_ms, "since": 1})
    before = _now_ms(harness)
    harness.node().sweep()
    assert before <= int(_texts(harness, f"last_sweep:{SUBSYSTEM}")["since"]) <= _now_ms(harness)


def test_a_job_that_was_cancelled_before_anything_was_sent_ends_cancelled_with_its_worker(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    harness.jobs.cancel(job_id, "ann")
    assert (_in_state(harness, State.CANCELLING), _in_state(harness, State.RUNNING)) == ([job_id], [])
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


def test_records_that_are_missing_at_the_head_let_nothing_overtake(harness: Harness):
    first, behind = (harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=n) for n in (1, 2))
    (ordering,) = (key for key in harness.client.scan_iter(f"{PREFIX}ordering:*"))
    harness.client.zadd(ordering, {"gone": 0, "gone too": 0.5})
    assert harness.scripts.claim(behind, "t", 15_000, 1000, 1000)[0] == "BLOCKED"
    assert _ids(harness, ordering.decode()) == [first, behind]


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
        # Who reconciles it now has the grace time, too.
        assert [harness.field(job_id, "stalled_since") for job_id in jobs] == [""] * 3


# --- workers


def test_slots_of_workers_that_are_silent_or_shut_down_do_not_count(harness: Harness):
    queue, scripts = "q", harness.scripts
    scripts.worker_heartbeat("one", {queue: 4, "other": 1})
    scripts.worker_heartbeat("two", {queue: 3})
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"7"
    assert harness.client.get(f"{PREFIX}capacity:other") == b"1"
    assert 10_000 < harness.client.pttl(f"{PREFIX}capacity:{queue}") <= 15_000
    harness.client.zadd(f"{PREFIX}workers:{queue}", {"one": _now_ms(harness) - 15_500, "old": 1})
    scripts.worker_heartbeat("two", {queue: 3})
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"3"
    assert _texts(harness, f"slots:{queue}") == {"two": "3"}
    assert _ids(harness, f"{PREFIX}workers:{queue}") == ["one", "two"]
    assert scripts.queue_stats(15_000, queue) == [(0, 0, 0, [b"two"])]


def test_a_worker_that_shuts_down_is_online_for_nothing(harness: Harness):
    scripts = harness.scripts
    scripts.worker_heartbeat("one", {"q": 4, "other": 1})
    harness.client.zadd(f"{PREFIX}draining", {"long-ago": _now_ms(harness) - 600_500})
    now_ms = scripts.worker_draining("one", "q", "other")
    assert abs(now_ms - _now_ms(harness)) < 10_000
    assert scripts.queue_stats(15_000, "q", "other") == [(0, 0, 0, []), (0, 0, 0, [])]
    assert _ids(harness, f"{PREFIX}draining") == ["one"]


def test_the_state_of_a_queue(harness: Harness):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(3)]
    harness.node().claim(jobs[0])
    harness.client.hset(f"{PREFIX}job:{jobs[1]}", "created", _now_ms(harness) - 60_000)
    waiting, running, oldest_ms, workers = harness.scripts.queue_stats(15_000, _WRITE)[0]
    assert (waiting, running, workers) == (2, 1, [])
    assert 60_000 <= oldest_ms < 70_000


# --- what ends are counted as


def _ended(harness: Harness, job_id: str, *, ran_ms: int, failure: Failure | None = None) -> None:
    node = harness.node()
    lease = node.claim(job_id)
    harness.client.hset(f"{PREFIX}job:{job_id}", "started", _now_ms(harness) - ran_ms)
    state = State.FAILED if failure else State.SUCCEEDED
    node.claims.complete(lease, Completion(state, failure, result=b"null"))


def test_mean_run_times_follow_what_succeeds(harness: Harness):
    name = "create_volume"
    for number, (ran_ms, failure, expected) in enumerate(
        [(10_000, None, 10_000), (20_000, None, 13_000), (90_000, Failure("backend-error", "no"), 13_000)]
    ):
        _ended(harness, harness.accept(name, volume=f"v{number}"), ran_ms=ran_ms, failure=failure)
        mean = int(_texts(harness, f"mean_durations:{SUBSYSTEM}")[name])
        assert expected <= mean < expected + 900
    # So a client that waits for the next one is asked to come back then.
    status = harness.jobs.get(harness.accept(name, volume="next"))
    assert status is not None
    assert status.retry_after_s in (13, 14)


def test_how_jobs_end_and_how_long_they_took_is_counted(harness: Harness):
    ends = [
        ("create_volume", 100, None), ("create_volume", 1500, Failure("already-exists", "there")),
        ("create_policy", 2_000_000, Failure("backend-error", "no")),
    ]  # fmt: skip
    for operation, ran_ms, failure in ends:
        _ended(harness, harness.accept(operation), ran_ms=ran_ms, failure=failure)
    counted = _texts(harness, "metrics")
    for name in (
        "ended filer create_volume succeeded ", "ended filer create_volume failed already-exists",
        "ended filer create_policy failed backend-error", "failed filer already-exists", "failed filer backend-error",
        "run filer create_volume 2000", "run filer create_policy inf",
    ):  # fmt: skip
        assert counted[name] == "1", name
    assert int(counted["run filer create_policy sum"]) >= 2_000_000_000
    assert sum(int(count) for name, count in counted.items() if name.startswith("wait ") and "sum" not in name) == 3
    # What its user asked for in vain is no news for whoever runs the service.
    assert harness.client.llen(f"{PREFIX}failures") == 1


def test_the_last_hundred_failures_are_kept(harness: Harness):
    harness.client.rpush(f"{PREFIX}failures", *range(100))
    job_id = harness.accept("create_volume")
    _ended(harness, job_id, ran_ms=1, failure=Failure("backend-error", "no"))
    kept: Any = harness.client.lrange(f"{PREFIX}failures", 0, -1)
    assert (kept[0].decode(), len(kept), kept[-1]) == (job_id, 100, b"98")


def test_a_record_of_a_read_is_kept_for_a_shorter_time(harness: Harness):
    kept = {}
    for operation in ("get_volume", "create_volume"):
        job_id = harness.accept(operation)
        harness.node().carry_out(job_id)
        kept[operation] = int(harness.field(job_id, "expires")) - int(harness.field(job_id, "finished"))
        assert _score(harness, f"{PREFIX}expiring", job_id) == int(harness.field(job_id, "expires"))
        result_s = min(kept[operation] // 1000, harness.settings.result_keep)
        assert result_s - 10 < harness.client.ttl(f"{PREFIX}result:{job_id}") <= result_s
    settings = harness.settings
    assert kept == {"get_volume": settings.read_job_keep * 1000, "create_volume": settings.job_keep * 1000}
    assert settings.read_job_keep < settings.result_keep < settings.job_keep


# --- the event log


def test_an_event_tells_the_place_in_the_queue_and_no_long_request(harness: Harness):
    harness.scripts.worker_heartbeat("here", {_WRITE: 4})
    harness.client.zadd(f"{PREFIX}workers:{_WRITE}", {"silent": _now_ms(harness) - 15_500})
    harness.jobs.accept(_snapshot(harness, "first"))
    second = harness.jobs.accept(replace(_snapshot(harness, "second"), request={"comment": "x" * 1100}))[1]
    (event,) = [each for each in EventLog(harness.client, PREFIX).read(BEGINNING, 10) if _id_of(each) == second]
    assert event.status is not None
    assert (event.status.position, event.status.workers_online) == (1, 1)
    entries: Any = harness.client.xrange(f"{PREFIX}event_log")
    assert [entry[b"request"] == b"" for _, entry in entries] == [False, True]


def _id_of(event: Any) -> str:
    return str(event.status.job.id) if event.status else ""


# --- requests that come again


def _changed(harness: Harness, digest: str, **named: Any) -> tuple[SubmitOutcome, str]:
    new = replace(harness.new("create_snapshot", volume="vol", name="s"), repeat=Repeat(digest, 600), **named)
    return harness.jobs.accept(new)[:2]


def test_another_change_of_a_volume_makes_earlier_requests_new_ones(harness: Harness):
    _, first = _changed(harness, "one")
    harness.client.delete(f"{PREFIX}held:{first}")
    assert _changed(harness, "one") == (SubmitOutcome.REPEATED, first)
    harness.accept("create_snapshot", volume="other", name="x")
    # A clone does not change its source.
    harness.accept("clone_volume")
    assert _changed(harness, "one") == (SubmitOutcome.REPEATED, first)
    _, second = _changed(harness, "two")
    assert not harness.client.exists(f"{PREFIX}repeat:one")
    (key,) = harness.client.scan_iter(f"{PREFIX}repeats_of:*:vol")
    assert harness.client.smembers(key) == {b"two"}
    assert harness.client.pttl(key) > 600_000
    assert _changed(harness, "one")[0] is SubmitOutcome.NEW
    assert harness.client.exists(f"{PREFIX}held:{second}")
    # The end of the earlier job does not shorten how long the new request is remembered.
    harness.node().carry_out(first)
    assert harness.client.ttl(f"{PREFIX}repeat:one") > 600_000


def test_a_member_of_a_batch_makes_earlier_requests_of_its_volume_new_ones(harness: Harness):
    _changed(harness, "one")
    harness.accept_batch(harness.new("create_snapshot", volume="other", name="x"))
    assert harness.client.exists(f"{PREFIX}repeat:one")
    harness.accept_batch(harness.new("create_snapshot", volume="vol", name="x"))
    assert not harness.client.exists(f"{PREFIX}repeat:one")


def test_a_change_by_path_is_not_repeated_while_a_later_change_may_be_of_its_volume(harness: Harness):
    by_path = harness.new("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    new = replace(by_path, repeat=Repeat("one", 600))
    _, job_id, _ = harness.jobs.accept(new)
    harness.client.delete(f"{PREFIX}held:{job_id}")
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.REPEATED, job_id)
    harness.accept("create_snapshot", volume="other", name="x")
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.UNSETTLED, job_id)
    harness.node().carry_out(job_id)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.REPEATED, job_id)
    harness.accept("update_volume", volume="node:/other", percentage_snapshot_reserve=1)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.UNSETTLED, job_id)


def test_a_change_by_path_makes_earlier_requests_for_its_volume_new_ones(harness: Harness):
    _, first = _changed(harness, "one")
    node = harness.node()
    node.carry_out(first)
    # A clone does not change its source, by whichever name.
    node.carry_out(harness.accept("clone_volume", volume="copy", from_volume="node:/vol", from_snapshot="snap"))
    by_path = harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    assert harness.client.exists(f"{PREFIX}repeat:one")
    node.carry_out(by_path)
    assert not harness.client.exists(f"{PREFIX}repeat:one")


def test_a_request_is_forgotten_by_its_own_job_only(harness: Harness):
    _, job_id = _changed(harness, "one")
    harness.scripts.forget_repeat("one", "another-job")
    assert harness.client.exists(f"{PREFIX}repeat:one", f"{PREFIX}held:{job_id}") == 2
    harness.scripts.forget_repeat("one", job_id)
    assert not list(harness.client.scan_iter(f"{PREFIX}repeat*"))
    assert not harness.client.exists(f"{PREFIX}held:{job_id}")


def test_an_outcome_that_nobody_was_answered_with_is_kept_for_its_time(harness: Harness):
    _, job_id = _changed(harness, "one")
    assert harness.client.ttl(f"{PREFIX}repeat:one") > 600_000
    harness.node().carry_out(job_id)
    assert 500 < harness.client.ttl(f"{PREFIX}repeat:one") <= 600


# --- reads that are joined


def test_a_read_by_path_blocks_no_change(harness: Harness):
    harness.accept("get_volume", volume="node:/vol")
    assert not harness.client.exists(f"{PREFIX}unresolved:{SUBSYSTEM}")
    harness.accept("update_volume", volume="node:/vol", percentage_snapshot_reserve=1)
    assert harness.client.zcard(f"{PREFIX}unresolved:{SUBSYSTEM}") == 1


def test_a_read_that_is_joined_counts_who_waits_and_gives_all_of_them_the_whole(harness: Harness):
    new = replace(harness.new("list_volumes"), query="name=a*")
    _, job_id, _ = harness.jobs.accept(new)
    assert harness.job(job_id).cancellable
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("1", "name=a*")
    assert harness.jobs.cancel(job_id, "ann") == "SHARED"
    assert not harness.job(job_id).cancellable
    assert harness.jobs.accept(replace(new, query="name=b*", refresh=True))[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("1", "name=a*")
    assert harness.jobs.accept(replace(new, query="name=b*"))[:2] == (SubmitOutcome.COALESCED, job_id)
    assert (harness.field(job_id, "waiters"), harness.field(job_id, "query")) == ("2", "")
    harness.node().claim(job_id)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.COALESCED, job_id)
    outcome, other, _ = harness.jobs.accept(replace(new, may_join_running=False))
    assert (outcome, other != job_id) == (SubmitOutcome.NEW, True)


def test_a_read_that_ends_leaves_the_mark_of_the_one_that_followed_it(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("list_volumes"))
    # A client that wants what is newer than the read that runs.
    _, newer, _ = harness.jobs.accept(replace(harness.new("list_volumes"), may_join_running=False))
    assert newer != lease.job_id
    node.executor.execute(lease)
    assert harness.client.get(f"{PREFIX}inflight:{SUBSYSTEM}/volumes") == newer.encode()


def test_a_read_is_needless_when_the_copy_has_become_another(harness: Harness):
    new = harness.new("list_volumes")
    cache_key = f"{PREFIX}listing:filer/volumes"
    harness.client.hset(cache_key, "as_of", 2)
    harness.client.expire(cache_key, 60)
    assert harness.jobs.accept(replace(new, seen_ms=1))[0] is SubmitOutcome.CHANGED
    assert harness.jobs.accept(replace(new, seen_ms=0))[0] is SubmitOutcome.CHANGED
    assert harness.jobs.accept(replace(new, seen_ms=2))[0] is SubmitOutcome.NEW


def test_messages_name_the_job_its_queue_and_its_operation(harness: Harness):
    traceparent = f"00-{1:032x}-{2:016x}-01"
    job_id = harness.jobs.accept(replace(harness.new("create_volume"), traceparent=traceparent))[1]
    (message,) = harness.scripts.pick_runnable(_WRITE, 1, 10)
    parts = [part.decode() for part in message]
    assert TaskMessage(*parts) == TaskMessage(job_id, _WRITE, OPERATIONS["create_volume"].name, traceparent)
