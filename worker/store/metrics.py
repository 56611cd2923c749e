"""Metrics of the whole service: all processes add to one hash in Redis, so that any API process can report all.

A field is a series and, for a histogram, a bucket: ``run filer create_volume 500`` counts jobs that ran for at most
500 ms and more than the bucket before; ``… inf`` those beyond every bucket, ``… sum`` their time in microseconds.
The scripts count jobs (see `lua/job_functions.lua`), processes count the rest in a `CounterBuffer`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import redis
import structlog

from worker.store.client import REDIS_UNAVAILABLE
from worker.store.keys import Keys
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: Upper ends of buckets in milliseconds; those of jobs are in `lua/job_functions.lua`, too.
JOB_BOUNDS_MS = (100, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000)
REQUEST_BOUNDS_MS = (5, 25, 100, 500, 1000, 2500, 5000, 10_000, 30_000)
#: A worker that has not reported its circuit breakers for so long (s) is not counted.
BREAKER_TTL_S = 15


class CounterBuffer:
    """Buffers counters of this process and adds them to Redis periodically, so that counting needs no round trip."""

    def __init__(self, client: redis.Redis, prefix: str, *, every_s: float = 2.0) -> None:
        self._redis = client
        self._key = Keys(prefix).metrics
        self._every_s = every_s
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None

    def count(self, *fields: str) -> None:
        """Add one to each of these fields."""
        with self._lock:
            for field in fields:
                self._counts[field] += 1

    def observe(self, series: str, seconds: float, bounds_ms: Sequence[int]) -> None:
        """Add one time to a histogram."""
        place = bisect_left(bounds_ms, seconds * 1000)
        bucket = bounds_ms[place] if place < len(bounds_ms) else "inf"
        with self._lock:
            self._counts[f"{series} {bucket}"] += 1
            self._counts[f"{series} sum"] += round(seconds * 1_000_000)

    def flush(self) -> bool:
        """Add the buffered counts to Redis; return False, and keep them, while Redis is unavailable.

        If a reply is lost, the same counts may be added twice, which is better than losing those of an outage.
        """
        # A thread that flushes at the same time as another waits until all is flushed.
        with self._flushing:
            with self._lock:
                counts, self._counts = self._counts, Counter()
            if self._add(counts):
                return True
            with self._lock:
                self._counts.update(counts)
            return False

    def _add(self, counts: Mapping[str, int]) -> bool:
        pipe = self._redis.pipeline(transaction=True)
        for field, by in counts.items():
            pipe.hincrby(self._key, field, by)
        try:
            pipe.execute()
        except REDIS_UNAVAILABLE:
            return False
        return True

    def start_flushing(self) -> None:
        """Start a thread that flushes every few seconds, unless it runs already."""
        # Started on first use: a server may fork after it has built its parts, and threads do not survive that.
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="metrics-flush", daemon=True)
                    self._thread.start()

    @tracing.quiet()
    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every_s):
            try:
                self.flush()
            except redis.RedisError:
                log.exception("metrics.flush-failed")


class _Filer(Protocol):
    @property
    def breaker_state(self) -> str: ...


class BreakerReport:
    """Reports the states of a worker's circuit breakers; a task of its maintenance loop."""

    def __init__(self, client: redis.Redis, prefix: str, node: str, gateways: Mapping[str, _Filer]) -> None:
        self._redis = client
        self._keys = Keys(prefix)
        self._node = node
        self._gateways = gateways
        self._reported: dict[str, str] = {}
        self._turn = 0

    def __call__(self) -> None:
        states = {name: gateway.breaker_state for name, gateway in self._gateways.items()}
        self._turn += 1
        # Called every second: reports changes at once, otherwise often enough to count as current.
        if states == self._reported and self._turn % (BREAKER_TTL_S // 3):
            return
        pipe = self._redis.pipeline(transaction=False)
        for name, state in states.items():
            pipe.set(self._keys.breaker(name, self._node), state, ex=BREAKER_TTL_S)
        pipe.execute()
        self._reported = states


class Series(NamedTuple):
    """One histogram: how many in each bucket and below, and the sum in seconds."""

    buckets: list[tuple[str, float]]
    sum_s: float


def histograms(counts: Mapping[str, int], bounds_ms: Sequence[int]) -> dict[tuple[str, ...], Series]:
    """Collect the buckets of each histogram, by the words that name the series."""
    names = dict.fromkeys(tuple(field.split(" ")[:-1]) for field in counts)
    return {name: _series(counts, " ".join(name), bounds_ms) for name in names}


def _series(counts: Mapping[str, int], name: str, bounds_ms: Sequence[int]) -> Series:
    in_buckets: Iterable[int] = (counts.get(f"{name} {bound}", 0) for bound in (*bounds_ms, "inf"))
    ends = [*(str(bound / 1000) for bound in bounds_ms), "+Inf"]
    return Series(list(zip(ends, map(float, accumulate(in_buckets)), strict=True)), counts.get(f"{name} sum", 0) / 1e6)


def totals(counters: dict[str, int]) -> dict[str, float]:
    """Add up the counters of all operations: jobs that ended by state, and their run time (seconds)."""
    sums = {"succeeded": 0.0, "failed": 0.0, "cancelled": 0.0, "run_s": 0.0}
    for field, value in counters.items():
        words = field.split(" ")
        if words[0] == "ended" and len(words) > 3 and words[3] in sums:  # noqa: PLR2004 - ended, subsystem, operation, state
            sums[words[3]] += value
        elif words[0] == "run" and words[-1] == "sum":
            sums["run_s"] += value / 1e6
    return sums
