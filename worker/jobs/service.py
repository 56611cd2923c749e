"""Jobs as their clients see them: accept, show, list, cancel. The record in Redis is the truth; Celery only rings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import redis

from worker.catalog.operations import Operation
from worker.catalog.ordering_keys import places
from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.jobs.ids import JobIds
from worker.jobs.record import Job, State
from worker.jobs.status import INLINE_RESULT_BYTES, MAX_RETRY_AFTER_S, WORKER_TTL_MS, ShownJob, read_shown
from worker.messaging.messages import Ring, rings
from worker.messaging.publisher import Bell
from worker.store.client import NotHeld, Scripts


class Accepted(StrEnum):
    """What became of a request for a job."""

    NEW = "NEW"
    #: The same request with the same Idempotency-Key was accepted before.
    REPLAYED = "REPLAYED"
    #: Another request with the same Idempotency-Key was accepted before.
    REUSED = "REUSED"
    #: The same read is under way already.
    JOINED = "JOINED"
    #: The read has been done meanwhile: look again.
    CHANGED = "CHANGED"
    #: The queue is too long.
    FULL = "FULL"


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A request for a job, checked already."""

    operation: Operation
    subsystem: str
    arguments: Mapping[str, Any]
    #: What is shown as the job's request.
    request: Mapping[str, Any]
    target: str
    #: Who asks; an empty name is somebody who has not signed in.
    requester: str
    request_id: str
    #: The volume as the client named it, for the job list.
    volume: str = ""
    query: str = ""
    retry_of: str = ""
    #: Is the request held open until the job has ended? Then its end is told to ``Answers``.
    awaited: bool = False
    idempotency_key: str = ""
    #: A digest of the whole request, compared when the key comes again.
    request_hash: str = ""
    #: For a read: may it join one that has begun already?
    join_begun: bool = True
    #: For a read that nobody waits for (a refresh).
    refresh: bool = False
    #: For a read: when the copy that was not good enough began (Unix ms, 0: none); another one makes the job needless.
    seen_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which of one's own jobs; empty means any. Times are Unix milliseconds."""

    state: str = ""
    operation: str = ""
    subsystem: str = ""
    volume: str = ""
    created_after_ms: int = 0
    ids: tuple[str, ...] = field(default=())

    def indexes(self, requester: str) -> list[str]:
        """The indexes that a job must be in, the narrowest first."""
        base = f"mine:{_key_of(requester)}"
        filters = {name: getattr(self, name) for name in ("volume", "operation", "state", "subsystem")}
        return [f"{base}:{name}:{value}" for name, value in filters.items() if value] or [base]


class Jobs:
    """The job records. Raises what redis-py raises when Redis is away."""

    def __init__(self, client: redis.Redis, scripts: Scripts, ids: JobIds, bell: Bell, settings: Settings) -> None:
        self._redis = client
        self._scripts = scripts
        self._ids = ids
        self._bell = bell
        self._settings = settings

    def accept(self, new: NewJob) -> tuple[Accepted, str, ShownJob | None]:
        """Record a job durably and ring for it; return what became of the request, the id of its job, and the job.

        Everything that makes it a job is written in one step, the ring with it, where that goes by the same Redis. If
        ringing comes after and fails, nothing is lost.
        """
        job_id = self._ids.new()
        fields = self._fields(job_id, new)
        ring = Ring(job_id, fields["queue"], new.operation.name)
        letter = self._bell.letter(ring)
        flight = fields.get("flight", "")
        request = {
            "idempotency": f"{_key_of(new.requester)}:{_key_of(new.idempotency_key)}" if new.idempotency_key else "",
            "request_hash": new.request_hash,
            "idempotency_ms": self._settings.idempotency_keep * 1000,
            "flight": flight,
            "join_begun": new.join_begun,
            "refresh": new.refresh,
            "seen": "" if new.seen_ms is None else str(new.seen_ms),
            "queue_limit": self._settings.queue_limit,
            "first_sweep_ms": 2000,
        }
        try:
            word, known_id, shown = self._scripts.accept(
                job_id, fields, request, WORKER_TTL_MS, INLINE_RESULT_BYTES, letter
            )
        except NotHeld as refused:
            # With a key the same request finds the job again; without one, its client can only ask for a new one.
            if refused.answer[0] == b"NEW" and not new.idempotency_key:
                self.cancel(job_id, "")
            raise
        outcome = Accepted(word.decode())
        if outcome is Accepted.NEW and not letter:
            self._bell.ring([ring])
        return outcome, known_id.decode(), read_shown(shown) if shown else None

    def show(self, job_id: str) -> ShownJob | None:
        """Return the job with its place in the queue; None when there is no record of it."""
        return read_shown(self._scripts.show(job_id, WORKER_TTL_MS, INLINE_RESULT_BYTES))

    def issued(self, job_id: str) -> bool:
        """Was there ever a job of this id?"""
        return self._ids.issued(job_id)

    def result(self, job_id: str) -> bytes | None:
        """The result of a succeeded job as JSON; None when it is kept no longer, or is a listing."""
        value = self._redis.get(f"{self._settings.key_prefix}result:{job_id}")
        assert value is None or isinstance(value, bytes)  # noqa: S101 - the client decodes nothing
        return value

    def mine(
        self, requester: str, wanted: JobFilter, limit: int, below: int | None
    ) -> tuple[list[ShownJob], int | None]:
        """Return the requester's jobs, newest first, and the number below which the next page begins (None: end)."""
        if wanted.ids:
            shown = self._show_all(wanted.ids)
            return [s for s in shown if s.job.requester == requester and _fits(s.job, wanted)], None
        found: list[str] = []
        cursor = "+inf" if below is None else str(below)
        while cursor and len(found) < limit:
            ids, after = self._scripts.mine(cursor, limit - len(found), 5000, *wanted.indexes(requester))
            found += [job_id.decode() for job_id in ids]
            cursor = after.decode() if isinstance(after, bytes) else str(after)
        shown = self._show_all(found)
        recent = [s for s in shown if s.job.created_ms > wanted.created_after_ms]
        return recent, int(float(cursor)) if cursor and len(recent) == len(shown) and shown else None

    def cancel(self, job_id: str, who: str) -> str:
        """Ask to cancel; CANCELLED, CANCELLING, SHARED (others wait for it), TOO_LATE or GONE."""
        word, found = self._scripts.cancel(job_id, who, self._settings.job_keep * 1000)
        self._bell.ring(rings(found))
        return str(word.decode())

    def settle(self, job_id: str, state: State, fields: Mapping[str, str], steps: Iterable[Mapping[str, Any]]) -> str:
        """Take an operator's word for the outcome of a change that is being settled; DONE, NOT_SETTLING or GONE."""
        word, found = self._scripts.settle(job_id, state, fields, self._settings.job_keep * 1000, list(steps))
        self._bell.ring(rings(found))
        return str(word.decode())

    def queue_retry_after_s(self, subsystem: str, operation: Operation) -> int:
        """When a queue that is full may have room again, in seconds."""
        mean_ms = self._redis.hget(f"{self._settings.key_prefix}durations:{subsystem}", operation.name)
        waiting_s = float(mean_ms or 1000) / 1000 * self._settings.queue_limit / self._settings.write_slots
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(waiting_s / 10)))

    def _show_all(self, ids: Iterable[str]) -> list[ShownJob]:
        return [shown for job_id in ids if (shown := self.show(job_id)) is not None]

    def _fields(self, job_id: str, new: NewJob) -> dict[str, str]:
        operation = new.operation
        fields = {
            "id": job_id,
            "operation": operation.name,
            "kind": "change" if operation.is_change else "read",
            "subsystem": new.subsystem,
            "queue": operation.queue(new.subsystem),
            "arguments": as_json(new.arguments).decode(),
            "request": as_json(new.request).decode(),
            "target": new.target,
            "volume": new.volume,
            "requester": new.requester,
            "requester_key": _key_of(new.requester) if new.requester else "",
            "request_id": new.request_id,
            "query": new.query,
            "retry_of": new.retry_of,
            "cancellable": "1",
            "awaited": "1" if new.awaited else "",
            **places(operation, new.subsystem, new.arguments),
        }
        if operation.reads is not None:
            fields["flight"] = operation.reads.thing(new.subsystem, new.arguments)
        return fields


def _fits(job: Job, wanted: JobFilter) -> bool:
    shown = {"state": job.state, "operation": job.operation.name, "subsystem": job.subsystem}
    volume = job.arguments.get("volume", "")
    return (
        all(not getattr(wanted, name) or getattr(wanted, name) == value for name, value in shown.items())
        and (not wanted.volume or wanted.volume == volume)
        and job.created_ms > wanted.created_after_ms
    )


@lru_cache(10_000)
def _key_of(text: str) -> str:
    """Text that a client chose, as part of a key: of one length and harmless."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
