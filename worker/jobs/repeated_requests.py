"""Repeated requests of clients that know nothing of jobs: each finds the job that it made the first time.

With the job, in the same step, a record is written under a digest of the request. It is used once the first request
is no longer held open: `held:{id}` is a lease, renewed by the process that holds the request, so that neither a killed
process nor a lost response leaves it behind. The record is deleted once a client was answered with the outcome.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
import structlog

from worker.store.client import REDIS_UNAVAILABLE
from worker.store.keys import Keys
from worker.store.scripts import JobScripts
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: A request is no longer held open when its process has not renewed the lease for this long.
HELD_TTL_MS = 5000
_RENEW_EVERY_S = 1.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Repeat:
    """How a request is recognised when it is repeated."""

    #: A digest of the caller and the request.
    digest: str
    #: How long after the job's end an outcome that no client has received yet is kept (seconds).
    keep_s: int
    #: A job of the same request that is known to be held open: a new job is made behind it.
    beside: str = ""


class HeldRequests:
    """The requests that this process holds open for the jobs that they have made."""

    def __init__(self, client: redis.Redis, scripts: JobScripts, prefix: str) -> None:
        self._redis = client
        self._scripts = scripts
        self._keys = Keys(prefix)
        self._held: set[str] = set()
        self._forgotten: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._marks = itertools.count(1)

    @contextmanager
    def holding(self, job_id: str, leaves: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Keep the lease of a request that has made a job inside the block.

        ``leaves``: is the lease left to expire, since Redis does not answer?
        """
        with self._lock:
            self._held.add(job_id)
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(job_id)
            if not leaves():
                self._release(job_id)

    def _release(self, job_id: str) -> None:
        try:
            self._redis.delete(self._keys.held(job_id))
        except REDIS_UNAVAILABLE:
            log.info("held-request.not-released", job_id=job_id, hint="its lease expires by itself")

    def forget(self, digest: str, job_id: str) -> None:
        """Forget the request, since its client is about to get the outcome; the same request then makes a new job.

        While Redis is unavailable nothing is accepted either; it is done as soon as Redis is available.
        """
        try:
            self._scripts.forget_repeat(digest, job_id)
        except REDIS_UNAVAILABLE:
            with self._lock:
                self._forgotten.add((digest, job_id))
                self._start()

    def is_held_open(self, job_id: str, give_up: Callable[[], bool]) -> bool:
        """Is the request that made the job held open by a living process? Returns when that is known.

        ``give_up`` ends the wait; the request then counts as held open.
        """
        first = self._redis.get(self._keys.held(job_id))
        while first is not None and not give_up():
            time.sleep(_LOOK_EVERY_S)
            now = self._redis.get(self._keys.held(job_id))
            if now is None:
                return False
            if now != first:
                return True
        return first is not None

    # --- the thread that renews

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="held-requests", daemon=True)
            self._thread.start()

    @tracing.quiet()
    def _run(self) -> None:
        while not self._is_idle():
            time.sleep(_RENEW_EVERY_S)
            try:
                self._renew()
                self._forget_all()
            except REDIS_UNAVAILABLE as error:
                log.info("held-request.not-renewed", error=type(error).__name__)

    def _is_idle(self) -> bool:
        """Is there no lease to renew? Then the thread ends, and the next request starts another."""
        with self._lock:
            if self._held or self._forgotten:
                return False
            self._thread = None
            return True

    def _renew(self) -> None:
        mark = str(next(self._marks))
        with self._lock:
            job_ids = list(self._held)
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.set(self._keys.held(job_id), mark, px=HELD_TTL_MS, xx=True)
            pipe.execute()

    def _forget_all(self) -> None:
        with self._lock:
            waiting = list(self._forgotten)
        for digest, job_id in waiting:
            self._scripts.forget_repeat(digest, job_id)
            with self._lock:
                self._forgotten.discard((digest, job_id))
