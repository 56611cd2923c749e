"""How a worker claims jobs, returns them and completes them. Nothing here opens a storage system."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from storage_backends.journal import Cancelled
from worker.config.settings import Settings
from worker.execution.lease import Lease, LeaseRenewer, WaitingSlot
from worker.jobs.failure import Failure
from worker.jobs.record import Job, State, parse_job
from worker.jobs.status import INLINE_RESULT_BYTES
from worker.listings.updates import Steps
from worker.messaging.messages import TaskMessage, parse_messages
from worker.messaging.publisher import TaskPublisher
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.results import ClaimResult, ClaimTerms, LeaseResult, MessageParts
from worker.store.scripts import JobScripts

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)

#: How long a worker tries to complete a job while Redis is unavailable. Afterwards another worker reconciles it.
_COMPLETE_TIMEOUT_S = 600.0
#: The same while the worker shuts down.
_COMPLETE_DRAINING_TIMEOUT_S = 10.0
#: A job fails when so many workers were lost before sending anything for it: the job itself may be the cause.
MAX_WORKER_LOSSES = 3
#: How long a job that this worker cannot execute is delayed, so that others claim it.
_FOREIGN_DELAY_S = 5.0
_NOT_SERVED = ("wrong-worker", "The worker that took it does not serve this storage system.")
_NOT_KNOWN = ("wrong-worker", "The worker that took it is of an earlier release, which does not know this operation.")
_LONGEST_GRACE_MS = 5000
#: How long a slot waits for the next job of its queue, before it is idle and needs a message.
_SLOT_WAIT_S = 0.25
#: How long it retries, while Redis is unavailable, to take a job that may have been claimed for it.
_HANDED_TIMEOUT_S = 5.0
#: How many waiting jobs of a queue are scanned for a runnable one.
LOOK_AHEAD = 1000


def grace_ms(lease_s: int) -> int:
    """How long a lapsed lease may still be renewed before the job is taken over."""
    return min(_LONGEST_GRACE_MS, lease_s * 1000 // 3)


@dataclass(frozen=True, slots=True)
class Completion:
    """How a job ended, with its result and its effect on the listings."""

    state: State
    failure: Failure | None = None
    #: The result as JSON, where it is stored in a key of its own.
    result: bytes = b""
    fields: Mapping[str, str] | None = None
    steps: Steps | None = None


class JobClaims:
    """The claims of one worker process."""

    def __init__(
        self,
        scripts: JobScripts,
        lease_renewer: LeaseRenewer,
        publisher: TaskPublisher,
        settings: Settings,
        drain: threading.Event,
    ) -> None:
        self._scripts = scripts
        self._lease_renewer = lease_renewer
        self._publisher = publisher
        self._settings = settings
        self._drain = drain

    def claim(self, job_id: str) -> Lease | ClaimResult:
        """Claim a queued job for this worker; return its lease, or why it could not be claimed."""
        terms, sent_at = self._terms(), time.monotonic()
        result, record = self._scripts.claim(job_id, *terms.token_and_times)
        if result is not ClaimResult.CLAIMED:
            return result
        return self._lease_of(record, terms.token, sent_at) or ClaimResult.UNKNOWN

    def claim_next(self, queue: str) -> Lease | None:
        """Claim the first runnable job of a queue for this worker; None where there is none."""
        terms, sent_at = self._terms(), time.monotonic()
        return self._lease_of(self._scripts.claim_next(queue, terms), terms.token, sent_at)

    def await_next(self, slot: WaitingSlot) -> Lease | None:
        """Wait for the job that is claimed for a waiting slot; None when there is none in time."""
        while True:
            try:
                # Longer than the slot's entry in Redis lives: no job can be claimed for it afterwards.
                record = self._scripts.take_handed(slot.token, _SLOT_WAIT_S)
                return self._lease_of(record, slot.token, slot.since)
            except REDIS_UNAVAILABLE as exc:
                if time.monotonic() - slot.since > _HANDED_TIMEOUT_S:
                    # If a job was claimed, its lease expires, and another worker takes it.
                    log.warning("slot.abandoned", error=type(exc).__name__)
                    return None
                time.sleep(0.3)

    def take_over(self, job_id: str, token: str) -> tuple[Lease, int] | None:
        """Take the lease of an in-doubt job that a sweep handed to this worker; return it and Redis's time (ms)."""
        sent_at = time.monotonic()
        record, now_ms, *_ = self._scripts.get_job(job_id, 0, 0)
        job = parse_job(record)
        if job is None or job.token != token:
            return None
        return self._lease(job, token, sent_at), now_ms

    def join_ordering(self, lease: Lease, keys: list[str], fields: Mapping[str, str]) -> bool:
        """Add the ordering keys of the volumes that the job's paths refer to; False when it must wait for them.

        Raises:
            Cancelled: it would have to wait, and its batch is cancelled or stops.
        """
        result, messages = self._scripts.join_ordering(lease.job_id, lease.token, keys, fields)
        self._publisher.publish_soon(parse_messages(messages))
        if result is LeaseResult.CANCEL:
            raise Cancelled
        if result is not LeaseResult.GO:
            self._lease_renewer.remove(lease)
        return result is LeaseResult.GO

    def requeue(
        self, lease: Lease, delay_s: float, reason: str = "", cause: Failure | None = None, *, counts: bool = True
    ) -> None:
        """Return a job that changed nothing to its queue; a job whose cancellation was requested meanwhile ends.

        Args:
            lease: the job.
            delay_s: seconds after which it may start again.
            reason: why it waits, as its `waiting_reason`.
            cause: what went wrong, to be listed among the job's attempts.
            counts: does the attempt count?
        """
        delay_ms = int(delay_s * 1000)
        failure = (cause.code, cause.detail) if cause else ("", "")
        result = self._repeat(
            lease, lambda: self._scripts.requeue(lease.job_id, lease.token, delay_ms, reason, failure, counts=counts)
        )
        if result is LeaseResult.CANCEL:
            self.complete(lease, Completion(State.CANCELLED))
        elif result is LeaseResult.DONE and not delay_s:
            job = lease.job
            self._publisher.publish_soon([TaskMessage(job.id, job.queue, job.operation.name, job.traceparent)])
        self._lease_renewer.remove(lease)

    def requeue_foreign(self, lease: Lease) -> None:
        """Return a job of a storage system that this worker does not serve."""
        self.requeue(lease, _FOREIGN_DELAY_S, cause=Failure(*_NOT_SERVED), counts=False)

    def hand_over(self, lease: Lease, reason: str, delay_s: float = 0.0, *, cause: str = "") -> None:
        """Release an in-doubt change, for any worker to reconcile after the delay.

        ``cause`` is what put it in doubt, as JSON (``InDoubtCause``); empty: unchanged.
        """
        delay_ms, grace = int(delay_s * 1000), grace_ms(self._settings.lease)
        self._repeat(lease, lambda: self._scripts.hand_over(lease.job_id, lease.token, delay_ms, reason, grace, cause))
        self._lease_renewer.remove(lease)

    def drop_lease(self, lease: Lease) -> None:
        """Stop renewing a lease: another worker has the job, or nobody executes it."""
        self._lease_renewer.remove(lease)

    def complete(self, lease: Lease, completion: Completion) -> bool:
        """End a job; False when another worker holds it by now (nothing is changed then)."""
        fields = dict(completion.fields or {})
        if completion.failure is not None:
            fields |= completion.failure.to_fields()
        terms = None
        if lease.claims_next is not None and not self.draining:
            terms = self._terms()._replace(also_dispatched=lease.claims_next(), wait_ms=int(_SLOT_WAIT_S * 1000))
        sent_at, first_sent_at = 0.0, time.monotonic()

        def finish() -> tuple[LeaseResult, MessageParts, Sequence[bytes]]:
            nonlocal sent_at
            sent_at = time.monotonic()
            return self._scripts.finish(
                lease.job_id, lease.token, completion.state, fields, completion.steps or [],
                self._settings.job_keep * 1000, completion.result, self._settings.result_keep * 1000,
                INLINE_RESULT_BYTES, terms,
            )  # fmt: skip

        answer = self._repeat(lease, finish)
        self._lease_renewer.remove(lease)
        if answer is None or answer[0] is not LeaseResult.DONE:
            log.warning("completion.fenced", job_id=lease.job_id, state=completion.state, hint="another worker has it")
            return False
        lease.completed = True
        if terms is not None:
            lease.next_lease = self._lease_of(answer[2], terms.token, sent_at)
            lease.waiting_slot = None if answer[2] else WaitingSlot(terms.token, first_sent_at)
        self._publisher.publish_soon(parse_messages(answer[1]))
        return True

    def republish(self, job_id: str, queue: str, operation: str) -> None:
        """Publish a job's message again, for another worker."""
        self._publisher.publish_soon([TaskMessage(job_id, queue, operation)])

    @property
    def draining(self) -> bool:
        """Is this worker shutting down?"""
        return self._drain.is_set()

    def _terms(self) -> ClaimTerms:
        settings = self._settings
        return ClaimTerms(
            secrets.token_hex(8), LOOK_AHEAD, settings.lease * 1000,
            settings.read_timeout * 1000, settings.change_timeout * 1000,
        )  # fmt: skip

    def _lease_of(self, record: Sequence[bytes], token: str, sent_at: float) -> Lease | None:
        """The lease of a record that a script has claimed; None for no record, or one of a newer version."""
        if not record:
            return None
        job = parse_job(record)
        if job is not None:
            return self._lease(job, token, sent_at)
        job_id = dict(zip(record[::2], record[1::2], strict=True))[b"id"].decode()
        log.error("claim.unknown-operation", job_id=job_id, hint="a newer version submitted it; it is requeued")
        self._scripts.requeue(job_id, token, int(_FOREIGN_DELAY_S * 1000), "", _NOT_KNOWN, counts=False)
        return None

    def _lease(self, job: Job, token: str, sent_at: float) -> Lease:
        limit_s = self._settings.change_timeout if job.operation.is_change else self._settings.read_timeout
        lease = Lease(
            self._scripts, job, token,
            sent_at=sent_at, lease_s=self._settings.lease, limit_s=limit_s, drain=self._drain,
        )  # fmt: skip
        self._lease_renewer.add(lease)
        return lease

    def _repeat(self, lease: Lease, call: Callable[[], _Answer]) -> _Answer | None:
        """Repeat a call while Redis is unavailable, which the fencing token makes safe; None when it takes too long."""
        began = time.monotonic()
        while True:
            try:
                return call()
            except REDIS_UNAVAILABLE as exc:
                timeout_s = _COMPLETE_DRAINING_TIMEOUT_S if self.draining else _COMPLETE_TIMEOUT_S
                if time.monotonic() - began > timeout_s:
                    log.error("completion.abandoned", job_id=lease.job_id, error=type(exc).__name__)  # noqa: TRY400
                    return None
                time.sleep(0.3)
