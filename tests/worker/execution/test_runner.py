"""What a worker does with a message, a slot and the end of a job, and which events Flower receives."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from celery.exceptions import Ignore
from structlog.testing import capture_logs

from tests.worker.execution.flower_recorder import FlowerEvents, message
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.catalog.operations import QueueClass
from worker.execution.lease import WaitingSlot
from worker.execution.runner import JobFailed, JobRunner
from worker.jobs.record import State
from worker.runtime import Runtime

_WRITE = f"{SUBSYSTEM}.write"


def _all_free(harness: Harness, runner: JobRunner) -> bool:
    """Is every slot free, once those that wait for a next job have given up?"""
    runner.close()
    return runner._slots.free_slots(_WRITE) == harness.settings.write_slots


def test_a_job_is_carried_out_and_events_are_sent_to_flower(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    job_id = harness.accept("create_volume")
    began = time.perf_counter()
    message(runner, job_id)
    took_s = time.perf_counter() - began
    assert harness.job(job_id).state is State.SUCCEEDED
    assert heard.of(job_id) == ["started", "succeeded"]
    kind, fields = heard.last()
    assert (kind, fields["result"]) == ("succeeded", None)
    assert 0 < fields["runtime"] <= took_s
    assert _all_free(harness, runner)


def test_a_job_that_failed_is_a_task_that_failed(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    job_id = harness.accept("restrict_volume", volume="none")
    with pytest.raises(JobFailed, match=r"^no-such-volume$"):
        message(runner, job_id, "restrict_volume")
    assert heard.of(job_id) == ["started", "failed"]
    assert heard.last()[1] == {"exception": "RequestRefused('no-such-volume')", "traceback": None}
    assert _all_free(harness, runner)


def test_each_end_of_a_job_is_a_line_of_the_log(harness: Harness, runner: JobRunner):
    failing = harness.accept("restrict_volume", volume="none")
    # The slot goes on with this one.
    harness.accept("create_volume", volume="new")
    with capture_logs() as lines:
        with pytest.raises(JobFailed):
            message(runner, failing, "restrict_volume")
        assert _all_free(harness, runner)
    ends = [line for line in lines if line["event"] in ("job.failed", "job.ended", "job.not-ended")]
    failed, ended = ends
    assert (failed["event"], failed["log_level"], failed["code"]) == ("job.failed", "warning", "no-such-volume")
    assert "none" in failed["detail"]
    assert (ended["event"], ended["log_level"], ended["state"]) == ("job.ended", "info", State.SUCCEEDED)


def test_the_slot_of_a_job_that_failed_goes_on_with_the_next(harness: Harness, runner: JobRunner):
    failing = [harness.accept("restrict_volume", volume=volume) for volume in ("none", "neither")]
    last = harness.accept("create_volume", volume="new")
    with capture_logs() as lines:
        with pytest.raises(JobFailed):
            message(runner, failing[0], "restrict_volume")
        assert _all_free(harness, runner)
    assert [harness.job(job_id).state for job_id in (*failing, last)] == [State.FAILED, State.FAILED, State.SUCCEEDED]
    # A job that fails is no fault of the worker.
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []


def test_dropped_messages_are_remembered_up_to_the_number_of_slots(runner: JobRunner):
    slots = runner._slots
    for _ in range(3 * slots.of(_WRITE)):
        slots.take(_WRITE, QueueClass.WRITE)
    assert [slots.free(_WRITE) for _ in range(slots.of(_WRITE) + 1)] == [False] * slots.of(_WRITE) + [True]
    assert slots.take(_WRITE, QueueClass.WRITE)
    assert not slots.take(_WRITE, QueueClass.WRITE)
    assert [slots.free(_WRITE), slots.free(_WRITE)] == [False, True]


def test_a_job_that_was_cancelled_is_a_task_that_was_revoked(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    job_id = harness.accept("create_volume")
    harness.jobs.cancel(job_id, "ann")
    with pytest.raises(Ignore):
        message(runner, job_id)
    assert heard.events == [("revoked", {"uuid": job_id, "terminated": False, "signum": None, "expired": False})]
    assert _all_free(harness, runner)


def test_a_duplicate_message_takes_the_next_job(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    first, second = harness.accept("create_volume", volume="one"), harness.accept("create_volume", volume="two")
    harness.node().claim(first)
    with pytest.raises(Ignore):
        message(runner, first)
    assert _all_free(harness, runner)
    assert heard.of(first) == []
    assert heard.of(second) == ["received", "started", "succeeded"]
    assert harness.job(second).state is State.SUCCEEDED


def test_each_job_of_a_queue_is_a_task_of_its_own(harness: Harness, runner: JobRunner, heard: FlowerEvents):
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(4)]
    message(runner, jobs[0])
    assert _all_free(harness, runner)
    assert [harness.job(job_id).state for job_id in jobs] == [State.SUCCEEDED] * 4
    assert [heard.of(job_id) for job_id in jobs] == [
        ["started", "succeeded"],
        *[["received", "started", "succeeded"]] * 3,
    ]
    assert [harness.job(job_id).attempt for job_id in jobs] == [1] * 4
    assert not harness.leftovers()


def test_a_message_that_finds_no_free_slot_is_for_the_next_that_becomes_free(
    harness: Harness, runner: JobRunner, heard: FlowerEvents
):
    job_id = harness.accept("create_volume")
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    with pytest.raises(Ignore):
        message(runner, job_id)
    assert harness.job(job_id).state is State.QUEUED
    runner._continue_with(None, _WRITE)
    runner.close()
    assert harness.job(job_id).state is State.SUCCEEDED
    assert runner._slots.free_slots(_WRITE) == 1


def test_a_slot_that_fails_becomes_free(harness: Harness, runner: JobRunner, monkeypatch: pytest.MonkeyPatch):
    def broken(_: WaitingSlot) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(runner._claims, "await_next", broken)
    job_id = harness.accept("create_volume")
    for _ in range(harness.settings.write_slots):
        assert runner._slots.take(_WRITE, QueueClass.WRITE)
    with pytest.raises(Ignore):
        message(runner, job_id)
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
            message(runner, job_id)
    assert claim.mock_calls == []
    assert harness.job(job_id).state is State.QUEUED
    runtime.publisher.close()
    assert harness.client.llen(f"{PREFIX}celery:{_WRITE}") == 1
    assert runner._claim_next(_WRITE) is None
    assert _all_free(harness, runner)


def test_while_redis_is_away_a_message_changes_nothing(
    harness: Harness, runner: JobRunner, heard: FlowerEvents, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    job_id = harness.accept("create_volume")
    monkeypatch.setattr(runner._claims, "claim", away)
    with pytest.raises(Ignore):
        message(runner, job_id)
    monkeypatch.setattr(runner._claims, "claim_next", away)
    assert runner._claim_next(_WRITE) is None
    assert (harness.job(job_id).state, heard.events) == (State.QUEUED, [])
    assert _all_free(harness, runner)
