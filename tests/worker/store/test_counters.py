"""Counters of a process: buffered, and written by a thread that starts with the first use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from redis import Redis

from worker.store import metrics
from worker.store.metrics import CounterBuffer

_KEY = "sapi:metrics"
#: As it is before any fixture: the tests of the API replace it until all tests have ended.
_START_FLUSHING = CounterBuffer.start_flushing


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Released at each flush of the thread; the thread ends with the test."""
    flushes, ends = threading.Semaphore(0), threading.Event()
    flush = CounterBuffer.flush

    def counted_flush(counters: CounterBuffer) -> bool:
        answer = flush(counters)
        flushes.release()
        return answer

    monkeypatch.setattr(CounterBuffer, "flush", counted_flush)
    monkeypatch.setattr(CounterBuffer, "start_flushing", _START_FLUSHING)
    parts = {"Event": lambda: ends, "Thread": threading.Thread, "Lock": threading.Lock}
    monkeypatch.setattr(metrics, "threading", SimpleNamespace(**parts))
    yield flushes
    ends.set()
    for thread in threading.enumerate():
        if thread.name == "metrics-flush":
            thread.join(20)


def test_one_thread_writes_the_counters(redis_client: Redis, written: threading.Semaphore):
    counters = CounterBuffer(redis_client, "sapi:", every_s=0.01)
    threads = []
    for _ in range(2):
        counters.start_flushing()
        threads.append(counters._thread)
    assert threads[0] is not None
    assert threads[0] is threads[1]
    counters.count("a", "b")
    counters.count("a")
    # The first of these may have begun before anything was counted.
    for _ in range(2):
        assert written.acquire(timeout=20)
    assert redis_client.hgetall(_KEY) == {b"a": b"2", b"b": b"1"}
    redis_client.delete(_KEY)


def test_times_are_counted_up_to_the_next_bound(redis_client: Redis):
    counters = CounterBuffer(redis_client, "sapi:")
    for seconds in (0.1, 0.100001, 1801):
        counters.observe("run", seconds, metrics.JOB_BOUNDS_MS)
    assert counters.flush()
    found = redis_client.hgetall(_KEY)
    assert found == {b"run 100": b"1", b"run 500": b"1", b"run inf": b"1", b"run sum": b"1801200001"}
    assert list(metrics.JOB_BOUNDS_MS) == sorted(metrics.JOB_BOUNDS_MS)
    redis_client.delete(_KEY)
