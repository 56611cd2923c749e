"""A Redis of which no replica has what was written: a job stays only where its client can repeat the request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from tests.worker.harness import PREFIX, Harness
from worker.config.settings import Settings, load
from worker.execution.lease import Lease
from worker.jobs.batches import Batches
from worker.jobs.record import State
from worker.jobs.repeated_requests import Repeat
from worker.jobs.service import Jobs, NewJob
from worker.store.client import NotReplicated, ReplyLost, WriteRefused, explain, refuses_writes
from worker.store.results import LeaseResult, SubmitOutcome
from worker.store.scripts import JobScripts


@pytest.fixture
def alone(harness: Harness) -> JobScripts:
    """Scripts that wait for a replica, of which there is none."""
    return JobScripts(harness.client, PREFIX, replicas=1)


def _jobs(harness: Harness, alone: JobScripts) -> Jobs:
    publisher: Any = harness.publisher
    return Jobs(harness.client, alone, harness.jobs.ids, publisher, harness.settings)


def _accept(harness: Harness, alone: JobScripts, new: NewJob) -> tuple[SubmitOutcome, str]:
    """The outcome that could not be confirmed, and the job."""
    with pytest.raises(NotReplicated) as refused:
        _jobs(harness, alone).accept(new)
    assert refuses_writes(refused.value)
    assert explain(refused.value) == "too few replicas have what was written"
    outcome, job_id, _ = refused.value.answer
    return SubmitOutcome(outcome.decode()), job_id.decode()


def test_a_job_that_its_client_cannot_find_again_is_cancelled(harness: Harness, alone: JobScripts):
    outcome, job_id = _accept(harness, alone, harness.new("create_volume"))
    assert (outcome, harness.job(job_id).state) == (SubmitOutcome.NEW, State.CANCELLED)
    # WAIT confirms what its connection has written; a later write covers what the script only read.
    assert harness.client.get(f"{PREFIX}replication_marker") == b"1"


@pytest.mark.parametrize("confirmed", [2, 3])
def test_a_job_that_enough_replicas_have_is_accepted(harness: Harness, monkeypatch: pytest.MonkeyPatch, confirmed: int):
    monkeypatch.setattr(type(harness.client), "wait", wait := Mock(return_value=confirmed))
    scripts = JobScripts(harness.client, PREFIX, replicas=2)
    outcome, job_id, _ = _jobs(harness, scripts).accept(harness.new("create_volume"))
    assert (outcome, harness.job(job_id).state) == (SubmitOutcome.NEW, State.QUEUED)
    wait.assert_called_once_with(2, 300)


def test_a_job_on_too_few_replicas_is_not_accepted(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(harness.client), "wait", Mock(return_value=1))
    scripts = JobScripts(harness.client, PREFIX, replicas=2)
    _, job_id = _accept(harness, scripts, harness.new("create_volume"))
    assert harness.job(job_id).state is State.CANCELLED


def test_an_answer_of_the_script_that_is_lost_counts_as_lost(
    harness: Harness, alone: JobScripts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(type(harness.client), "parse_response", Mock(side_effect=redis.TimeoutError("slow")))
    with pytest.raises(ReplyLost, match="slow"):
        _jobs(harness, alone).accept(harness.new("create_volume"))


def test_no_worker_begins_before_replicas_have_the_job(harness: Harness, alone: JobScripts):
    lease = harness.node().claim(harness.accept("create_volume"))
    lease.claims_next = lambda: False
    harness.node().executor.execute(lease)
    slots: Any = harness.client.zrange(f"{PREFIX}waiting_slots:filer.write", 0, -1)
    harness.client.zadd(f"{PREFIX}waiting_slots:filer.write", {slots[0]: _in_a_second_ms(harness)})
    publisher: Any = harness.publisher
    settings = load(Settings, SAPI_DEBUG=True, wait_replicas=1)
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, settings)
    _, job_id, _ = jobs.accept(harness.new("create_policy"))
    assert harness.job(job_id).state is State.QUEUED


def _in_a_second_ms(harness: Harness) -> int:
    harness.client.expire(f"{PREFIX}waiting_slots:filer.write", 10)
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000) + 1000


def test_a_job_with_a_key_is_found_again(harness: Harness, alone: JobScripts):
    new = harness.new("create_volume", key="k")
    assert [_accept(harness, alone, new)[0] for _ in range(2)] == [SubmitOutcome.NEW, SubmitOutcome.REPLAYED]
    outcome, job_id, _ = harness.jobs.accept(new)
    assert (outcome, harness.job(job_id).state) == (SubmitOutcome.REPLAYED, State.QUEUED)


def test_a_job_that_a_repeated_request_finds_is_not_cancelled(harness: Harness, alone: JobScripts):
    _, job_id = _accept(harness, alone, replace(harness.new("create_volume"), repeat=Repeat("digest", 600)))
    assert harness.job(job_id).state is State.QUEUED


def test_a_read_that_was_joined_is_not_cancelled(harness: Harness, alone: JobScripts):
    job_id = harness.accept("list_volumes")
    assert _accept(harness, alone, harness.new("list_volumes")) == (SubmitOutcome.COALESCED, job_id)
    harness.client.hset(f"{PREFIX}job:{job_id}", "waiters", "0")
    assert harness.job(job_id).state is State.QUEUED


@pytest.mark.parametrize(("key", "state"), [("", State.CANCELLED), ("k", State.QUEUED)])
def test_a_batch_is_treated_as_a_job(harness: Harness, alone: JobScripts, key: str, state: State):
    publisher: Any = harness.publisher
    batches = Batches(harness.client, alone, harness.jobs, harness.jobs.ids, publisher, harness.settings)
    with pytest.raises(NotReplicated) as refused:
        batches.accept(harness.new_batch([harness.new("create_volume")], key=key))
    batch_id = refused.value.answer[1].decode()
    assert {harness.job(batch_id).state, *(job.state for job in harness.members(batch_id))} == {state}


@pytest.mark.parametrize("command", ["set", "wait"])
def test_an_error_after_the_job_was_recorded_does_not_say_that_it_was_not(
    harness: Harness, alone: JobScripts, monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setattr(redis.Redis, command, Mock(side_effect=redis.ConnectionError("away")))
    outcome, job_id = _accept(harness, alone, harness.new("create_volume"))
    assert (outcome, harness.job(job_id).state) == (SubmitOutcome.NEW, State.CANCELLED)


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_job_that_cannot_be_discarded_is_reported_as_possibly_accepted(
    harness: Harness, alone: JobScripts, monkeypatch: pytest.MonkeyPatch, is_batch: bool
):
    jobs = _jobs(harness, alone)
    publisher: Any = harness.publisher
    batches = Batches(harness.client, alone, jobs, jobs.ids, publisher, harness.settings)
    monkeypatch.setattr(alone, "cancel", Mock(side_effect=WriteRefused("NOREPLICAS Not enough good replicas")))
    new, accept = harness.new("create_volume"), batches.accept if is_batch else jobs.accept
    with pytest.raises(NotReplicated) as refused:
        accept(harness.new_batch([new]) if is_batch else new)  # type: ignore[arg-type]
    assert harness.job(refused.value.answer[1].decode()).state is State.QUEUED


def test_intents_and_jobs_of_the_filer_wait_for_replicas_and_progress_does_not(harness: Harness, alone: JobScripts):
    lease: Lease = harness.node().claim(harness.accept("create_volume"))
    for what in ("step", "backend_job"):
        with pytest.raises(NotReplicated):
            alone.record_progress(lease.job_id, lease.token, what, {what: "x"})
    assert alone.record_progress(lease.job_id, lease.token, "progress", {"current": "1"}) is LeaseResult.GO
