"""What the maintenance loop does in each turn, and what its tasks write."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest
import redis

from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.maintenance.loop_turns import Turns, in_doubt
from worker.execution.claims import MAX_WORKER_LOSSES, grace_ms
from worker.health_report import CONSUMER_SILENT, OK, REDIS_UNAVAILABLE
from worker.jobs.record import State
from worker.maintenance import loop

_WRITE = f"{SUBSYSTEM}.write"


def test_intervals_of_maintenance_tasks(harness: Harness):
    turns = Turns(harness)
    purged: list[int] = []
    for turn in range(11):
        harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys((f"gone{n}" for n in range(150)), 1))
        turns.loop._turn(turn)
        purged += [turn] if not harness.client.exists(f"{PREFIX}expiring") else []
    assert (turns.beats.counts["beat"], turns.health) == (4, [OK] * 4)
    # All that has expired, however much it is.
    assert purged == [0, 10]
    assert len(turns.task_turns) == 11


def test_a_silent_consumer_is_reported(harness: Harness):
    turns = Turns(harness)
    turns.beats.is_well = False
    turns.loop._turn(0)
    assert turns.health == [CONSUMER_SILENT]


def test_a_worker_that_shuts_down_is_well_takes_no_jobs_and_reconciles_none(harness: Harness):
    turns = Turns(harness)
    turns.drain.set()
    job_id = harness.accept("create_volume")
    harness.publisher.take()
    turns.loop._turn(0)
    assert (turns.health, turns.beats.counts) == ([OK], {"leave": 1})
    assert harness.publisher.take() == []
    assert turns.loop._capacity() == 0
    turns.drain.clear()
    turns.loop._turn(1)
    assert [message.job_id for message in harness.publisher.take()] == [job_id]


def test_a_worker_shuts_down_also_while_redis_is_away(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    def away() -> None:
        raise redis.ConnectionError("away")

    turns = Turns(harness)
    monkeypatch.setattr(turns.beats, "leave", away)
    turns.loop.leave()
    assert turns.health == []


def test_a_job_ended_by_a_sweep_expires_like_others(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id)
    harness.jobs.cancel(job_id, "ann")
    harness.let_time_pass()
    Turns(harness).loop.recover(SUBSYSTEM)
    job = harness.job(job_id)
    assert job.state is State.CANCELLED
    assert (
        int(harness.field(job_id, "expires")) - int(harness.field(job_id, "finished"))
        == harness.settings.job_keep * 1000
    )


def test_a_read_whose_worker_was_lost_is_published_again(harness: Harness):
    job_id = harness.accept("list_volumes")
    harness.node().claim(job_id)
    harness.publisher.take()
    harness.let_time_pass()
    Turns(harness).loop.recover(SUBSYSTEM)
    assert [message.job_id for message in harness.publisher.take()] == [job_id]


def test_as_many_messages_as_there_are_free_slots(harness: Harness):
    turns = Turns(harness)
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(4)]
    harness.publisher.take()
    turns.free = 0
    turns.loop._turn(1)
    assert harness.publisher.take() == []
    turns.free = 3
    turns.loop._turn(2)
    assert [message.job_id for message in harness.publisher.take()] == jobs[:3]


@pytest.mark.parametrize(("free", "runnable", "tried"), [(3, 2, 3), (3, 9, 3), (1, 9, 1), (0, 9, 0)])
def test_jobs_are_run_without_messages_while_none_can_be_published(
    harness: Harness, free: int, runnable: int, tried: int
):
    turns = Turns(harness)
    turns.free, turns.runnable = free, runnable
    turns.loop._turn(1)
    assert turns.run == []
    harness.publisher.is_failing = True
    turns.loop._turn(2)
    assert turns.run == [_WRITE] * tried


def test_a_free_slot_skips_jobs_that_are_not_runnable(harness: Harness):
    turns = Turns(harness)
    running, *_ = (harness.accept("create_snapshot", volume="vol", name=f"s{n}") for n in range(4))
    harness.node().claim(running)
    runnable = harness.accept("create_volume", volume="other")
    harness.publisher.take()
    turns.free = 1
    turns.loop._turn(1)
    assert [message.job_id for message in harness.publisher.take()] == [runnable]


def test_jobs_are_recovered_by_the_times_of_the_settings(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    turns, settings = Turns(harness), harness.settings
    recover = Mock(side_effect=harness.scripts.recover_jobs)
    monkeypatch.setattr(harness.scripts, "recover_jobs", recover)
    turns.loop.recover(SUBSYSTEM)
    subsystem, lease_ms, grace, losses, keep_ms, _token, capacity = recover.call_args.args
    assert (subsystem, lease_ms, grace) == (SUBSYSTEM, settings.lease * 1000, grace_ms(settings.lease))
    assert (losses, keep_ms, capacity) == (MAX_WORKER_LOSSES, settings.job_keep * 1000, loop._RECONCILERS)


def test_no_more_jobs_are_taken_to_reconcile_than_there_are_threads(harness: Harness):
    go_on, begun = threading.Event(), threading.Semaphore(0)
    taken: dict[str, str] = {}

    def reconcile(job_id: str, token: str) -> None:
        taken[job_id] = token
        begun.release()
        assert go_on.wait(20)
        raise redis.ConnectionError("away")

    turns = Turns(harness, reconcile)
    jobs = in_doubt(harness, 6)
    assert turns.loop._capacity() == 4
    turns.loop.recover(SUBSYSTEM)
    for _ in range(4):
        assert begun.acquire(timeout=20)
    assert turns.loop._capacity() == 0
    assert {harness.field(job_id, "token") for job_id in taken} == set(taken.values())
    assert all(token.endswith(f":{job_id}") for job_id, token in taken.items())
    seconds, _ = harness.client.time()
    assert all(int(harness.field(job_id, "lease")) > (seconds + 10) * 1000 for job_id in taken)
    harness.let_time_pass()
    turns.loop.recover(SUBSYSTEM)
    tokens = {job_id: harness.field(job_id, "token") for job_id in jobs}
    assert {job_id: token for job_id, token in tokens.items() if token.startswith("reconcile:")} == taken
    go_on.set()
    turns.loop._pool.shutdown(wait=True)
    assert turns.loop._capacity() == 4
    assert set(taken) < set(jobs)


@pytest.mark.parametrize(
    ("error", "health"), [(redis.ConnectionError("away"), [REDIS_UNAVAILABLE]), (ValueError("a mistake"), [])]
)
def test_the_loop_continues_after_every_error(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception, health: list[str]
):
    turns = Turns(harness)
    seen, pauses_s = list[int](), list[float]()

    def turn(number: int) -> None:
        seen.append(number)
        if number == 2:
            turns.loop.stop()
        if number == 0:
            raise error

    monkeypatch.setattr(turns.loop, "_turn", turn)
    monkeypatch.setattr(turns.loop._over, "wait", pauses_s.append)
    turns.loop.run()
    assert (seen, turns.health, pauses_s) == ([0, 1, 2], health, [1, 1, 1])


def test_a_loop_that_has_been_stopped_deletes_no_more_records(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    turns = Turns(harness)
    monkeypatch.setattr(harness.scripts, "purge_expired", purge := Mock(return_value=100))
    monkeypatch.setattr(turns.loop._pool, "shutdown", shutdown := Mock())
    turns.loop.stop()
    turns.loop._purge()
    assert purge.call_count == 1
    # Reconciliations are not waited for.
    shutdown.assert_called_once_with(wait=False)


def test_an_error_in_one_step_does_not_prevent_the_others(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    turns = Turns(harness)
    job_id = harness.accept("create_volume")
    harness.publisher.take()
    harness.client.zadd(f"{PREFIX}expiring", {"gone": 1})
    recovered: list[str] = []

    def recover(subsystem: str, error: Exception) -> None:
        if subsystem == "odd":
            raise error
        recovered.append(subsystem)

    def failing() -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(turns.loop, "_subsystems", ["odd", SUBSYSTEM])
    monkeypatch.setattr(turns.loop, "_tasks", [failing, *turns.loop._tasks])
    monkeypatch.setattr(turns.loop, "recover", lambda subsystem: recover(subsystem, redis.ConnectionError("away")))
    with pytest.raises(redis.ConnectionError):
        turns.loop._turn(0)
    assert (recovered, turns.task_turns) == ([], [])
    monkeypatch.setattr(turns.loop, "recover", lambda subsystem: recover(subsystem, redis.ResponseError("WRONGTYPE")))
    turns.loop._turn(0)
    assert (recovered, turns.task_turns) == ([SUBSYSTEM], [1])
    assert [message.job_id for message in harness.publisher.take()] == [job_id]
    assert not harness.client.exists(f"{PREFIX}expiring")
