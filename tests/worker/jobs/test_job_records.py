"""What is read from a record: a job, why it failed, and nothing where the record is none."""

from __future__ import annotations

import json
import time
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.execution.claims import Completion
from worker.jobs.failure import FAILURE_DETAILS, Failure, parse_failure
from worker.jobs.record import State, parse_job, parse_record
from worker.jobs.service import Jobs
from worker.store.results import CancelResult, ForceResult

_WHOLE = {
    **dict.fromkeys(("id", "subsystem", "target", "requester", "request_id", "queue"), "x"),
    **dict.fromkeys(("version", "attempt", "seq", "created", "updated"), "1"),
    "operation": "list_volumes", "kind": "read", "state": "queued", "request": "{}", "arguments": "{}",
}  # fmt: skip


def test_incomplete_records_and_unknown_operations_are_ignored():
    assert parse_record(_WHOLE) is not None
    assert parse_record(_WHOLE | {"operation": "of_the_future"}) is None
    # The members of a batch that is being accepted have no state yet.
    assert parse_record({name: value for name, value in _WHOLE.items() if name != "state"}) is None
    assert parse_job([]) is None


def test_missing_fields_are_empty_or_none():
    empty = dict.fromkeys(("query", "callback", "trace_id", "traceparent", "volume", "batch", "requester_key"), "")
    missing = dict.fromkeys(
        ("token", "retry_of", "backend_job", "step", "waiting_reason", "in_doubt_reason", "unit", "message")
    )
    names = {**empty, **missing}
    job, named = parse_record(_WHOLE), parse_record(_WHOLE | {name: f"its {name}" for name in names})
    assert {name: getattr(job, name) for name in names} == names
    assert {name: getattr(named, name) for name in names} == {name: f"its {name}" for name in names}


@pytest.mark.parametrize(
    ("fields", "is_cancellable"),
    [
        ({"state": "queued", "cancellable": "0"}, True),
        ({"state": "running", "cancellable": "1"}, True),
        ({"state": "running"}, True),
        ({"state": "running", "cancellable": "0"}, False),
        ({"state": "cancelling", "cancellable": "1"}, False),
        ({"state": "succeeded", "cancellable": "1"}, False),
        # Others wait for it, too.
        ({"state": "queued", "waiters": "1"}, False),
        ({"state": "running", "waiters": "1"}, False),
        ({"state": "running", "waiters": "0"}, True),
        # An entry of the event log has empty texts for fields that a record does not have.
        ({"state": "running", "kind": "change", "waiters": ""}, True),
    ],
)
def test_whether_a_job_can_be_cancelled(fields: dict[str, str], is_cancellable: bool):
    job = parse_record(_WHOLE | fields)
    assert job is not None
    assert job.cancellable is is_cancellable


def test_the_status_of_a_job_is_the_same_however_it_is_read(harness: Harness):
    job_id = harness.accept("create_policy", policy="p", rules=["10.0.0.0/8"])
    # Ten seconds after its last heartbeat a worker is online; a result of ten kilobytes is not in the document.
    harness.client.zadd(f"{PREFIX}workers:{SUBSYSTEM}.write", {"worker": (time.time() - 10) * 1000})
    _, _, accepted = harness.jobs.accept(harness.new("create_policy", policy="q", rules=[]))
    _, _, batch = harness.batches.accept(harness.new_batch([harness.new("create_volume")]))
    statuses = [harness.jobs.get(job_id), harness.jobs.get_quickly(job_id), accepted, batch]
    assert [each.workers_online for each in statuses if each] == [1, 1, 1, 1]
    completion = Completion(State.SUCCEEDED, result=b'"' + b"x" * 10_000 + b'"')
    node = harness.node()
    assert node.claims.complete(node.claim(job_id), completion)
    statuses = [harness.jobs.get(job_id), harness.jobs.get_quickly(job_id)]
    assert [(each.job.state, each.result) for each in statuses if each] == [(State.SUCCEEDED, b"")] * 2


def _end(harness: Harness, job_id: str, how: str) -> None:
    """Let a job end in one of the ways in which it can."""
    if how == "cancelled while it waits":
        assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLED
        return
    node = harness.node()
    lease = node.claim(job_id)
    if how == "completed":
        assert node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null"))
        return
    node.claims.hand_over(lease, "")
    assert harness.jobs.force_outcome(job_id, State.FAILED, {}, []) is ForceResult.DONE


def test_a_job_that_redis_does_not_return_in_time_is_none(harness: Harness):
    def away(*_: Any) -> None:
        raise redis.TimeoutError("too late")

    short, publisher = Mock(get_job=away), Mock()
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, harness.settings, short)
    job_id = harness.accept("create_volume")
    assert jobs.get(job_id) is not None
    assert jobs.get_quickly(job_id) is None


@pytest.mark.parametrize("how", ["cancelled while it waits", "completed", "decided by an operator"])
def test_a_record_expires_after_its_end_and_jobs_behind_it_are_published(harness: Harness, how: str):
    job_id, behind = harness.accept("create_volume"), harness.accept("create_volume")
    harness.publisher.take()
    _end(harness, job_id, how)
    assert {message.job_id for message in harness.publisher.take()} == {behind}
    job, keep_ms = harness.job(job_id), harness.settings.job_keep * 1000
    assert job.finished_ms is not None
    assert job.expires_ms == job.finished_ms + keep_ms
    assert harness.settings.job_keep != harness.settings.read_job_keep
    (expiring,) = harness.client.zrange(f"{PREFIX}expiring", 0, -1, withscores=True)
    assert expiring == (job_id.encode(), job.expires_ms)


# --- failures


@pytest.mark.parametrize(
    ("code", "retryable"), [("worker-lost", True), ("timed-out", True), ("outcome-unknown", False)]
)
def test_a_failure_of_which_a_script_recorded_the_code_alone(code: str, retryable: bool):
    assert parse_failure({"error_code": code}) == Failure(code, FAILURE_DETAILS[code], retryable)


def test_a_failure_is_read_as_it_was_written():
    failure = Failure("backend-error", "no", True, {"code": "1", "message": "m"}, ({"pointer": "/a", "detail": "d"},))
    assert parse_failure(failure.to_fields()) == failure
    assert parse_failure({}) is None


def test_the_failure_of_a_batch_names_the_members_that_failed():
    members = [
        {"member": 2, "code": "no-such-volume", "detail": ""},
        {"member": 4, "code": "worker-lost", "detail": ""},
        {"member": 5, "code": "lock-held", "detail": "It is locked by h0."},
    ]
    record = {
        "error_code": "batch-failed", "total": "5", "members_succeeded": "2", "failures": json.dumps(members),
    }  # fmt: skip
    failure = parse_failure(record)
    assert failure is not None
    assert (failure.retryable, failure.detail.startswith("3 of 5 ")) == (True, True)
    assert [error["pointer"] for error in failure.errors] == ["/requests/2", "/requests/4", "/requests/5"]
    assert failure.errors[0]["detail"] == "no-such-volume: it failed"
    assert failure.errors[2]["detail"] == "lock-held: It is locked by h0."
    assert failure.errors[1]["detail"] == f"worker-lost: {FAILURE_DETAILS['worker-lost']}"
