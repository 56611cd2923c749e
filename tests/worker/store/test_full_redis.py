"""A Redis whose memory is full, which has too few replicas, or which lost its scripts."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.maintenance.loop_turns import Turns
from worker.config.settings import load
from worker.jobs.ids import JobIds
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import Jobs
from worker.store.client import REDIS_UNAVAILABLE, WriteRefused, connect, job_id_secret
from worker.store.results import SubmitOutcome
from worker.store.scripts import JobScripts


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


@pytest.fixture
def full(harness: Harness) -> Any:
    """Fill Redis when called."""
    yield lambda: harness.client.config_set("maxmemory", 1)
    harness.client.config_set("maxmemory", 0)


def test_a_full_redis_refuses_jobs_whole_and_lets_those_that_are_there_end(harness: Harness, node: Node, full: Any):
    changing, reading = harness.accept("update_volume", volume="node:/vol"), harness.accept("list_policies")
    harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=2)
    putting = node.claim(harness.accept("create_policy"))
    batch_id = harness.accept_batch(harness.new("create_volume", volume="a"), harness.new("create_volume", volume="b"))
    before = sorted(harness.client.keys("*"))
    full()
    with pytest.raises(REDIS_UNAVAILABLE):
        harness.accept("create_volume")
    assert sorted(harness.client.keys("*")) == before
    assert len(harness.jobs.find(JobFilter(), JobScope("ann"), 10)[0]) == 7
    node.carry_out(changing)
    assert harness.job(changing).state is State.SUCCEEDED
    assert node.carry_out(reading) is None
    assert harness.job(reading).waiting_reason == "retrying"
    node.claims.requeue(putting, 0)
    assert harness.job(putting.job_id).state is State.QUEUED
    node.sweep()
    assert harness.jobs.cancel(reading, "ann") == "CANCELLED"
    assert harness.batches.cancel(batch_id, "ann") == "CANCELLING"
    assert harness.job(batch_id).state is State.CANCELLED
    harness.client.config_set("maxmemory", 0)


def test_expired_keys_of_a_full_redis_are_deleted(harness: Harness, node: Node, full: Any):
    """A step of the maintenance loop that needs memory does not prevent the others."""
    turns, over = Turns(harness), harness.accept("create_volume")
    node.carry_out(over)
    harness.client.zadd(f"{PREFIX}expiring", {over: 1})
    turns.loop._tasks = [lambda: harness.client.set("x", "y"), *turns.loop._tasks]
    full()
    with pytest.raises(redis.OutOfMemoryError):
        turns.loop._turn(0)
    assert (harness.jobs.get(over), len(turns.task_turns)) == (None, 1)
    assert not harness.client.exists(f"{PREFIX}job:{over}", f"{PREFIX}expiring")


def test_a_worker_starts_beside_a_full_redis(harness: Harness, full: Any):
    secret = job_id_secret(harness.client, PREFIX)
    full()
    assert job_id_secret(harness.client, PREFIX) == secret


def test_a_read_whose_result_cannot_be_stored_ends(harness: Harness, node: Node, full: Any):
    job_id = harness.accept("list_policies")
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", "1")
    full()
    node.carry_out(job_id)
    assert harness.job(job_id).failure.code == "backend-error"  # type: ignore[union-attr]


def test_a_redis_with_too_few_replicas_counts_as_unavailable(harness: Harness, redis_url: str):
    settings = load(type(harness.settings), SAPI_DEBUG=True, redis_url=redis_url)
    client = connect(settings, command_timeout_s=5)
    harness.client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(WriteRefused):
            JobScripts(client, PREFIX).worker_heartbeat("node", {"queue": 8})
    finally:
        harness.client.config_set("min-replicas-to-write", 0)
        client.close()


def test_jobs_are_read_while_nothing_can_be_written(harness: Harness):
    """Also one behind a job whose record is gone, whose place a worker would remove."""
    lost, behind = (harness.accept("create_snapshot", volume="vol", name=name) for name in "ab")
    harness.client.delete(f"{PREFIX}job:{lost}", f"{PREFIX}queued:{SUBSYSTEM}.write")
    harness.client.config_set("min-replicas-to-write", 1)
    try:
        assert harness.job(behind).state is State.QUEUED
    finally:
        harness.client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize("key", ["", "k"])
def test_a_job_on_too_few_replicas_is_not_accepted(harness: Harness, key: str):
    publisher: Any = harness.publisher
    jobs = Jobs(
        harness.client, JobScripts(harness.client, PREFIX, replicas=1), JobIds(b"secret"), publisher, harness.settings
    )
    with pytest.raises(WriteRefused):
        jobs.accept(harness.new("create_volume", key=key))
    (job_status,) = jobs.find(JobFilter(), JobScope("ann"), 10)[0]
    assert job_status.job.state is (State.QUEUED if key else State.CANCELLED)
    if key:
        assert harness.jobs.accept(harness.new("create_volume", key=key))[:2] == (
            SubmitOutcome.REPLAYED,
            job_status.job.id,
        )


def test_scripts_are_loaded_again_after_a_restart_of_redis(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    harness.client.script_flush()
    node.carry_out(job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
