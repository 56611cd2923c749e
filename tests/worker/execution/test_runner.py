"""What a worker does with a message, a slot and the end of a job, and what Flower hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import redis
import structlog
from celery.exceptions import Ignore
from structlog.testing import capture_logs

from storage_backends.configuration.subsystems import Subsystems
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.catalog.operations import BATCH, OPERATIONS, QueueClass
from worker.config.settings import Settings, load
from worker.execution.lease import Lease, WaitingSlot
from worker.execution.runner import JobFailed, JobRunner
from worker.jobs.record import State
from worker.runtime import Runtime, build

_WRITE = f"{SUBSYSTEM}.write"


class Heard:
    """What Flower would hear."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.events.append((kind.removeprefix("task-"), fields))

    def of(self, job_id: str) -> list[str]:
        return [kind for kind, fields in self.events if fields["uuid"] == job_id]

    def last(self) -> tuple[str, dict[str, Any]]:
        kind, fields = self.events[-1]
        return kind, {name: value for name, value in fields.items() if name != "uuid"}


@pytest.fixture
def runtime(harness: Harness, redis_url: str) -> Iterator[Runtime]:
    subsystems = Subsystems.from_environment(
        {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage🌈state_dir🌈{harness.folder}"}
    )
    made = build(load(Settings, redis_url=redis_url, SAPI_DEBUG=True), subsystems, list(QueueClass), "test")
    yield made
    made.stop()


@pytest.fixture
def heard(runtime: Runtime) -> Heard:
    made: Any = Heard()
    runtime.celery.flower_events = made
    return made  # type: ignore[no-any-return]


@pytest.fixture
def runner(runtime: Runtime) -> JobRunner:
    return runtime.runner


def _message(runner: JobRunner, job_id: str, operation: str = "create_volume") -> None:
    """What Celery's task does with a message."""
    runner.run_message(job_id, _WRITE, OPERATIONS[operation])


def _all_free(harness: Harness, runner: JobRunner) -> bool:
    """Is every slot free, once those that wait for a next job have given up?"""
    runner.close()
    return runner._slots.free_slots(_WRITE) == harness.settings.write_slots


def test_a_job_is_carried_out_and_flower_hears_of_it(harness: Harness, runner: JobRunner, heard: Heard):
    job_id = harness.accept("create_volume")
    _message(runner, job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert heard.of(job_id) == ["started", "succeeded"]
    kind, fields = heard.last()
    assert (kind, fields["result"]) == ("succeeded", None)
    assert 0 < fields["runtime"] < 60
    assert _all_free(harness, runner)


def test_a_job_that_failed_is_a_task_that_failed(harness: Harness, runner: JobRunner, heard: Heard):
    job_id = harness.accept("restrict_volume", volume="none")
    with pytest.raises(JobFailed, match=r"^no-such-volume$"):
        _message(runner, job_id, "restrict_volume")
    assert heard.of(job_id) == ["started", "failed"]
    assert heard.last()[1] == {"exception": "RequestRefused('no-such-volume')", "traceback": None}
    assert _all_free(harness, runner)


def test_each_end_of_a_job_is_a_line_of_the_log(harness: Harness, runner: JobRunner):
    failing = harness.accept("restrict_volume", volume="none")
    # The slot goes on with this one.
    harness.accept("create_volume", volume="new")
    with capture_logs() as lines:
        with pytest.raises(JobFailed):
            _message(runner, failing, "restrict_volume")
        assert _all_free(harness, runner)
    ends = [line for line in lines if line["event"] in ("job.failed", "job.ended", "job.not-ended")]
    failed, ended = ends
    assert (failed["event"], failed["log_level"], failed["code"]) == ("job.failed", "warning", "no-such-volume")
    assert "none" in failed["detail"]
    assert (ended["event"], ended["log_level"], ended["state"]) == ("job.ended", "info", State.SUCCEEDED)


def test_the_slot_of_a_job_that_failed_goes_on_with_the_next(harness: Harness, runner: JobRunner):
    first, second = harness.accept("restrict_volume", volume="none"), harness.accept("create_volume", volume="new")
    with pytest.raises(JobFailed):
        _message(runner, first, "restrict_volume")
    assert _all_free(harness, runner)
    assert harness.job(second).state is State.SUCCEEDED


def test_no_more_messages_are_made_up_for_than_there_are_slots(runner: JobRunner):
    slots = runner._slots
    for _ in range(3 * slots.of(_WRITE)):
        slots.take(_WRITE, QueueClass.WRITE)
    assert [slots.free(_WRITE) for _ in range(slots.of(_WRITE) + 1)] == [False] * slots.of(_WRITE) + [True]


def test_a_job_that_was_cancelled_is_a_task_that_was_revoked(harness: Harness, runner: JobRunner, heard: Heard):
    job_id = harness.accept("create_volume")
    harness.jobs.cancel(job_id, "ann")
    with pytest.raises(Ignore):
        _message(runner, job_id)
    assert heard.events == [("revoked", {"uuid": job_id, "terminated": False, "signum": None, "expired": False})]
    assert _all_free(harness, runner)


def test_a_message_that_comes_twice_takes_the_next_job(harness: Harness, runner: JobRunner, heard: Heard):
    first, second = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    harness.node().claim(first)
    with pytest.raises(Ignore):
        _message(runner, first)
    assert _all_free(harness, runner)
    assert heard.of(first) == []
    assert heard.of(second) == ["received", "started", "succeeded"]
    assert harness.job(second).state is State.SUCCEEDED


def test_each_job_of_a_queue_is_a_task_of_its_own(harness: Harness, runner: JobRunner, heard: Heard):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(4)]
    _message(runner, jobs[0])
    assert _all_free(harness, runner)
    assert [harness.job(job_id).state for job_id in jobs] == [State.SUCCEEDED] * 4
    assert [heard.of(job_id) for job_id in jobs] == [
        ["started", "succeeded"],
        *[["received", "started", "succeeded"]] * 3,
    ]
    assert [harness.job(job_id).attempt for job_id in jobs] == [1] * 4
    assert not harness.leftovers()


def test_a_message_that_finds_no_free_slot_is_for_the_next_that_becomes_free(
    harness: Harness, runner: JobRunner, heard: Heard
):
    job_id = harness.accept("create_volume")
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    with pytest.raises(Ignore):
        _message(runner, job_id)
    assert harness.job(job_id).state is State.QUEUED
    runner._continue_with(None, _WRITE)
    runner.close()
    assert harness.job(job_id).state is State.SUCCEEDED
    assert runner._slots.free_slots(_WRITE) == 1


def test_a_slot_that_fails_becomes_free_whatever_was_turned_away(
    harness: Harness, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: WaitingSlot) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(runner._claims, "await_next", broken)
    job_id = harness.accept("create_volume")
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    with pytest.raises(Ignore):
        _message(runner, job_id)
    runner._run_all(WaitingSlot("token", 0.0), _WRITE)
    assert (runner._slots.free_slots(_WRITE), harness.job(job_id).state) == (1, State.QUEUED)


def test_a_worker_that_shuts_down_gives_messages_to_others(
    harness: Harness, runtime: Runtime, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
):
    job_id = harness.accept("create_volume")
    runtime.drain.set()
    with monkeypatch.context() as patch:
        patch.setattr(runner._claims, "claim", claim := Mock())
        with pytest.raises(Ignore):
            _message(runner, job_id)
    assert claim.mock_calls == []
    assert harness.job(job_id).state is State.QUEUED
    runtime.publisher.close()
    assert harness.client.llen(f"{PREFIX}celery:{_WRITE}") == 1
    assert runner._claim_next(_WRITE) is None
    assert _all_free(harness, runner)


def test_while_redis_is_away_a_message_changes_nothing(
    harness: Harness, runner: JobRunner, heard: Heard, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    job_id = harness.accept("create_volume")
    monkeypatch.setattr(runner._claims, "claim", away)
    with pytest.raises(Ignore):
        _message(runner, job_id)
    monkeypatch.setattr(runner._claims, "claim_next", away)
    assert runner._claim_next(_WRITE) is None
    assert (harness.job(job_id).state, heard.events) == (State.QUEUED, [])
    assert _all_free(harness, runner)


def test_a_thread_runs_the_job_alone_that_it_has_claimed(harness: Harness, runner: JobRunner, heard: Heard):
    claimed, other = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    assert not runner.run_claimed(claimed)
    lease = runner._claims.claim(claimed)
    runner._claimed.lease = lease
    assert not runner.run_claimed(other)
    assert runner.run_claimed(claimed)
    assert not runner.run_claimed(claimed)
    assert heard.of(claimed) == ["started", "succeeded"]


def test_what_a_job_logs_names_it_and_its_trace(harness: Harness, runner: JobRunner, monkeypatch: pytest.MonkeyPatch):
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


def test_a_running_job_that_is_cancelled_is_a_task_that_was_revoked(harness: Harness, runner: JobRunner, heard: Heard):
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


def test_a_job_whose_message_was_turned_away_is_claimed_with_the_end_of_another(harness: Harness, runner: JobRunner):
    first, second = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    lease = runner._claims.claim(first)
    assert isinstance(lease, Lease)
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    # Its message has just been sent, and would be waited for.
    seconds, micros = harness.client.time()
    harness.client.hset(f"{PREFIX}job:{second}", "dispatched_at", seconds * 1000 + micros // 1000)
    with pytest.raises(Ignore):
        _message(runner, second)
    runner._claimed.lease = lease
    assert runner.run_claimed(first)
    assert lease.next_lease is not None
    assert lease.next_lease.job_id == second


def test_a_slot_goes_on_with_the_job_or_the_wait_that_the_end_of_the_last_one_gave_it(
    harness: Harness, runner: JobRunner
):
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


def test_a_batch_begins_and_ends_for_flower(harness: Harness, runtime: Runtime, heard: Heard):
    batch_id = harness.accept_batch(harness.new("create_volume", volume="a"))
    task = runtime.celery.tasks[BATCH.task_name]
    task.run("nobody-knows-it")
    assert heard.events == []
    task.run(batch_id)
    assert heard.of(batch_id) == ["started"]
    harness.node().carry_out(harness.members(batch_id)[0].id)
    harness.client.hset(f"{PREFIX}job:{batch_id}", "started", int(harness.field(batch_id, "finished")) - 4000)
    task.run(batch_id)
    assert heard.last() == ("succeeded", {"result": None, "runtime": 4.0})


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), redis.OutOfMemoryError("full")])
def test_a_batch_waits_for_redis(runtime: Runtime, heard: Heard, monkeypatch: pytest.MonkeyPatch, error: Exception):
    """Its message is lost; the maintenance loop goes on with it."""

    def away(_batch_id: str) -> None:
        raise error

    task: Any = runtime.celery.tasks[BATCH.task_name]
    monkeypatch.setattr(task._batches, "advance", away)
    with structlog.testing.capture_logs() as lines:
        task.run("batch")
    assert [line["event"] for line in lines] == ["batch.deferred"]
    assert heard.events == []


def test_a_batch_that_failed_is_a_task_that_failed(harness: Harness, runtime: Runtime, heard: Heard):
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
    assert len(OPERATIONS) > 10


def test_tasks_are_for_messages_alone(runtime: Runtime):
    """Nothing of Celery's own keeps results, repeats a task, or acknowledges it late: jobs have all that."""
    tasks = [runtime.celery.tasks[operation.task_name] for operation in (*OPERATIONS.values(), BATCH)]
    assert len(tasks) > 20
    # Celery logs no traceback of a job that has failed: that is no fault of the worker.
    assert all(task.throws == (JobFailed,) for task in tasks[:-1])
    for task in tasks:
        assert (task.ignore_result, task.acks_late, task.max_retries) == (True, False, 0), task.name
