"""What the scripts count and record at the end of a job, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.redis_clock import redis_now_ms
from tests.worker.store.redis_views import score, snapshot, texts
from worker.execution.claims import Completion
from worker.jobs.event_log import BEGINNING, EventLog
from worker.jobs.failure import Failure
from worker.jobs.record import State

_WRITE = f"{SUBSYSTEM}.write"


# --- what ends are counted as


def _ended(harness: Harness, job_id: str, *, ran_ms: int, failure: Failure | None = None) -> None:
    node = harness.node()
    lease = node.claim(job_id)
    harness.client.hset(f"{PREFIX}job:{job_id}", "started", redis_now_ms(harness.client) - ran_ms)
    state = State.FAILED if failure else State.SUCCEEDED
    node.claims.complete(lease, Completion(state, failure, result=b"null"))


def test_mean_run_times_follow_what_succeeds(harness: Harness):
    name = "create_volume"
    for number, (ran_ms, failure, expected) in enumerate(
        [(10_000, None, 10_000), (20_000, None, 13_000), (90_000, Failure("backend-error", "no"), 13_000)]
    ):
        _ended(harness, harness.accept(name, volume=f"v{number}"), ran_ms=ran_ms, failure=failure)
        mean = int(texts(harness, f"mean_durations:{SUBSYSTEM}")[name])
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
    counted = texts(harness, "metrics")
    for name in (
        "ended filer create_volume succeeded ", "ended filer create_volume failed already-exists",
        "ended filer create_policy failed backend-error", "failed filer already-exists", "failed filer backend-error",
        "run filer create_volume 2000", "run filer create_policy inf",
    ):  # fmt: skip
        assert counted[name] == "1", name
    assert int(counted["run filer create_policy sum"]) >= 2_000_000_000
    assert sum(int(count) for name, count in counted.items() if name.startswith("wait ") and "sum" not in name) == 3
    # A refused request of a user is not reported to the operator.
    assert harness.client.llen(f"{PREFIX}failures") == 1


def test_how_long_jobs_wait_is_counted_when_they_begin_for_the_first_time(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    harness.client.hset(f"{PREFIX}job:{job_id}", "created", redis_now_ms(harness.client) - 1500)
    for _ in range(2):
        node.claims.requeue(node.claim(job_id), 0)
    counted = {name: int(count) for name, count in texts(harness, "metrics").items() if name.startswith("wait ")}
    assert counted.pop(f"wait {_WRITE} sum") in range(1_500_000, 2_000_000)
    assert counted == {f"wait {_WRITE} 2000": 1}


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
        assert score(harness, f"{PREFIX}expiring", job_id) == int(harness.field(job_id, "expires"))
        result_s = min(kept[operation] // 1000, harness.settings.result_keep)
        assert result_s - 10 < harness.client.ttl(f"{PREFIX}result:{job_id}") <= result_s
    settings = harness.settings
    assert kept == {"get_volume": settings.read_job_keep * 1000, "create_volume": settings.job_keep * 1000}
    assert settings.read_job_keep < settings.result_keep < settings.job_keep


# --- the event log


def test_an_event_tells_the_place_in_the_queue_and_no_long_request(harness: Harness):
    harness.scripts.worker_heartbeat("here", {_WRITE: 4})
    harness.client.zadd(f"{PREFIX}workers:{_WRITE}", {"silent": redis_now_ms(harness.client) - 15_500})
    harness.jobs.accept(snapshot(harness, "first"))
    second = harness.jobs.accept(replace(snapshot(harness, "second"), request={"comment": "x" * 1100}))[1]
    (event,) = [each for each in EventLog(harness.client, PREFIX).read(BEGINNING, 10) if _id_of(each) == second]
    assert event.status is not None
    assert (event.status.position, event.status.workers_online) == (1, 1)
    entries: Any = harness.client.xrange(f"{PREFIX}event_log")
    assert [entry[b"request"] == b"" for _, entry in entries] == [False, True]


def _id_of(event: Any) -> str:
    return str(event.status.job.id) if event.status else ""
