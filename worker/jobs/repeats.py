"""Requests that come again from clients that know nothing of jobs: each finds the job that it made the first time.

With the job, in the same step, a record is kept under a digest of the request. It counts once the request that made it
is held open no longer: `held:{id}` is a lease, renewed by the process that holds the request, so that neither a killed
process nor a lost answer leaves it behind. It is gone once somebody was answered with the outcome.
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

log = structlog.get_logger(__name__)

#: A request whose process has not renewed its lease for so long is held open no longer.
HELD_TTL_MS = 5000
_RENEW_EVERY_S = 1.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a request is known by when it comes again."""

    #: Of the caller and of all that is asked for.
    digest: str
    #: How long after the job's end an outcome that nobody was answered with is kept, in seconds.
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
    def holding(self, job_id: str) -> Iterator[None]:
        """Keep the lease of a request that has made a job inside the block."""
        with self._lock:
            self._held.add(job_id)
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(job_id)
            try:
                self._redis.delete(self._keys.held(job_id))
            except REDIS_UNAVAILABLE:
                log.info("held-request.not-released", job_id=job_id, hint="its lease expires by itself")

    def forget(self, digest: str, job_id: str) -> None:
        """Make the request a new one from now on: its client is about to be answered with the outcome.

        While Redis is unavailable nothing can be accepted either; it is done as soon as that is back.
        """
        try:
            self._scripts.forget_repeat(digest, job_id)
        except REDIS_UNAVAILABLE:
            with self._lock:
                self._forgotten.add((digest, job_id))
                self._start()

    def is_held_open(self, job_id: str, give_up: Callable[[], bool]) -> bool:
        """Is the request that made the job held open by a living process? Returns when that is known.

        ``give_up`` ends the wait, as if it were.
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

    def _run(self) -> None:
        while not self._is_idle():
            time.sleep(_RENEW_EVERY_S)
            try:
                self._renew()
                self._forget_all()
            except REDIS_UNAVAILABLE as error:
                log.info("held-request.not-renewed", error=type(error).__name__)

    def _is_idle(self) -> bool:
        """Is there nothing to renew? Then the thread ends, and the next request starts another."""
        with self._lock:
            if self._held or self._forgotten:
                return False
            self._thread = None
            return True

    def _renew(self) -> None:
        mark = str(next(self._marks))
        with self._lock:
            job_ids = list(self._held)
        if not job_ids:
            return
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
