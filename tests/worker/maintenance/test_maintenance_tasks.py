"""The tasks of the maintenance loop: refreshes, memory, health, and requests that are held open."""

from __future__ import annotations

import json
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from structlog.testing import capture_logs

from storage_backends.errors import BackendUnavailable
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.maintenance.loop_turns import Turns, in_doubt
from worker.backends.gateway import BackendGateway
from worker.backends.health_monitor import HealthMonitor
from worker.config.settings import load
from worker.execution import process_exit
from worker.execution.process_exit import exit_after_drain
from worker.jobs.record import State
from worker.jobs.repeated_requests import HELD_TTL_MS, HeldRequests
from worker.listings.repository import Listings
from worker.maintenance.refresh import Refresh
from worker.store.redis_memory import RedisMemory

_WRITE = f"{SUBSYSTEM}.write"


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
    # It waits for no running job, and has no requester.
    client.delete(*client.keys(f"{PREFIX}refresh:*"))
    Refresh(client, jobs, settings, names)()
    records = [client.hgetall(key) for key in client.scan_iter(f"{PREFIX}job:*")]
    # Nor does any request wait for its reply.
    assert [(each[b"requester"], each[b"waiters"], each[b"wants_reply"]) for each in records] == [(b"", b"0", b"")] * 2


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


def test_memory_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr("worker.store.redis_memory.time.monotonic", lambda: clock[0])
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
    logged: list[tuple[str, str]] = []
    for error, status, code in (
        (None, "available", ""), (BackendUnavailable("away"), "unavailable", "backend-unavailable"),
        (RuntimeError("a mistake"), "unavailable", "backend-error"),
    ):  # fmt: skip
        filer.error = error
        with capture_logs() as lines:
            for _ in range(2):
                monitor._check(gateway)
        logged += [(line["event"], line["log_level"]) for line in lines if line["event"] != "filer.check-failed"]
        report = json.loads(harness.client.get(f"{PREFIX}health:{SUBSYSTEM}") or "")
        assert (report["status"], report["code"]) == (status, code)
        assert report["detail"] == "almost full" if error is None else report["detail"]
        assert 100 < harness.client.ttl(f"{PREFIX}health:{SUBSYSTEM}") <= 120
    # Only what has changed is logged.
    assert logged == [("filer.available", "info"), ("filer.unavailable", "error")]


def test_jobs_that_do_not_end_in_time_after_a_drain_are_left(monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch.setattr("os.kill", lambda *to: done.append(to))
    process_exit.restart_silent_worker()
    assert done == ["limit", (os.getpid(), signal.SIGTERM)]


def test_a_worker_whose_job_hangs_ends(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    ended: list[Any] = []
    monkeypatch.setattr("os.kill", lambda *to: ended.append(to))
    lease = harness.node().claim(harness.accept("create_volume"))
    with capture_logs() as lines:
        process_exit.restart_hung_worker(lease)
    assert ended == [(os.getpid(), signal.SIGTERM)]
    (line,) = lines
    assert (line["event"], line["job_id"], line["operation"]) == ("worker.hung", lease.job_id, "create_volume")


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


def test_a_lease_that_cannot_be_ended_expires_by_itself(
    harness: Harness, held: HeldRequests, monkeypatch: pytest.MonkeyPatch
):
    """The request has its answer by then: it must not fail for that."""
    monkeypatch.setattr(type(harness.client), "delete", Mock(side_effect=redis.ConnectionError("away")))
    with capture_logs() as lines, held.holding("job"):
        pass
    assert [(line["event"], line["job_id"]) for line in lines] == [("held-request.not-released", "job")]


def test_leases_of_requests_are_renewed_every_second_and_looked_at_more_often(
    harness: Harness, held: HeldRequests, monkeypatch: pytest.MonkeyPatch
):
    pauses_s, turns = list[float](), iter([False, False, True])
    monkeypatch.setattr("worker.jobs.repeated_requests.time", SimpleNamespace(sleep=pauses_s.append))
    monkeypatch.setattr(held, "_is_idle", lambda: next(turns))
    held._run()
    harness.client.set(f"{PREFIX}held:job", "1", px=HELD_TTL_MS)
    give_up = iter([False, False, True])
    assert held.is_held_open("job", lambda: next(give_up))
    assert pauses_s == [1, 1, 0.05, 0.05]


def test_keys_that_could_not_be_deleted_are_deleted_when_redis_is_back(
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
    # The thread has ended, and the next request starts another.
    held._thread = ended = threading.current_thread()
    assert held._is_idle()
    assert held._thread is not ended
    held.forget("other", "job2")
    held._forget_all()
    assert forgotten == [("digest", "job"), ("other", "job2")]


def test_a_thread_deletes_keys_that_could_not_be_deleted_at_once(
    harness: Harness, held: HeldRequests, monkeypatch: pytest.MonkeyPatch
):
    calls, done = list[str](), threading.Event()

    def forget(digest: str, _job_id: str) -> None:
        calls.append(digest)
        if len(calls) < 3:
            raise redis.ConnectionError("away")
        done.set()

    monkeypatch.setattr("worker.jobs.repeated_requests._RENEW_EVERY_S", 0.01)
    monkeypatch.setattr(harness.scripts, "forget_repeat", forget)
    held.forget("digest", "job")
    assert done.wait(20)


def test_a_job_in_doubt_is_reconciled_by_the_thread_of_the_loop(harness: Harness):
    node = harness.node()
    turns = Turns(harness, lambda job_id, token: node.reconciler.reconcile(job_id, token) and None)
    (job_id,) = in_doubt(harness, 1)
    turns.loop.recover(SUBSYSTEM)
    turns.loop._pool.shutdown(wait=True)
    assert harness.job(job_id).state is State.FAILED
