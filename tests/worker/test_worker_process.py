"""The parts of a worker process as they are put together: what each turn of its loop does, and how it shuts down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
import redis

from storage_backends.base import StorageBackend
from storage_backends.configuration.subsystems import Subsystem, Subsystems
from storage_backends.journal import ShuttingDown
from tests.worker.execution.test_lease import FakeWait
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker import health_report
from worker.backends.login_guard import SharedLoginGuard
from worker.catalog.operations import BATCH, QueueClass
from worker.config.settings import BadSettings, Settings, load
from worker.execution.lease import Lease
from worker.execution.process_exit import restart_hung_worker, restart_silent_worker
from worker.jobs.record import State
from worker.main import _selected, main
from worker.maintenance.compaction import COMPACT_AFTER_CHANGES
from worker.runtime import Runtime, build
from worker.store.client import NotReplicated
from worker.store.startup_checks import UnsafeRedis

_LISTING = f"{PREFIX}listing:{SUBSYSTEM}/volumes"


def _subsystems(harness: Harness, *names: str) -> Subsystems:
    texts = [f"{name}🌈DummyStorage🌈state_dir🌈{harness.folder}" for name in names]
    return Subsystems.from_environment({"SAPI_BACKENDS": "🦄".join(texts)})


@pytest.fixture
def runtime(harness: Harness, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.setenv("SAPI_HEALTH_DIR", str(tmp_path))
    settings = load(Settings, redis_url=redis_url, SAPI_DEBUG=True, refresh_interval=60, events_keep=100)
    made = build(settings, _subsystems(harness, SUBSYSTEM), list(QueueClass), "test@host")
    yield made
    made.stop()


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def _numbers(harness: Harness, *names: str) -> list[int]:
    values: Any = harness.client.hmget(_LISTING, *names)
    return [int(value) for value in values]


def _changed_often(harness: Harness) -> None:
    """A cached listing with so many changes that it is compacted."""
    harness.node().carry_out(harness.accept("list_volumes"))
    (seq,) = _numbers(harness, "seq")
    pipe = harness.client.pipeline()
    for number in range(1, COMPACT_AFTER_CHANGES + 1):
        pipe.xadd(f"{PREFIX}delta:{SUBSYSTEM}/volumes", {"k": "gone", "v": ""}, id=f"{seq + number}-0")
    pipe.expire(f"{PREFIX}delta:{SUBSYSTEM}/volumes", 60)
    pipe.hset(_LISTING, "seq", seq + COMPACT_AFTER_CHANGES)
    pipe.execute()


def test_a_turn_of_the_loop_runs_every_due_task(harness: Harness, runtime: Runtime):
    client = harness.client
    _changed_often(harness)
    client.xadd(f"{PREFIX}event_log", {"n": "1"}, id=f"{_now_ms(harness) + 1}-0")
    client.zadd(f"{PREFIX}batches_preparing", {"abandoned": 1})
    client.zadd(f"{PREFIX}batches_stopping", {"gone": 1})
    with runtime.gateways[SUBSYSTEM].session():
        pass
    runtime.maintenance._turn(0)
    base_seq, seq = _numbers(harness, "base_seq", "seq")
    assert base_seq == seq
    assert not client.exists(f"{PREFIX}batches_preparing", f"{PREFIX}batches_stopping")
    assert client.hget(f"{PREFIX}metrics", f"filer {SUBSYSTEM} ok") == b"1"
    assert client.llen(f"{PREFIX}metrics_history") == 1
    assert client.get(f"{PREFIX}breaker:{SUBSYSTEM}:test@host") == b"closed"
    assert client.exists(f"{PREFIX}refresh:{SUBSYSTEM}")
    for queue_class, slots in (("write", 8), ("read", 8), ("list", 4)):
        assert client.zrange(f"{PREFIX}workers:{SUBSYSTEM}.{queue_class}", 0, -1) == [b"test@host"]
        assert client.get(f"{PREFIX}capacity:{SUBSYSTEM}.{queue_class}") == str(slots).encode()
    report = health_report.read("test")
    assert report is not None
    assert report[1] == health_report.OK


def test_jobs_wait_for_replicas_and_an_unsafe_redis_is_refused(
    harness: Harness, redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.store.script_runner._REPLICAS_WAIT_MS", 1)
    settings = load(Settings, redis_url=redis_url, wait_replicas=1, refresh_interval=60)
    made = build(settings, _subsystems(harness, SUBSYSTEM), [QueueClass.LIST], "test@host")
    try:
        with pytest.raises(NotReplicated):
            made.maintenance._turn(1)
    finally:
        made.stop()
    harness.client.config_set("appendonly", "no")
    try:
        with pytest.raises(UnsafeRedis):
            build(settings, _subsystems(harness, SUBSYSTEM), [QueueClass.LIST], "test@host")
    finally:
        harness.client.config_set("appendonly", "yes")


def test_a_worker_with_an_unsafe_redis_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("worker.main.configure_logging", lambda *_: None)
    monkeypatch.setattr("worker.main.build", Mock(side_effect=UnsafeRedis("appendonly is no")))
    monkeypatch.setenv("SAPI_BACKENDS", f"{SUBSYSTEM}🌈DummyStorage")
    assert (main([]), capsys.readouterr().err) == (2, "worker: appendonly is no\n")


def test_the_heartbeat_has_redis_and_supervisor_and_batches_are_carried_out(harness: Harness, runtime: Runtime):
    heartbeat = runtime.maintenance._heartbeat
    assert heartbeat._consumer._restart is restart_silent_worker
    assert heartbeat._consumer._silent_s == cast("Any", runtime.celery).consumer_activity.silent_s
    assert runtime.lease_renewer._on_hang is restart_hung_worker
    harness.client.config_set("maxmemory", 1)
    try:
        assert not heartbeat._takes_writes()
    finally:
        harness.client.config_set("maxmemory", 0)
    assert BATCH.task_name in runtime.celery.tasks


def test_each_slot_has_a_thread_and_messages_are_published_for_those_that_are_free(runtime: Runtime):
    together = threading.Barrier(8 + 8 + 4)
    for waiting in [runtime.runner._threads.submit(together.wait, 10) for _ in range(together.parties)]:
        waiting.result()
    assert runtime.maintenance._free_slots == runtime.runner._slots.free_slots


def test_threads_end_with_the_worker(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    closed = list[str]()
    before = set(threading.enumerate())
    with runtime.gateways[SUBSYSTEM].session() as backend:
        monkeypatch.setattr(backend, "close", lambda: closed.append("backend"))
    close = runtime.publisher.close

    def close_publisher() -> None:
        closed.append("publisher")
        close()

    monkeypatch.setattr(runtime.publisher, "close", close_publisher)
    runtime.start()
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert {"lease-renewer", f"health-monitor {SUBSYSTEM}", "maintenance"} <= {thread.name for thread in threads}
    runtime.stop()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert closed == ["publisher", "backend"]
    with pytest.raises(RuntimeError, match="shutdown"):
        runtime.runner._threads.submit(print)


def test_storage_systems_share_one_login_guard(harness: Harness, redis_url: str, monkeypatch: pytest.MonkeyPatch):
    guards = list[Any]()

    def open_backend(_subsystem: Subsystem, guard: Any) -> StorageBackend:
        guards.append(guard)
        return harness.backend

    monkeypatch.setattr("worker.runtime.open_backend", open_backend)
    settings = load(Settings, redis_url=redis_url, SAPI_DEBUG=True)
    made = build(settings, _subsystems(harness, "one", "two"), [QueueClass.LIST], "test@host")
    for gateway in made.gateways.values():
        with gateway.session():
            pass
    made.stop()
    assert len(guards) == 2
    assert guards[0] is guards[1]
    assert isinstance(guards[0], SharedLoginGuard)


def test_every_key_has_the_prefix(harness: Harness, redis_url: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("SAPI_HEALTH_DIR", str(tmp_path))
    settings = load(Settings, redis_url=redis_url, SAPI_DEBUG=True, refresh_interval=60, key_prefix="mine:")
    made = build(settings, _subsystems(harness, SUBSYSTEM), list(QueueClass), "test@host")
    made.maintenance._turn(0)
    made.health_monitor._check(made.gateways[SUBSYSTEM])
    lease = made.runner._claims.claim_next(f"{SUBSYSTEM}.list")
    assert lease is not None
    completion = made.runner._executor.execute(lease)
    assert completion is not None
    assert completion.state is State.SUCCEEDED
    made.stop()
    keys: Any = harness.client.keys()
    kinds = {key.decode().split(":")[1] for key in keys}
    assert {key.decode().split(":")[0] for key in keys} == {"mine"}
    assert kinds >= {"job", "listing", "base", "workers", "metrics_history", "breaker", "health", "celery", "event_log"}


def test_old_events_are_deleted(harness: Harness, runtime: Runtime):
    for ago_s in (120, 80):
        harness.client.xadd(f"{PREFIX}event_log", {"n": "1"}, id=f"{_now_ms(harness) - ago_s * 1000}-0")
    runtime.maintenance._turn(1)
    events: Any = harness.client.xrange(f"{PREFIX}event_log")
    assert _now_ms(harness) - int(events[0][0].partition(b"-")[0]) < 100_000


def test_a_reconciled_job_is_an_event_for_flower(harness: Harness, runtime: Runtime):
    events: list[tuple[str, dict[str, Any]]] = []

    class Dispatcher:
        def send(self, kind: str, **fields: Any) -> None:
            events.append((kind, fields))

    runtime.celery.flower_events = Dispatcher()
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    runtime.maintenance.recover(SUBSYSTEM)
    runtime.maintenance._pool.shutdown(wait=True)
    assert harness.job(job_id).state is State.FAILED
    assert events == [("task-failed", {"uuid": job_id, "exception": "JobFailed('worker-lost')", "traceback": None})]


def test_a_worker_that_begins_to_shut_down_is_offline_at_once_and_wakes_its_jobs(
    harness: Harness, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    limits = list[int]()
    monkeypatch.setattr("worker.runtime.exit_after_drain", lambda: limits.append(1))
    runtime.maintenance._turn(0)
    lease = runtime.runner._claims.claim(harness.accept("get_volume"))
    assert isinstance(lease, Lease)
    lease._wake = wake = FakeWait()
    stopped = threading.Event()

    def wait() -> None:
        with pytest.raises(ShuttingDown):
            lease.wait(60)
        stopped.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert wake.is_awaited.wait(20)
    runtime.begin_drain()
    assert stopped.wait(10)
    waiting.join()
    assert harness.client.zrange(f"{PREFIX}workers:{SUBSYSTEM}.write", 0, -1) == []
    assert harness.client.zrange(f"{PREFIX}draining", 0, -1) == [b"test@host"]
    assert limits == [1]


def test_a_worker_that_may_not_record_that_it_shuts_down_wakes_its_jobs_and_ends_all_the_same(
    harness: Harness, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    def denied() -> None:
        raise redis.exceptions.NoPermissionError

    limits = list[int]()
    monkeypatch.setattr("worker.runtime.exit_after_drain", lambda: limits.append(1))
    monkeypatch.setattr(runtime.maintenance, "leave", denied)
    lease = runtime.runner._claims.claim(harness.accept("get_volume"))
    assert isinstance(lease, Lease)
    with pytest.raises(redis.exceptions.NoPermissionError):
        runtime.begin_drain()
    assert (lease._wake.is_set(), limits) == (True, [1])
    with pytest.raises(ShuttingDown):
        lease.checkpoint()


def test_a_worker_serves_the_storage_systems_that_it_is_given(harness: Harness):
    subsystems = _subsystems(harness, "one", "two")
    assert [list(_selected(subsystems, names)) for names in ("", " two ,", "two,one")] == [
        ["one", "two"], ["two"], ["two", "one"],
    ]  # fmt: skip
    with pytest.raises(BadSettings, match="three"):
        _selected(subsystems, "one,three")
