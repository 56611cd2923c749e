"""Where a worker takes jobs and hands in their ends. Nothing here opens a storage system."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from worker.config.settings import Settings
from worker.execution.lease import Beater, Lease
from worker.jobs.record import Failure, Job, State, parse_job
from worker.jobs.status import INLINE_RESULT_BYTES
from worker.listings.updates import Steps
from worker.messaging.messages import Ring, rings
from worker.messaging.publisher import Bell
from worker.store.client import RedisAway, Scripts

log = structlog.get_logger(__name__)

#: How long a worker tries to hand in the end of a job while Redis is away. Afterwards another finds it out by looking.
_HAND_IN_S = 600.0
#: The same while the worker shuts down.
_HAND_IN_DRAINING_S = 10.0
#: A job whose workers were lost so often, before they sent anything, is given up: it may be what kills them.
LOSSES = 3
#: A job that this worker cannot carry out is left to others for so long.
_NOT_MINE_S = 5.0
_LONGEST_GRACE_MS = 5000
#: How far down its lane a free slot looks for a job whose turn has come.
LOOK_AHEAD = 1000


def grace_ms(lease_s: int) -> int:
    """How long a lapsed lease may still be renewed before the job is taken over."""
    return min(_LONGEST_GRACE_MS, lease_s * 1000 // 3)


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, with what it leaves behind."""

    state: State
    failure: Failure | None = None
    #: The answer as JSON, where it is kept on its own.
    result: bytes = b""
    fields: Mapping[str, str] | None = None
    steps: Steps | None = None


class Desk:
    """One worker process's desk."""

    def __init__(
        self, scripts: Scripts, beater: Beater, bell: Bell, settings: Settings, drain: threading.Event
    ) -> None:
        self._scripts = scripts
        self._beater = beater
        self._bell = bell
        self._settings = settings
        self._drain = drain

    def claim(self, job_id: str) -> Lease | str:
        """Take a queued job, or say why not: GONE, TAKEN, CANCELLED, LATER or BEHIND."""
        owner, asked_at = secrets.token_hex(8), time.monotonic()
        limits_ms = (self._settings.read_limit * 1000, self._settings.change_limit * 1000)
        word, *more = self._scripts.claim(job_id, owner, self._settings.lease * 1000, *limits_ms)
        if word != b"CLAIMED":
            return str(word.decode())
        job = parse_job(more[0])
        if job is None:
            log.error(
                "claim.unknown-operation", job_id=job_id, hint="an older worker took a newer job; it gives it back"
            )
            self._scripts.requeue(job_id, owner, int(_NOT_MINE_S * 1000), "", "1")
            return "UNKNOWN"
        return self._hold(job, owner, asked_at, others_wait=more[1] > 0)

    def take_over(self, job_id: str, owner: str) -> tuple[Lease, int] | None:
        """Hold a job that the sweep gave to this worker to settle; also Redis's time in milliseconds."""
        asked_at = time.monotonic()
        raw, now_ms, *_ = self._scripts.show(job_id, 0, 0)
        job = parse_job(raw)
        if job is None or job.owner != owner:
            return None
        return self._hold(job, owner, asked_at), now_ms

    def resolve(self, lease: Lease, keys: list[str], fields: Mapping[str, str]) -> bool:
        """Put the job into the order of the volumes that its paths mean; False when it must wait there."""
        word, found = self._scripts.resolve(lease.job_id, lease.owner, keys, fields)
        self._bell.ring(rings(found))
        if word != b"GO":
            self._beater.remove(lease)
        return bool(word == b"GO")

    def put_back(self, lease: Lease, delay_s: float, reason: str = "", *, counts: bool = True) -> None:
        """Give a job back to its queue, unharmed; a job that was cancelled meanwhile ends."""
        word = self._persist(
            lease, "requeue", lease.job_id, lease.owner, int(delay_s * 1000), reason, "0" if counts else "1"
        )
        if word == b"CANCEL":
            self.finish(lease, End(State.CANCELLED))
        elif word == b"DONE" and not delay_s:
            self.ring_for_others(lease.job.id, lease.job.queue, lease.job.operation.name)
        self._beater.remove(lease)

    def leave(self, lease: Lease) -> None:
        """Give back a job of a storage system that this worker does not serve."""
        self.put_back(lease, _NOT_MINE_S, counts=False)

    def release(self, lease: Lease, why: str, delay_s: float = 0.0) -> None:
        """Let go of a change whose outcome must be found out by looking."""
        self._persist(
            lease, "release", lease.job_id, lease.owner, int(delay_s * 1000), why, grace_ms(self._settings.lease)
        )
        self._beater.remove(lease)

    def forget(self, lease: Lease) -> None:
        """Let go of a job that is another's by now."""
        self._beater.remove(lease)

    def finish(self, lease: Lease, end: End) -> bool:
        """Hand in the end of a job; False when the job is another's by now (nothing is changed then)."""
        fields = dict(end.fields or {})
        if end.failure is not None:
            fields |= end.failure.to_fields()
        if end.result:
            fields["result_bytes"] = str(len(end.result))
        answer = self._persist(
            lease, "finish", lease.job_id, lease.owner, end.state, fields, end.steps or [],
            self._settings.job_keep * 1000, end.result, self._settings.result_keep * 1000,
            INLINE_RESULT_BYTES,
        )  # fmt: skip
        self._beater.remove(lease)
        if answer is None or answer[0] != b"DONE":
            log.warning("finish.refused", job_id=lease.job_id, state=end.state, hint="settled by another worker")
            return False
        self._bell.ring(rings(answer[1]))
        return True

    def ring_waiting(self, queue: str, most: int) -> None:
        """Ring for the first jobs of a lane whose turn has come: there is room again."""
        self._bell.ring(rings(self._scripts.waiting(queue, most, LOOK_AHEAD)))

    def ring_for_others(self, job_id: str, queue: str, operation: str) -> None:
        """Pass a ring on to whichever worker hears it."""
        self._bell.ring([Ring(job_id, queue, operation)])

    @property
    def draining(self) -> bool:
        """Is this worker shutting down?"""
        return self._drain.is_set()

    def _hold(self, job: Job, owner: str, asked_at: float, *, others_wait: bool = False) -> Lease:
        limit_s = self._settings.change_limit if job.operation.is_change else self._settings.read_limit
        lease = Lease(
            self._scripts, job, owner,
            asked_at=asked_at, lease_s=self._settings.lease, limit_s=limit_s, drain=self._drain,
            others_wait=others_wait,
        )  # fmt: skip
        self._beater.add(lease)
        return lease

    def _persist(self, lease: Lease, script: str, *arguments: Any) -> Any:
        """Run a script that says what became of a job; repeat it while Redis is away: it is fenced, so no harm."""
        began = time.monotonic()
        while True:
            try:
                return getattr(self._scripts, script)(*arguments)
            except RedisAway as exc:
                if time.monotonic() - began > (_HAND_IN_DRAINING_S if self.draining else _HAND_IN_S):
                    log.error("desk.gave-up", job_id=lease.job_id, script=script, error=type(exc).__name__)  # noqa: TRY400
                    return None
                time.sleep(0.3)
