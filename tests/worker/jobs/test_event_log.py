"""The event log has each change of a job once, in order, as the job was then."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.execution.claims import Completion
from worker.jobs.event_log import BEGINNING, EventLog, EventLogTrimming, Position
from worker.jobs.failure import Failure
from worker.jobs.record import Job, State


@pytest.fixture
def log(harness: Harness) -> EventLog:
    return EventLog(harness.client, PREFIX)


def states(log: EventLog, job_id: str) -> list[State]:
    """The states of the job in the log, each once in a row."""
    seen: list[State] = []
    for event in log.read(BEGINNING, 1000):
        if event.status is not None and event.status.job.id == job_id and event.status.job.state not in seen[-1:]:
            seen.append(event.status.job.state)
    return seen


def test_the_tail_is_read_without_the_rest(harness: Harness, log: EventLog):
    for number in range(30):
        harness.accept("update_volume", volume=f"vol{number}")
    before = harness.client.info("stats")["total_net_output_bytes"]
    tail = log.tail()
    read_bytes = harness.client.info("stats")["total_net_output_bytes"] - before
    whole = sum(len(str(event.status)) for event in log.read(BEGINNING, 1000))
    assert tail.number == 30
    assert whole > 30_000
    # Those of the figures themselves are among them.
    assert read_bytes < 15_000


def test_every_change_is_an_entry_and_they_are_numbered_without_a_gap(harness: Harness, log: EventLog):
    job_id = harness.accept("update_volume", volume="vol")
    harness.node().carry_out(job_id)
    assert states(log, job_id) == [State.QUEUED, State.RUNNING, State.SUCCEEDED]
    events = log.read(BEGINNING, 1000)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    versions = [event.status.job.version for event in events if event.status]
    assert versions == sorted(versions)
    assert log.tail() == events[-1].position


def test_an_entry_shows_the_job_as_its_record_did(harness: Harness, log: EventLog):
    named: dict[str, Any] = {
        "requester_id": "id", "volume": "vol", "query": "limit=1", "retry_of": "job", "callback": "https://host/"
    }  # fmt: skip
    traceparent, request = f"00-{1:032x}-{2:016x}-01", {"rules": ["x" * 40] * 100}
    new = replace(harness.new("create_policy"), request=request, traceparent=traceparent, **named)
    job_id = harness.jobs.accept(new)[1]
    node = harness.node()
    lease = node.claim(job_id)
    recorded: dict[Any, Any] = {
        "waiting_reason": "retrying", "unit": "steps", "message": "m", "backend_job": "4711", "batch": "batch",
        "current": 1, "total": 2,
    }  # fmt: skip
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping=recorded | {"cancel_requested": 3})
    harness.client.hset(f"{PREFIX}job:batch", "id", "batch")
    errors = ({"pointer": "/rules/0", "detail": "no"},)
    failure = Failure(
        "backend-error", "no", retryable=True, backend_error={"code": "1", "message": "no"}, errors=errors
    )
    node.claims.complete(lease, Completion(State.FAILED, failure))
    logged, kept = log.read(BEGINNING, 1000)[-1].status, harness.jobs.get(job_id)
    assert logged is not None
    assert kept is not None
    names = {each.name for each in fields(Job) if getattr(kept.job, each.name)} - {"arguments", "traceparent", "facts"}
    assert {name: getattr(logged.job, name) for name in names} == {name: getattr(kept.job, name) for name in names}
    others = {"request", "failure", "requester_key", "trace_id"}
    assert (named.keys() - {"requester_id"}) | recorded.keys() | others <= names


def test_an_entry_shows_the_place_of_a_job_that_waits(harness: Harness, log: EventLog):
    for node in ("one", "two"):
        harness.scripts.worker_heartbeat(node, {f"{SUBSYSTEM}.write": 8})
    # One whose last heartbeat is too old, and one that seems to come, from before the clock was set back.
    others = {name: (time.time() + after_s) * 1000 for name, after_s in (("gone", -16), ("before", 60))}
    harness.client.zadd(f"{PREFIX}workers:{SUBSYSTEM}.write", others)
    waiting = [
        harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=number) for number in range(4)
    ][-1]
    *earlier, event = [each.status for each in log.read(BEGINNING, 1000)]
    reasons = [(each.position, each.waiting_reason) for each in earlier if each]
    assert reasons == [(0, None), (1, "behind-jobs"), (2, "behind-jobs")]
    kept = harness.jobs.get(waiting)
    assert event is not None
    assert kept is not None
    assert (event.job.id, event.workers_online, event.waiting_reason) == (waiting, 2, "behind-jobs")
    assert event.position == kept.position == 3


def test_the_entry_of_a_cancelled_job_has_its_end(harness: Harness, log: EventLog):
    job_id = harness.accept("update_volume", volume="vol")
    harness.jobs.cancel(job_id, "ann")
    assert states(log, job_id) == [State.QUEUED, State.CANCELLED]


def test_reading_continues_after_a_position(harness: Harness, log: EventLog):
    harness.accept("update_volume", volume="one")
    after = log.tail()
    assert log.wait(after, 10, 1) == []
    second = harness.accept("update_volume", volume="two")
    events = log.wait(after, 10, 1000)
    assert [event.status.job.id for event in events if event.status] == [second]
    assert log.read(after, 10) == events
    assert log.read(events[-1].position, 10) == []


def test_an_empty_log_is_read_from_the_first_entry_on(harness: Harness, log: EventLog):
    assert log.tail() == Position("0-0", 0)
    assert log.wait(log.tail(), 10, 1) == log.read(log.tail(), 10) == []
    harness.accept("update_volume", volume="one")
    assert [event.number for event in log.read(Position("0-0", 0), 10)] == [1]


def test_no_more_entries_are_read_than_are_wanted(harness: Harness, log: EventLog):
    for volume in ("one", "two", "three"):
        harness.accept("update_volume", volume=volume)
    assert [event.number for event in log.read(BEGINNING, 2)] == [1, 2]
    assert [event.number for event in log.wait(BEGINNING, 2, 1)] == [1, 2]


def test_recent_entries_stay_and_the_log_is_trimmed_every_ten_seconds(
    harness: Harness, log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    clock, kept_s = [100.0], list[float]()
    harness.accept("update_volume", volume="one")
    log.trim(60)
    assert len(log.read(BEGINNING, 10)) == 1
    monkeypatch.setattr("worker.jobs.event_log.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(log, "trim", kept_s.append)
    trimming = EventLogTrimming(log, keep_s=60)
    for after_s, times in ((0, 1), (9, 1), (2, 2)):
        clock[0] += after_s
        trimming()
        assert kept_s == [60] * times


def test_old_entries_are_deleted_and_their_numbers_are_not_reused(harness: Harness, log: EventLog):
    harness.accept("update_volume", volume="one")
    last = log.tail()
    EventLogTrimming(log, keep_s=-5)()
    assert log.read(BEGINNING, 10) == []
    assert log.tail().number == last.number
    harness.accept("update_volume", volume="two")
    (event,) = log.read(BEGINNING, 10)
    assert last.number is not None
    assert event.number == last.number + 1


@pytest.mark.parametrize("text", ["", "1", "1-2", "a-b-c", "1-2-3-4", "1-2-", "١-1-1", f"{'9' * 30}-1-1"])
def test_an_invalid_position_is_refused(text: str):
    assert Position.parse(text) is None


def test_a_position_can_be_written_and_read():
    assert Position.parse(str(Position("1764-3", 12))) == Position("1764-3", 12)


def test_the_log_is_bounded_in_length(harness: Harness):
    fill = "for i = 1, 100200 do redis.call('XADD', KEYS[1], '*', 'n', i) end redis.call('SET', KEYS[2], 99)"
    harness.client.eval(fill, 2, f"{PREFIX}event_log", f"{PREFIX}event_seq")
    harness.accept("create_volume")
    assert 100_000 <= harness.client.xlen(f"{PREFIX}event_log") <= 100_100


def test_a_wait_is_one_command_that_returns_with_the_next_entry():
    client = Mock()
    client.xread.return_value = []
    assert EventLog(client, PREFIX).wait(BEGINNING, 20, 2000) == []
    assert client.mock_calls == [call.xread({f"{PREFIX}event_log": "0-0"}, count=20, block=2000)]
