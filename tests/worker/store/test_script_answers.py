"""What the scripts answer in each state of a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.store.redis_views import creations
from worker.config.settings import load
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.repeated_requests import HELD_TTL_MS, Repeat
from worker.jobs.service import Jobs
from worker.jobs.status import INLINE_RESULT_BYTES, JobStatus
from worker.store.results import CancelResult, ClaimResult, ClaimTerms, LeaseResult, SubmitOutcome
from worker.webhooks.outbox import Outbox

_WRITE = f"{SUBSYSTEM}.write"


# --- claims


def test_results_of_claims(harness: Harness):
    claims = harness.node().claims
    job_id = harness.accept("create_volume")
    behind = harness.accept("update_volume", volume="new", percentage_snapshot_reserve=1)
    cancelled = harness.accept("create_policy")
    harness.jobs.cancel(cancelled, "ann")
    assert claims.claim("nobody-knows-it") is ClaimResult.GONE
    assert claims.claim(cancelled) is ClaimResult.CANCELLED
    assert claims.claim(behind) is ClaimResult.BLOCKED
    key = f"{PREFIX}job:{job_id}"
    harness.client.hset(key, "not_before", redis_now_ms(harness.client) + 60_000)
    assert claims.claim(job_id) is ClaimResult.LATER
    harness.client.hset(key, "not_before", redis_now_ms(harness.client))
    lease = harness.node().claim(job_id)
    assert claims.claim(job_id) is ClaimResult.TAKEN
    harness.node().executor.execute(lease)
    assert claims.claim(job_id) is ClaimResult.TAKEN


def test_a_claimed_job_has_its_times_and_nothing_of_an_earlier_attempt(harness: Harness):
    for operation, timeout_s in (
        ("create_volume", harness.settings.change_timeout), ("get_volume", harness.settings.read_timeout),
    ):  # fmt: skip
        job_id = harness.accept(operation)
        key = f"{PREFIX}job:{job_id}"
        leftovers: dict[Any, Any] = dict.fromkeys(
            ("stalled_since", "waiting_reason", "step", "backend_job", "message"), "x"
        )
        harness.client.hset(key, mapping=leftovers)
        harness.node().claim(job_id)
        now_ms = redis_now_ms(harness.client)
        assert [harness.field(job_id, name) for name in leftovers] == [""] * 5
        assert abs(int(harness.field(job_id, "started")) - now_ms) < 10_000
        lease_ms = harness.settings.lease * 1000
        assert lease_ms - 10_000 < int(harness.field(job_id, "lease")) - now_ms <= lease_ms
        assert timeout_s * 1000 - 10_000 < int(harness.field(job_id, "deadline")) - now_ms <= timeout_s * 1000
        due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id)
        assert int(due) == int(harness.field(job_id, "lease"))


def test_a_wait_is_counted_with_the_first_attempt_alone(harness: Harness):
    job_id = harness.accept("create_volume")
    for _ in range(2):
        node = harness.node()
        node.claims.requeue(node.claim(job_id), 0)
    counted: Any = harness.client.hgetall(f"{PREFIX}metrics")
    buckets = {name: count for name, count in counted.items() if name.startswith(b"wait") and b"sum" not in name}
    assert sum(map(int, buckets.values())) == 1


# --- cancels


def test_results_of_cancellations(harness: Harness):
    cancel = harness.jobs.cancel
    assert cancel("nobody-knows-it", "ann") is CancelResult.GONE
    waiting, running = harness.accept("create_volume"), harness.accept("create_policy")
    assert cancel(waiting, "ann") is CancelResult.CANCELLED
    assert cancel(waiting, "ann") is CancelResult.TOO_LATE
    assert (harness.field(waiting, "cancelled_by"), harness.field(waiting, "cancel_requested") != "") == ("ann", True)
    lease = harness.node().claim(running)
    assert cancel(running, "bob") is CancelResult.CANCELLING
    assert harness.field(running, "cancelled_by") == "bob"
    version = harness.field(running, "version")
    assert cancel(running, "ann") is CancelResult.CANCELLING
    # It was requested already: nothing changes.
    assert (harness.field(running, "version"), harness.field(running, "cancelled_by")) == (version, "bob")
    assert harness.scripts.record_progress(running, lease.token, "progress", {}) is LeaseResult.CANCEL
    assert harness.scripts.record_progress(running, lease.token, "step", {"step": "x"}) is LeaseResult.CANCEL
    assert harness.field(running, "step") == ""


def test_a_change_that_was_sent_is_cancelled_only_where_the_driver_can(harness: Harness):
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    lease.record_intent("create_volume")
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.TOO_LATE
    lease.backend_job("4711", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    # What makes the change whole goes out all the same, and makes it one that cannot be cancelled.
    assert harness.scripts.record_progress(job_id, lease.token, "step", {"step": "next"}) is LeaseResult.CANCEL
    assert [harness.field(job_id, name) for name in ("step", "backend_job", "cancellable")] == ["next", "", "0"]


def test_a_worker_that_lost_a_job_gets_lost_and_not_cancelled(harness: Harness):
    """Otherwise it would end a job that another worker carries out."""
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    harness.jobs.cancel(job_id, "ann")
    answers = [
        harness.scripts.requeue(job_id, token, 0, "", counts=True) for token in (lease.token, "of a former worker")
    ]
    assert answers == [LeaseResult.CANCEL, LeaseResult.LOST]


# --- documents


def test_an_expired_record_is_not_returned(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().carry_out(job_id)
    assert harness.jobs.get(job_id) is not None
    harness.client.hset(f"{PREFIX}job:{job_id}", "expires", redis_now_ms(harness.client))
    assert harness.jobs.get(job_id) is None


def test_a_result_is_shown_with_its_job_up_to_a_size(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().carry_out(job_id)
    for length, is_inline in ((INLINE_RESULT_BYTES, True), (INLINE_RESULT_BYTES + 1, False)):
        harness.client.set(f"{PREFIX}result:{job_id}", b"x" * length, keepttl=True)
        status = harness.jobs.get(job_id)
        assert status is not None
        assert (len(status.result) == length) is is_inline
        assert [each.result for each in _listed(harness)] == [status.result]


def test_workers_and_jobs_ahead_are_part_of_the_status(harness: Harness):
    job_id = harness.accept("create_volume")
    status = harness.jobs.get(job_id)
    assert status is not None
    assert (status.workers_online, status.waiting_reason, status.behind) == (0, "no-worker-online", False)
    harness.scripts.worker_heartbeat("one", {_WRITE: 1})
    behind = harness.accept("update_volume", volume="new", percentage_snapshot_reserve=1)
    for each, reason, position in ((job_id, None, 0), (behind, "behind-jobs", 1)):
        status = harness.jobs.get(each)
        assert status is not None
        assert (status.workers_online, status.waiting_reason, status.position) == (1, reason, position)
    harness.client.zadd(f"{PREFIX}workers:{_WRITE}", {"one": redis_now_ms(harness.client) - 15_500})
    status = harness.jobs.get(job_id)
    assert status is not None
    assert status.workers_online == 0
    assert [each.workers_online for each in _listed(harness)] == [0, 0]


def _listed(harness: Harness) -> list[JobStatus]:
    return harness.jobs.find(JobFilter(), JobScope(everybody=True), 10)[0]


# --- submissions


def test_jobs_of_the_service_do_not_count_as_anonymous(harness: Harness):
    publisher: Any = harness.publisher
    settings = load(type(harness.settings), SAPI_DEBUG=True, queue_limit=5)
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, settings)
    stranger = replace(harness.new("list_snapshots", volume="v"), requester="", network="192.0.2.1/32")
    most = settings.strangers_queue_limit
    outcomes = [jobs.accept(replace(stranger, arguments={"volume": f"v{n}"}))[0] for n in range(most + 1)]
    assert outcomes == [*[SubmitOutcome.NEW] * most, SubmitOutcome.SHARE_FULL]
    assert jobs.accept(replace(stranger, network="", arguments={"volume": "own"}))[0] is SubmitOutcome.NEW


def test_deleted_jobs_do_not_count_towards_the_share(harness: Harness):
    publisher: Any = harness.publisher
    settings = load(type(harness.settings), SAPI_DEBUG=True, queue_limit=100, user_queue_share=2)
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, settings)
    most = settings.user_queue_limit
    accepted = [jobs.accept(harness.new("create_volume", volume=f"v{n}"))[1] for n in range(most)]
    assert jobs.accept(harness.new("create_volume", volume="more"))[0] is SubmitOutcome.SHARE_FULL
    assert jobs.accept(replace(harness.new("create_volume", volume="other"), requester="bob"))[0] is SubmitOutcome.NEW
    harness.client.zrem(f"{PREFIX}queued:{_WRITE}", accepted[0])
    assert jobs.accept(harness.new("create_volume", volume="more"))[0] is SubmitOutcome.NEW


def test_a_new_job_is_checked_soon_and_is_at_the_end_of_each_of_its_orders(harness: Harness):
    first = harness.accept("create_volume")
    second = harness.accept("update_volume", volume="new", percentage_snapshot_reserve=1)
    due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", first)
    assert 0 < due - redis_now_ms(harness.client) <= 2000
    orders = [harness.client.zrange(key, 0, -1) for key in harness.client.scan_iter(f"{PREFIX}ordering:{SUBSYSTEM}:*")]
    assert [first.encode(), second.encode()] in orders
    assert [second.encode()] not in orders


# --- searches


def test_jobs_that_are_being_cancelled_are_found_as_such(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    harness.jobs.cancel(job_id, "ann")
    found = {
        state: [each.job.id for each in harness.jobs.find(JobFilter(states=(state,)), JobScope("ann"), 10)[0]]
        for state in (State.RUNNING, State.CANCELLING)
    }
    assert found == {State.RUNNING: [], State.CANCELLING: [job_id]}


def test_jobs_of_a_volume_come_once_page_by_page(harness: Harness):
    new = [replace(harness.new("create_lock", volume="vol", host=f"h{number}"), volume="vol") for number in range(5)]
    accepted = [harness.jobs.accept(each)[1] for each in new]
    harness.node().carry_out(accepted[0])
    found, below = list[str](), None
    for _ in range(6):
        page, below = harness.jobs.find(JobFilter(volume="vol"), JobScope("ann"), 1, below)
        found += [each.job.id for each in page]
        if below is None:
            break
    assert found == accepted[::-1]


def test_members_that_have_not_ended_are_not_found_by_their_end(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, "a", "b"))
    first, _ = (job.id for job in harness.members(batch_id))
    harness.node().carry_out(first)
    later = redis_now_ms(harness.client) + 60_000
    found, _ = harness.jobs.find(JobFilter(batch=batch_id, finished_before_ms=later), JobScope("ann"), 10)
    assert [each.job.id for each in found] == [first]


def test_a_repeated_request_while_the_first_is_held(harness: Harness):
    new = replace(harness.new("create_snapshot", volume="vol", name="s"), repeat=Repeat("digest", 600))
    _, first, _ = harness.jobs.accept(new)
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.HELD, first)
    assert 4000 < harness.client.pttl(f"{PREFIX}held:{first}") <= HELD_TTL_MS
    outcome, second, _ = harness.jobs.accept(replace(new, repeat=Repeat("digest", 600, beside=first)))
    assert (outcome, second != first) == (SubmitOutcome.NEW, True)
    harness.client.delete(f"{PREFIX}held:{second}")
    assert harness.jobs.accept(new)[:2] == (SubmitOutcome.REPEATED, second)
    harness.client.delete(f"{PREFIX}job:{second}")
    assert harness.jobs.accept(new)[0] is SubmitOutcome.NEW


# --- a Redis whose memory is full


def test_scripts_for_accepted_jobs_run_when_memory_is_full(harness: Harness):
    scripts, node = harness.scripts, harness.node()
    jobs = [harness.accept("create_volume", volume=f"v{number}") for number in range(4)]
    tokens = [node.claim(job_id).token for job_id in jobs[:3]]
    by_path = harness.accept("update_volume", volume="node:/vol")
    behind_path = harness.accept("update_volume", volume="vol")
    assert scripts.dispatch_webhooks("", "1-0-1", [["msg_0", "one", {"body": "{}", "job_id": "job"}]])
    outbox = Outbox(harness.client, scripts, PREFIX)
    harness.client.config_set("maxmemory", 1)
    try:
        scripts.worker_heartbeat("one", {_WRITE: 1})
        scripts.worker_draining("one", _WRITE)
        scripts.worker_draining("idle")
        assert scripts.renew_leases(15_000, jobs[0], tokens[0]) == ["GO"]
        assert scripts.record_progress(jobs[0], tokens[0], "step", {"step": "x"}) == "GO"
        assert scripts.hand_over(jobs[0], tokens[0], 0, "", 1000) == "DONE"
        assert scripts.requeue(jobs[1], tokens[1], 0, "", counts=True) == "DONE"
        assert scripts.join_ordering(jobs[2], tokens[2], ["volume:other"], {})[0] == "GO"
        assert scripts.claim(behind_path, "t", 15_000, 1000, 1000)[0] == "BLOCKED"
        assert scripts.pick_runnable(_WRITE, 8, 8)
        assert scripts.claim(jobs[3], "t", 15_000, 1000, 1000)[0] == "CLAIMED"
        terms = ClaimTerms("u", 8, 15_000, 1000, 1000)
        assert by_path.encode() in scripts.claim_next(_WRITE, terms)
        assert jobs[1].encode() in scripts.claim_next(_WRITE, terms)
        assert scripts.claim_next(_WRITE, terms) == []
        assert harness.jobs.cancel(jobs[2], "ann") is CancelResult.CANCELLING
        assert scripts.finish(jobs[2], tokens[2], "cancelled", {}, [], 1000, b"", 1000, 10)[0] == "DONE"
        scripts.forget_repeat("digest", "job")
        assert outbox.take("one", is_configured=True) == [("msg_0", "")]
        assert outbox.end("msg_0") == "delivered"
    finally:
        harness.client.config_set("maxmemory", 0)
