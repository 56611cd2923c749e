"""A Redis of which no replica has what was written: a job stays only where its client can repeat the request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.worker.bench import PREFIX, Bench
from worker.config.settings import Settings, load
from worker.execution.lease import Lease
from worker.jobs.batches import Batches
from worker.jobs.record import State
from worker.jobs.repeats import Repeat
from worker.jobs.service import Jobs, NewJob
from worker.store.client import NotReplicated, explain, refuses_writes
from worker.store.results import LeaseResult, SubmitOutcome
from worker.store.scripts import JobScripts


@pytest.fixture
def alone(bench: Bench) -> JobScripts:
    """Scripts that wait for a replica, of which there is none."""
    return JobScripts(bench.client, PREFIX, replicas=1)


def _jobs(bench: Bench, alone: JobScripts) -> Jobs:
    publisher: Any = bench.publisher
    return Jobs(bench.client, alone, bench.jobs.ids, publisher, bench.settings)


def _accept(bench: Bench, alone: JobScripts, new: NewJob) -> tuple[SubmitOutcome, str]:
    """The outcome that could not be confirmed, and the job."""
    with pytest.raises(NotReplicated) as refused:
        _jobs(bench, alone).accept(new)
    assert refuses_writes(refused.value)
    assert explain(refused.value) == "too few replicas have what was written"
    outcome, job_id, _ = refused.value.answer
    return SubmitOutcome(outcome.decode()), job_id.decode()


def test_a_job_that_its_client_cannot_find_again_is_cancelled(bench: Bench, alone: JobScripts):
    outcome, job_id = _accept(bench, alone, bench.new("create_volume"))
    assert (outcome, bench.job(job_id).state) == (SubmitOutcome.NEW, State.CANCELLED)
    # WAIT confirms what its connection has written; a later write covers what the script only read.
    assert bench.client.get(f"{PREFIX}replication_marker") == b"1"


def test_no_worker_begins_before_replicas_have_the_job(bench: Bench, alone: JobScripts):
    lease = bench.node().claim(bench.accept("create_volume"))
    lease.claims_next = lambda: False
    bench.node().executor.execute(lease)
    slots: Any = bench.client.zrange(f"{PREFIX}waiting_slots:filer.write", 0, -1)
    bench.client.zadd(f"{PREFIX}waiting_slots:filer.write", {slots[0]: _in_a_second_ms(bench)})
    publisher: Any = bench.publisher
    settings = load(Settings, SAPI_DEBUG=True, wait_replicas=1)
    jobs = Jobs(bench.client, bench.scripts, bench.jobs.ids, publisher, settings)
    _, job_id, _ = jobs.accept(bench.new("create_policy"))
    assert bench.job(job_id).state is State.QUEUED


def _in_a_second_ms(bench: Bench) -> int:
    bench.client.expire(f"{PREFIX}waiting_slots:filer.write", 10)
    seconds, micros = bench.client.time()
    return int(seconds * 1000 + micros // 1000) + 1000


def test_a_job_with_a_key_is_found_again(bench: Bench, alone: JobScripts):
    new = bench.new("create_volume", key="k")
    assert [_accept(bench, alone, new)[0] for _ in range(2)] == [SubmitOutcome.NEW, SubmitOutcome.REPLAYED]
    outcome, job_id, _ = bench.jobs.accept(new)
    assert (outcome, bench.job(job_id).state) == (SubmitOutcome.REPLAYED, State.QUEUED)


def test_a_job_that_a_repeated_request_finds_is_not_cancelled(bench: Bench, alone: JobScripts):
    _, job_id = _accept(bench, alone, replace(bench.new("create_volume"), repeat=Repeat("digest", 600)))
    assert bench.job(job_id).state is State.QUEUED


def test_a_read_that_was_joined_is_not_cancelled(bench: Bench, alone: JobScripts):
    job_id = bench.accept("list_volumes")
    assert _accept(bench, alone, bench.new("list_volumes")) == (SubmitOutcome.COALESCED, job_id)
    bench.client.hset(f"{PREFIX}job:{job_id}", "waiters", "0")
    assert bench.job(job_id).state is State.QUEUED


@pytest.mark.parametrize(("key", "state"), [("", State.CANCELLED), ("k", State.QUEUED)])
def test_a_batch_is_treated_as_a_job(bench: Bench, alone: JobScripts, key: str, state: State):
    publisher: Any = bench.publisher
    batches = Batches(bench.client, alone, bench.jobs, bench.jobs.ids, publisher, bench.settings)
    with pytest.raises(NotReplicated) as refused:
        batches.accept(bench.new_batch([bench.new("create_volume")], key=key))
    batch_id = refused.value.answer[1].decode()
    assert {bench.job(batch_id).state, *(job.state for job in bench.members(batch_id))} == {state}


def test_intents_and_jobs_of_the_filer_wait_for_replicas_and_progress_does_not(bench: Bench, alone: JobScripts):
    lease: Lease = bench.node().claim(bench.accept("create_volume"))
    for what in ("step", "backend_job"):
        with pytest.raises(NotReplicated):
            alone.record_progress(lease.job_id, lease.token, what, {what: "x"})
    assert alone.record_progress(lease.job_id, lease.token, "progress", {"current": "1"}) is LeaseResult.GO
