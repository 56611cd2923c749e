"""What the maintenance loop does in each turn, and what its tasks write."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from storage_backends.errors import BackendUnavailable
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.backends.gateway import BackendGateway, HealthMonitor
from worker.config.settings import load
from worker.execution import process_exit
from worker.execution.claims import MAX_WORKER_LOSSES, grace_ms
from worker.execution.process_exit import exit_after_drain
from worker.health_report import CONSUMER_SILENT, OK, REDIS_UNAVAILABLE
from worker.jobs.record import State
from worker.jobs.repeats import HELD_TTL_MS, HeldRequests
from worker.listings.repository import Listings
from worker.maintenance import loop
from worker.maintenance.loop import MaintenanceLoop
from worker.maintenance.refresh import Refresh
from worker.store.memory import RedisMemory

_WRITE = f"{SUBSYSTEM}.write"


class Beats:
    """A heartbeat that says what a test says, and counts."""

    def __init__(self) -> None:
        self.is_well, self.counts = True, Counter[str]()

    def beat(self) -> bool:
        self.counts["beat"] += 1
        return self.is_well

    def leave(self) -> None:
        self.counts["leave"] += 1


class Turns:
    """A maintenance loop whose turns a test takes, and what it did."""

    def __init__(self, harness: Harness, reconcile: Callable[[str, str], None] = lambda *_: None) -> None:
        self.beats, self.health, self.task_turns = Beats(), list[str](), list[int]()
        self.drain, self.free = threading.Event(), 3
        scripts: Any = harness.scripts
        publisher: Any = harness.publisher
        beats: Any = self.beats
        self.loop = MaintenanceLoop(
            scripts, publisher, harness.settings, heartbeat=beats, subsystems=[SUBSYSTEM], queues=[_WRITE],
            reconcile=reconcile, free_slots=lambda _queue: self.free, drain=self.drain,
            report_health=self.health.append, tasks=[lambda: self.task_turns.append(1)],
        )  # fmt: skip


def test_what_is_done_seldom_and_in_every_turn(harness: Harness):
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


def test_a_worker_whose_consumer_is_silent_says_so(harness: Harness):
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


def test_a_job_that_a_sweep_ends_is_kept_as_long_as_others(harness: Harness):
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


def test_a_free_slot_finds_what_is_runnable_behind_what_is_not(harness: Harness):
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


def _in_doubt(harness: Harness, count: int) -> list[str]:
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(count)]
    for job_id in jobs:
        harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    return jobs


def test_no_more_jobs_are_taken_to_reconcile_than_there_are_threads(harness: Harness):
    go_on, begun = threading.Event(), threading.Semaphore(0)
    taken: dict[str, str] = {}

    def reconcile(job_id: str, token: str) -> None:
        taken[job_id] = token
        begun.release()
        assert go_on.wait(20)
        raise redis.ConnectionError("away")

    turns = Turns(harness, reconcile)
    jobs = _in_doubt(harness, 6)
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
def test_the_loop_outlives_every_error(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception, health: list[str]
):
    assert loop._EVERY_S == 1
    monkeypatch.setattr("worker.maintenance.loop._EVERY_S", 0.001)
    turns = Turns(harness)
    seen: list[int] = []

    def turn(number: int) -> None:
        seen.append(number)
        if number == 2:
            turns.loop.stop()
        if number == 0:
            raise error

    monkeypatch.setattr(turns.loop, "_turn", turn)
    turns.loop.run()
    assert (seen, turns.health) == ([0, 1, 2], health)


def test_a_mistake_in_one_step_keeps_no_other_from_being_carried_out(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    turns = Turns(harness)
    job_id = harness.accept("create_volume")
    harness.publisher.take()
    harness.client.zadd(f"{PREFIX}expiring", {"gone": 1})
    recovered: list[str] = []

    def recover(subsystem: str, error: Exception) -> None:
        if subsystem == "odd":
            raise error
        recovered.append(subsystem)

    def mistaken() -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(turns.loop, "_subsystems", ["odd", SUBSYSTEM])
    monkeypatch.setattr(turns.loop, "_tasks", [mistaken, *turns.loop._tasks])
    monkeypatch.setattr(turns.loop, "recover", lambda subsystem: recover(subsystem, redis.ConnectionError("away")))
    with pytest.raises(redis.ConnectionError):
        turns.loop._turn(0)
    assert (recovered, turns.task_turns) == ([], [])
    monkeypatch.setattr(turns.loop, "recover", lambda subsystem: recover(subsystem, redis.ResponseError("WRONGTYPE")))
    turns.loop._turn(0)
    assert (recovered, turns.task_turns) == ([SUBSYSTEM], [1])
    assert [message.job_id for message in harness.publisher.take()] == [job_id]
    assert not harness.client.exists(f"{PREFIX}expiring")


def test_listings_are_refreshed_by_whichever_worker_looks_first(harness: Harness):
    names = [SUBSYSTEM, "other"]
    settings = load(type(harness.settings), SAPI_DEBUG=True, refresh_interval=60)
    client, jobs = harness.client, harness.jobs
    Refresh(client, jobs, load(type(harness.settings), SAPI_DEBUG=True, refresh_interval=0), names)()
    assert not list(client.scan_iter(f"{PREFIX}job:*"))
    for _ in range(2):
        Refresh(client, jobs, settings, names)()
    records = [client.hgetall(key) for key in client.scan_iter(f"{PREFIX}job:*")]
    assert sorted((each[b"operation"], each[b"subsystem"], each[b"target"]) for each in records) == [
        (b"list_volumes", name.encode(), f"/v4/{name}/volumes".encode()) for name in names
    ]
    assert 40 < client.ttl(f"{PREFIX}refresh:other") <= 60
    client.expire(f"{PREFIX}refresh:other", 9)
    Refresh(client, jobs, settings, names)()
    assert client.ttl(f"{PREFIX}refresh:other") <= 9
    # It waits for none of the jobs that are under way, and is nobody's.
    client.delete(*client.keys(f"{PREFIX}refresh:*"))
    Refresh(client, jobs, settings, names)()
    records = [client.hgetall(key) for key in client.scan_iter(f"{PREFIX}job:*")]
    assert [(each[b"requester"], each[b"waiters"]) for each in records] == [(b"", b"0")] * 2


class Memory:
    """A Redis that says how much memory it uses."""

    def __init__(self) -> None:
        self.used, self.limit, self.asked = 50, 200, 0
        self.error: redis.RedisError | None = None

    def info(self, _section: str) -> dict[str, int]:
        self.asked += 1
        if self.error:
            raise self.error
        return {"used_memory": self.used, "maxmemory": self.limit}


def test_memory_is_asked_for_once_a_second(monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr("worker.store.memory.time.monotonic", lambda: clock[0])
    client: Any = Memory()
    memory = RedisMemory(client)
    assert memory.used_percent() == 25
    client.used = 100
    clock[0] += 0.9
    assert (memory.used_percent(), client.asked) == (25, 1)
    clock[0] += 0.1
    assert (memory.used_percent(), client.asked) == (50, 2)
    # Without a limit, and while Redis does not say.
    errors = (None, redis.ConnectionError("away"), redis.exceptions.NoPermissionError("no"))
    for client.limit, client.error in zip((0, 200, 200), errors, strict=True):
        clock[0] += 1
        assert memory.used_percent() == 0
    assert client.asked == 5


def test_the_health_of_a_storage_system_is_published(harness: Harness):
    class Filer:
        notes: tuple[str, ...] = ("almost full",)
        error: Exception | None = None

        def check(self) -> tuple[str, ...]:
            if self.error:
                raise self.error
            return self.notes

    filer: Any = Filer()
    gateway = BackendGateway(SUBSYSTEM, lambda: filer, Listings(harness.client, harness.scripts, harness.settings))
    monitor = HealthMonitor({SUBSYSTEM: gateway}, harness.client, PREFIX)
    for error, status, code in (
        (None, "available", ""), (BackendUnavailable("away"), "unavailable", "backend-unavailable"),
        (RuntimeError("a mistake"), "unavailable", "backend-error"),
    ):  # fmt: skip
        filer.error = error
        monitor._check(gateway)
        report = json.loads(harness.client.get(f"{PREFIX}health:{SUBSYSTEM}") or "")
        assert (report["status"], report["code"]) == (status, code)
        assert report["detail"] == "almost full" if error is None else report["detail"]
        assert 100 < harness.client.ttl(f"{PREFIX}health:{SUBSYSTEM}") <= 120


def test_what_has_not_ended_in_time_after_a_drain_is_left(monkeypatch: pytest.MonkeyPatch):
    made: list[threading.Timer] = []

    def start(timer: threading.Timer) -> None:
        made.append(timer)

    monkeypatch.setattr(threading.Timer, "start", start)
    exit_after_drain()
    assert [(timer.interval, timer.daemon) for timer in made] == [(35.0, True)]
    # An exception would end the timer's thread only.
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    made[0].function()
    assert ended == [1]


def test_a_worker_that_takes_no_messages_ends_also_where_its_main_thread_hangs(monkeypatch: pytest.MonkeyPatch):
    done: list[Any] = []
    monkeypatch.setattr(process_exit, "exit_after_drain", lambda: done.append("limit"))
    monkeypatch.setattr("os.kill", lambda _pid, number: done.append(number))
    process_exit.restart_silent_worker()
    assert done == ["limit", signal.SIGTERM]


# --- requests that are held open


@pytest.fixture
def held(harness: Harness) -> HeldRequests:
    return HeldRequests(harness.client, harness.scripts, PREFIX)


def test_a_request_that_is_held_open_renews_its_lease_and_ends_it(harness: Harness, held: HeldRequests):
    key = f"{PREFIX}held:job"
    with held.holding("job"):
        held._renew()
        # Only the script that accepts the job begins it.
        assert not harness.client.exists(key)
        harness.client.set(key, "0", px=100)
        held._renew()
        first = harness.client.get(key)
        assert 1000 < harness.client.pttl(key) <= HELD_TTL_MS
        held._renew()
        assert harness.client.get(key) != first
    assert not harness.client.exists(key)
    harness.client.set(key, "0", px=HELD_TTL_MS)
    held._renew()
    assert harness.client.get(key) == b"0"


def test_whether_a_request_is_held_open_shows_in_its_lease(harness: Harness, held: HeldRequests):
    key = f"{PREFIX}held:job"
    assert not held.is_held_open("job", lambda: False)
    harness.client.set(key, "1")
    assert held.is_held_open("job", lambda: True)

    def renewed() -> bool:
        harness.client.set(key, "2")
        return False

    def ended() -> bool:
        harness.client.delete(key)
        return False

    assert held.is_held_open("job", renewed)
    assert not held.is_held_open("job", ended)


def test_what_could_not_be_forgotten_is_when_redis_is_back(
    harness: Harness, held: HeldRequests, monkeypatch: pytest.MonkeyPatch
):
    forgotten: list[tuple[str, str]] = []
    errors = iter([redis.ConnectionError("away")])

    def forget(digest: str, job_id: str) -> None:
        for error in errors:
            raise error
        forgotten.append((digest, job_id))

    monkeypatch.setattr(harness.scripts, "forget_repeat", forget)
    monkeypatch.setattr(held, "_start", lambda: None)
    held.forget("digest", "job")
    assert (forgotten, held._is_idle()) == ([], False)
    held._forget_all()
    assert (forgotten, held._is_idle()) == ([("digest", "job")], True)
    held.forget("other", "job2")
    held._forget_all()
    assert forgotten == [("digest", "job"), ("other", "job2")]


def test_a_thread_forgets_what_could_not_be_forgotten_at_once(
    harness: Harness, held: HeldRequests, monkeypatch: pytest.MonkeyPatch
):
    calls, done = list[str](), threading.Event()

    def forget(digest: str, _job_id: str) -> None:
        calls.append(digest)
        if len(calls) < 3:
            raise redis.ConnectionError("away")
        done.set()

    monkeypatch.setattr("worker.jobs.repeats._RENEW_EVERY_S", 0.01)
    monkeypatch.setattr(harness.scripts, "forget_repeat", forget)
    held.forget("digest", "job")
    assert done.wait(20)


def test_a_job_in_doubt_is_reconciled_by_the_thread_of_the_loop(harness: Harness):
    node = harness.node()
    turns = Turns(harness, lambda job_id, token: node.reconciler.reconcile(job_id, token) and None)
    (job_id,) = _in_doubt(harness, 1)
    turns.loop.recover(SUBSYSTEM)
    turns.loop._pool.shutdown(wait=True)
    assert harness.job(job_id).state is State.FAILED
