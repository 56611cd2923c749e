"""A worker's hold on one job: the journal that a driver writes to, under a token until another worker's replaces it.

Whatever is written carries the token, so that a worker that was stopped and wakes up changes nothing. Between beats
the hold ends by this process's own clock: a worker that is cut off from Redis stops before its lease can be given away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from storage_backends.journal import Cancelled, HandedOn, Journal, LeaseLost, TimedOut
from worker.jobs.record import Job
from worker.store.client import RedisAway, Scripts

log = structlog.get_logger(__name__)

#: The hold ends this long before the lease does, for clocks that run apart and a call that is on its way; of a short
#: lease it is a quarter.
_MARGIN_S = 2.0
_SHOW_EVERY_S = 1.0
#: A lease is renewed so often while it lasts, and at least once a second.
_BEATS_PER_LEASE = 6


class Lease(Journal):
    """The hold; made by a claim, renewed by the beater, ended by its job's end."""

    def __init__(
        self,
        scripts: Scripts,
        job: Job,
        owner: str,
        *,
        asked_at: float,
        lease_s: float,
        limit_s: float,
        drain: threading.Event,
        others_wait: bool = False,
    ) -> None:
        """``asked_at``: when the question was put (monotonic seconds) whose answer gave the job to this worker."""
        self.job_id = job.id
        self.job = job
        self.owner = owner
        #: Did others wait in its lane when it was claimed? Those that came later ring for themselves.
        self.others_wait = others_wait
        self.step: str | None = job.step
        self.filer_job: str | None = job.backend_job
        self._scripts = scripts
        self._hold_s = lease_s - min(_MARGIN_S, lease_s / 4)
        self._drain = drain
        self._ok_until = asked_at + self._hold_s
        self.limit_at = asked_at + limit_s
        self._cancel = threading.Event()
        self._lost = threading.Event()
        self._wake = threading.Event()
        self._shown_at = 0.0

    # --- told by the beater

    def renewed(self, asked_at: float) -> None:
        """The lease was renewed by a question that was put at ``asked_at`` (monotonic seconds)."""
        self._ok_until = asked_at + self._hold_s

    def cancel(self) -> None:
        """Somebody wants the job cancelled."""
        self._cancel.set()
        self._wake.set()

    def lose(self) -> None:
        """The job is another's now."""
        self._lost.set()
        self._wake.set()

    def drain(self) -> None:
        """The worker is shutting down."""
        self._wake.set()

    # --- asked by the driver

    @property
    def cancel_requested(self) -> bool:
        return self._cancel.is_set()

    @property
    def seconds_left(self) -> float:
        until = self._ok_until if self.job.operation.is_change else self.limit_at
        return max(0.0, min(until, self.limit_at) - time.monotonic())

    def checkpoint(self) -> None:
        now = time.monotonic()
        if self._lost.is_set() or now > self._ok_until:
            raise LeaseLost
        if self._drain.is_set() and (self.step is None or self.filer_job is not None):
            raise HandedOn
        if self._cancel.is_set() and self.step is None:
            raise Cancelled
        if now > self.limit_at:
            raise TimedOut

    def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
        self.checkpoint()
        if time.monotonic() - self._shown_at < _SHOW_EVERY_S and current != total:
            return
        self._shown_at = time.monotonic()
        shown = {
            "current": str(current),
            "total": "" if total is None else str(total),
            "unit": unit,
            "message": message,
        }
        try:
            self._mark("progress", shown)
        except RedisAway:
            # Only a picture for those who watch; the marks that count are not passed over.
            log.info("progress.not-shown", job_id=self.job_id)

    def sending(self, step: str, **facts: str) -> None:
        self.checkpoint()
        self._must_mark("step", {"step": step, "message": step.replace("-", " ").replace("_", " "), **_facts(facts)})
        self.step, self.filer_job = step, None

    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        self.filer_job = uuid
        self._must_mark("backend_job", {"backend_job": uuid, "cancellable": "1" if cancellable else "0"})

    def remember(self, **facts: str) -> None:
        self._must_mark("facts", _facts(facts))

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self.checkpoint()
            left = until - time.monotonic()
            if left <= 0:
                return
            self._wake.wait(min(left, 1.0))
            self._wake.clear()

    # --- marks

    def _mark(self, what: str, fields: dict[str, str]) -> None:
        word = self._scripts.mark(self.job_id, self.owner, what, fields)
        if word == b"LOST":
            self._lost.set()
            raise LeaseLost
        if word == b"CANCEL":
            self._cancel.set()
            if what == "step" and self.step is None:
                raise Cancelled

    def _must_mark(self, what: str, fields: dict[str, str]) -> None:
        """Mark durably, trying again while Redis is away and the hold lasts: a mark that may be missing is no mark."""
        while True:
            try:
                self._mark(what, fields)
            except RedisAway:
                if time.monotonic() > self._ok_until:
                    raise LeaseLost from None
                self._wake.wait(0.2)
            else:
                return


def _facts(facts: dict[str, str]) -> dict[str, Any]:
    return {f"fact:{name}": value for name, value in facts.items()}


class Beater(threading.Thread):
    """Renews every lease of this process in one question to Redis, once a second, and brings back what it answers."""

    def __init__(self, scripts: Scripts, lease_s: int, *, on_hang: Callable[[Lease], None]) -> None:
        """``on_hang`` is told, once, of a job far over its time limit: whoever carries it out hangs."""
        super().__init__(name="beater", daemon=True)
        self._scripts = scripts
        self._lease_ms = lease_s * 1000
        self._every_s = min(1.0, lease_s / _BEATS_PER_LEASE)
        self._on_hang = on_hang
        self._hanging: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._leases[lease.owner] = lease

    def remove(self, lease: Lease) -> None:
        """Its job has ended here."""
        with self._lock:
            self._leases.pop(lease.owner, None)
            self._hanging.discard(lease.owner)

    def held(self) -> list[Lease]:
        """The leases of this process."""
        with self._lock:
            return list(self._leases.values())

    def stop(self) -> None:
        """End the thread."""
        self._over.set()

    def run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self.beat()
            except RedisAway as exc:
                log.warning("beat.failed", error=type(exc).__name__)
            except Exception:
                log.exception("beat.failed")

    def beat(self) -> None:
        """Renew once. A job far over its time limit is renewed no more, so that another worker settles it."""
        asked_at = time.monotonic()
        held = self.held()
        leases = [lease for lease in held if asked_at < lease.limit_at + self._lease_ms / 1000]
        self._look_for_hanging(held, leases)
        if not leases:
            return
        flat = [text for lease in leases for text in (lease.job_id, lease.owner)]
        for lease, word in zip(leases, self._scripts.beat(self._lease_ms, *flat), strict=True):
            if word == b"LOST":
                lease.lose()
                continue
            lease.renewed(asked_at)
            if word == b"CANCEL":
                lease.cancel()

    def _look_for_hanging(self, held: list[Lease], renewed: list[Lease]) -> None:
        if len(held) == len(renewed):
            return
        for lease in held:
            if lease not in renewed and lease.owner not in self._hanging:
                self._hanging.add(lease.owner)
                self._on_hang(lease)
