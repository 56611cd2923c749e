"""Which job a slot goes on with, what is logged of it, and batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
import structlog
from celery.exceptions import Ignore

from tests.worker.execution.flower_recorder import FlowerEvents, message
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.catalog.operations import BATCH, OPERATIONS, QueueClass
from worker.execution.lease import Lease, WaitingSlot
from worker.execution.runner import JobFailed, JobRunner
from worker.jobs.record import State
from worker.runtime import Runtime

_WRITE = f"{SUBSYSTEM}.write"


def test_a_thread_runs_the_job_alone_that_it_has_claimed(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    claimed, other = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    assert not runner.run_claimed(claimed)
    lease = runner._claims.claim(claimed)
    runner._claimed.lease = lease
    assert not runner.run_claimed(other)
    assert runner.run_claimed(claimed)
    assert not runner.run_claimed(claimed)
    assert heard.of(claimed) == ["started", "succeeded"]


def test_log_lines_of_a_job_have_its_id_and_trace(harness: Harness, runner: JobRunner, monkeypatch: pytest.MonkeyPatch):
    lease = runner._claims.claim(harness.accept("list_volumes"))
    assert isinstance(lease, Lease)
    lease.job = replace(lease.job, trace_id="0af7")
    named: list[dict[str, Any]] = []
    monkeypatch.setattr(runner._executor, "execute", lambda _: named.append(structlog.contextvars.get_contextvars()))
    runner._claimed.lease = lease
    with pytest.raises(Ignore):
        runner.run_claimed(lease.job_id)
    assert named == [
        {
            "job_id": lease.job_id, "request_id": lease.job.request_id, "operation": "list_volumes",
            "subsystem": SUBSYSTEM, "requested_by": lease.job.requester, "trace_id": "0af7",
        }
    ]  # fmt: skip


def test_a_running_job_that_is_cancelled_is_a_task_that_was_revoked(
    harness: Harness, runner: JobRunner, heard: FlowerEvents
):
    job_id = harness.accept("list_volumes")
    lease = runner._claims.claim(job_id)
    assert isinstance(lease, Lease)
    harness.jobs.cancel(job_id, "ann")
    lease.cancel()
    runner._claimed.lease = lease
    with pytest.raises(Ignore):
        runner.run_claimed(job_id)
    assert harness.job(job_id).state is State.CANCELLED
    assert heard.of(job_id) == ["started", "revoked"]


def test_a_job_whose_message_was_dropped_is_claimed_at_the_end_of_another(harness: Harness, runner: JobRunner):
    first, second = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    lease = runner._claims.claim(first)
    assert isinstance(lease, Lease)
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    # Its message has just been sent, and would be waited for.
    seconds, micros = harness.client.time()
    harness.client.hset(f"{PREFIX}job:{second}", "dispatched_at", seconds * 1000 + micros // 1000)
    with pytest.raises(Ignore):
        message(runner, second)
    runner._claimed.lease = lease
    assert runner.run_claimed(first)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == second


def test_a_slot_continues_with_the_next_job_or_waits(harness: Harness, runner: JobRunner):
    ended = runner._claims.claim(harness.accept("create_volume", volume="one"))
    given_back = runner._claims.claim(harness.accept("create_volume", volume="two"))
    assert isinstance(ended, Lease)
    assert isinstance(given_back, Lease)
    ended.completed, ended.waiting_slot = True, WaitingSlot("token", 0.0)
    assert runner._next(ended) is ended.waiting_slot
    ended.next_lease = given_back
    assert runner._next(ended) is given_back
    waiting = harness.accept("create_volume", volume="three")
    following = runner._next(given_back)
    assert isinstance(following, Lease)
    assert following.job_id == waiting


def test_a_job_whose_task_cannot_be_called_is_not_renewed(
    harness: Harness, runner: JobRunner, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    def broken(**_: Any) -> None:
        raise RuntimeError("a handler of a signal")

    lease = runner._claims.claim(harness.accept("create_volume"))
    assert isinstance(lease, Lease)
    monkeypatch.setattr(runtime.celery.tasks[lease.job.operation.task_name], "apply", broken)
    runner._run_as_task(lease)
    assert runner._claims._lease_renewer.leases() == []


def test_a_batch_begins_and_ends_for_flower(harness: Harness, runtime: Runtime, heard: FlowerEvents):
    batch_id = harness.accept_batch(harness.new("create_volume", volume="a"))
    task = runtime.celery.tasks[BATCH.task_name]
    task.run("nobody-knows-it")
    assert heard.events == []
    task.run(batch_id)
    assert heard.of(batch_id) == ["started"]
    harness.node().carry_out(harness.members(batch_id)[0].id)
    # The clock of Redis may have been set back meanwhile.
    for ran_ms, runtime_s in ((4000, 4.0), (-4000, 0.0)):
        harness.client.hset(f"{PREFIX}job:{batch_id}", "started", int(harness.field(batch_id, "finished")) - ran_ms)
        task.run(batch_id)
        assert heard.last() == ("succeeded", {"result": None, "runtime": runtime_s})


def test_a_batch_that_was_cancelled_before_it_began_was_revoked(
    harness: Harness, runtime: Runtime, heard: FlowerEvents
):
    batch_id = harness.accept_batch(harness.new("create_volume", volume="a"))
    harness.batches.cancel(batch_id, "ann")
    assert harness.job(batch_id).started_ms is None
    with structlog.testing.capture_logs() as lines:
        runtime.celery.tasks[BATCH.task_name].run(batch_id)
    assert heard.last()[0] == "revoked"
    ended = next(line for line in lines if line["event"] == "batch.ended")
    assert (ended["job_id"], ended["state"], ended["cancelled"]) == (batch_id, "cancelled", 1)


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.OutOfMemoryError("full")])
def test_a_batch_waits_for_redis(
    runtime: Runtime, heard: FlowerEvents, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """Its message is lost; the maintenance loop goes on with it."""

    def away(_batch_id: str) -> None:
        raise error

    task: Any = runtime.celery.tasks[BATCH.task_name]
    monkeypatch.setattr(task._batches, "advance", away)
    with structlog.testing.capture_logs() as lines:
        task.run("batch")
    assert [line["event"] for line in lines] == ["batch.deferred"]
    assert heard.events == []


def test_a_batch_that_failed_is_a_task_that_failed(harness: Harness, runtime: Runtime, heard: FlowerEvents):
    batch_id = harness.accept_batch(
        harness.new("create_volume", volume="vol"), harness.new("create_volume", volume="new"), parallel=1, stop=True
    )
    harness.node().carry_out(harness.members(batch_id)[0].id)
    runtime.celery.tasks[BATCH.task_name].run(batch_id)
    assert heard.last() == ("failed", {"exception": "RequestRefused('batch-failed')", "traceback": None})


def test_a_message_takes_a_slot_of_the_queue_from_which_it_came(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    """Of one queue for all, the jobs of a slow storage system would take the slots of the others."""
    run: list[tuple[Any, ...]] = []
    monkeypatch.setattr(JobRunner, "run_message", lambda _runner, *arguments: run.append(arguments))
    for operation in OPERATIONS.values():
        task = runtime.celery.tasks[operation.task_name]
        task.apply(args=("job",), routing_key=f"filer.{operation.queue_class}")
        assert run.pop() == ("job", f"filer.{operation.queue_class}", operation)
        # A foreign message may name no queue.
        task.apply(args=("job",))
        assert run.pop() == ("job", "", operation)
    assert len(OPERATIONS) > 10


def test_tasks_are_for_messages_alone(runtime: Runtime):
    """Nothing of Celery's own keeps results, repeats a task, or acknowledges it late: jobs have all that."""
    tasks = [runtime.celery.tasks[operation.task_name] for operation in (*OPERATIONS.values(), BATCH)]
    assert len(tasks) > 20
    # Celery logs no traceback of a job that has failed: that is no fault of the worker.
    assert all(task.throws == (JobFailed,) for task in tasks[:-1])
    for task in tasks:
        assert (task.ignore_result, task.acks_late, task.max_retries) == (True, False, 0), task.name


def test_a_job_that_was_put_off_goes_on_while_redis_is_full(harness: Harness, runtime: Runtime, runner: JobRunner):
    """No message can be published then: the maintenance loop fills free slots by itself."""
    job_id = harness.accept("create_volume")
    harness.client.config_set("maxmemory", 1)
    try:
        runtime.publisher.is_failing = True
        runtime.maintenance._publish_runnable()
        runner.close()
    finally:
        harness.client.config_set("maxmemory", 0)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert runner._slots.free_slots(_WRITE) == harness.settings.write_slots
