"""A worker's lease on one job, which is also the journal that the driver writes to.

Every write carries a fencing token, so that a worker that was paused and resumes changes nothing. Between renewals
the lease ends by this process's own clock: a worker that cannot reach Redis stops before another one gets the job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from storage_backends.journal import Cancelled, Journal, LeaseLost, ShuttingDown, TimedOut
from worker.jobs.record import Job
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.results import LeaseResult
from worker.store.scripts import JobScripts
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: Safety margin (seconds) before the expiry in Redis, for clock drift and calls in progress; at most a quarter of it.
_MARGIN_S = 2.0
_PROGRESS_EVERY_S = 1.0
#: How many times a lease is renewed during its duration; at least once a second.
_RENEWALS_PER_LEASE = 6


@dataclass(frozen=True, slots=True)
class WaitingSlot:
    """A slot that waits for the next job of its queue; the script that makes one runnable claims it for the slot."""

    #: The fencing token of that claim.
    token: str
    #: When the slot was about to be entered (monotonic seconds): no job was claimed for it before.
    since: float


class Lease(Journal):
    """Made by a claim, renewed by the LeaseRenewer, ended with its job."""

    def __init__(
        self,
        scripts: JobScripts,
        job: Job,
        token: str,
        *,
        sent_at: float,
        lease_s: float,
        limit_s: float,
        drain: threading.Event,
    ) -> None:
        """``sent_at``: when the claim was sent (monotonic seconds)."""
        self.job_id = job.id
        self.job = job
        self.token = token
        #: Set where the script that ends this job must claim the next one of its queue. True: also one whose message
        #: is in transit.
        self.claims_next: Callable[[], bool] | None = None
        #: Has it ended here? And what its slot does next: run the job that was claimed with that end, or wait for one.
        self.completed = False
        self.next_lease: Lease | None = None
        self.waiting_slot: WaitingSlot | None = None
        self.step: str | None = job.step
        self.filer_job: str | None = job.backend_job
        self._scripts = scripts
        self._valid_for_s = lease_s - min(_MARGIN_S, lease_s / 4)
        self._drain = drain
        self._valid_until = sent_at + self._valid_for_s
        self.limit_at = sent_at + limit_s
        self._cancel = threading.Event()
        self._lost = threading.Event()
        self._wake = threading.Event()
        self._progress_at = 0.0

    # --- set by the renewer

    def extend(self, sent_at: float) -> None:
        """The lease was renewed by a call that was sent at ``sent_at`` (monotonic seconds)."""
        self._valid_until = sent_at + self._valid_for_s

    def cancel(self) -> None:
        """Cancellation was requested."""
        self._cancel.set()
        self._wake.set()

    def lose(self) -> None:
        """Another worker holds the job now."""
        self._lost.set()
        self._wake.set()

    def drain(self) -> None:
        """The worker is shutting down."""
        self._wake.set()

    # --- the journal, for the driver

    @property
    def cancel_requested(self) -> bool:
        return self._cancel.is_set()

    @property
    def seconds_left(self) -> float:
        until = self._valid_until if self.job.operation.is_change else self.limit_at
        return max(0.0, min(until, self.limit_at) - time.monotonic())

    def checkpoint(self) -> None:
        now = time.monotonic()
        if self._lost.is_set() or now > self._valid_until:
            raise LeaseLost
        if self._drain.is_set() and (self.step is None or self.filer_job is not None):
            raise ShuttingDown
        if self._cancel.is_set() and self.step is None:
            raise Cancelled
        if now > self.limit_at:
            raise TimedOut

    def progress(self, current: int, total: int | None, unit: str, message: str) -> None:
        self.checkpoint()
        if time.monotonic() - self._progress_at < _PROGRESS_EVERY_S and current != total:
            return
        self._progress_at = time.monotonic()
        job_status = {
            "current": str(current),
            "total": "" if total is None else str(total),
            "unit": unit,
            "message": message,
        }
        try:
            self._record("progress", job_status)
        except REDIS_UNAVAILABLE:
            # Progress is informative only; what recovery depends on is recorded durably.
            log.info("progress.not-recorded", job_id=self.job_id)

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        self.checkpoint()
        fields = {"step": step, "message": step.replace("-", " ").replace("_", " "), **_facts(facts)}
        if steps_done is not None:
            fields |= {"current": str(steps_done), "total": "", "unit": "steps"}
        self._record_durably("step", fields)
        self.step, self.filer_job = step, None

    def backend_job(self, uuid: str, *, cancellable: bool = False) -> None:
        self.filer_job = uuid
        self._record_durably("backend_job", {"backend_job": uuid, "cancellable": "1" if cancellable else "0"})

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self.checkpoint()
            remaining_s = until - time.monotonic()
            if remaining_s <= 0:
                return
            self._wake.wait(min(remaining_s, 1.0))
            self._wake.clear()

    # --- writing

    def _record(self, kind: str, fields: dict[str, str]) -> None:
        result = self._scripts.record_progress(self.job_id, self.token, kind, fields)
        if result is LeaseResult.LOST:
            self._lost.set()
            raise LeaseLost
        if result is LeaseResult.CANCEL:
            self._cancel.set()
            if kind == "step" and self.step is None:
                raise Cancelled

    def _record_durably(self, kind: str, fields: dict[str, str]) -> None:
        """Record what recovery depends on; retry while Redis is unavailable and the lease is valid."""
        while True:
            try:
                self._record(kind, fields)
            except REDIS_UNAVAILABLE:
                if time.monotonic() > self._valid_until:
                    raise LeaseLost from None
                self._wake.wait(0.2)
            else:
                return


def _facts(facts: dict[str, str]) -> dict[str, Any]:
    return {f"fact:{name}": value for name, value in facts.items()}


class LeaseRenewer(threading.Thread):
    """A thread that renews all leases of this process in one call, and passes LOST and CANCEL on to them."""

    def __init__(self, scripts: JobScripts, lease_s: int, *, on_hang: Callable[[Lease], None]) -> None:
        """``on_hang`` is called once for a job far over its time limit, whose thread hangs."""
        super().__init__(name="lease-renewer", daemon=True)
        self._scripts = scripts
        self._lease_ms = lease_s * 1000
        self._every_s = min(1.0, lease_s / _RENEWALS_PER_LEASE)
        self._on_hang = on_hang
        self._hanging: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._leases[lease.token] = lease

    def remove(self, lease: Lease) -> None:
        """Stop renewing a lease whose job has ended here."""
        with self._lock:
            self._leases.pop(lease.token, None)
            self._hanging.discard(lease.token)

    def leases(self) -> list[Lease]:
        """The leases of this process."""
        with self._lock:
            return list(self._leases.values())

    def stop(self) -> None:
        """End the thread."""
        self._over.set()

    @tracing.quiet()
    def run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self.renew()
            except REDIS_UNAVAILABLE as exc:
                log.warning("lease.renewal-failed", error=type(exc).__name__)
            except Exception:
                log.exception("lease.renewal-failed")

    def renew(self) -> None:
        """Renew once. A job far over its time limit is renewed no more, so that another worker takes it over."""
        sent_at = time.monotonic()
        all_leases = self.leases()
        leases = [lease for lease in all_leases if sent_at < lease.limit_at + self._lease_ms / 1000]
        self._report_hung(all_leases, leases)
        if not leases:
            return
        flat = [text for lease in leases for text in (lease.job_id, lease.token)]
        for lease, result in zip(leases, self._scripts.renew_leases(self._lease_ms, *flat), strict=True):
            if result is LeaseResult.LOST:
                lease.lose()
                continue
            lease.extend(sent_at)
            if result is LeaseResult.CANCEL:
                lease.cancel()

    def _report_hung(self, all_leases: list[Lease], renewed: list[Lease]) -> None:
        for lease in all_leases:
            if lease not in renewed and lease.token not in self._hanging:
                self._hanging.add(lease.token)
                self._on_hang(lease)
