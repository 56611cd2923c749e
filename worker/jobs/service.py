"""The client side of jobs: accept, get, list, cancel. The record in Redis is authoritative; Celery delivers ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from worker.catalog.operations import Operation
from worker.catalog.ordering_keys import ordering_keys
from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.jobs.idempotency import idempotency_name
from worker.jobs.ids import JobIds
from worker.jobs.query import MAX_SEQ, JobFilter, JobScope, index_query, key_of, roles_property
from worker.jobs.record import State
from worker.jobs.repeated_requests import HELD_TTL_MS, Repeat
from worker.jobs.status import INLINE_RESULT_BYTES, MAX_RETRY_AFTER_S, WORKER_TTL_MS, JobStatus, parse_job_status
from worker.messaging.messages import TaskMessage, parse_messages
from worker.messaging.publisher import TaskPublisher
from worker.store.client import REDIS_UNAVAILABLE, NotReplicated
from worker.store.keys import Keys
from worker.store.results import CancelResult, ForceResult, SubmitOutcome
from worker.store.scripts import JobScripts
from worker.telemetry.tracing import trace_id_of


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A validated request for a job."""

    operation: Operation
    subsystem: str
    arguments: Mapping[str, Any]
    #: The request as the job's document shows it.
    request: Mapping[str, Any]
    target: str
    #: The requester's name; empty for an anonymous client.
    requester: str
    request_id: str
    #: The requester's id, which does not change with the name (default: the name).
    requester_id: str = ""
    #: The network of an anonymous client.
    network: str = ""
    #: The volume as the client named it, for the job list.
    volume: str = ""
    query: str = ""
    retry_of: str = ""
    #: Is the request held open until the job has ended? Then its end is sent to the reply queue.
    wants_reply: bool = False
    #: The context of the request's span (W3C Trace Context); empty where nothing is traced.
    traceparent: str = ""
    #: The URL to notify of the job's end.
    callback: str = ""
    idempotency_key: str = ""
    #: A digest of the whole request, compared when the key comes again.
    request_hash: str = ""
    #: For a change that a repetition of the request finds again.
    repeat: Repeat | None = None
    #: For a read: may it join one that is running already?
    may_join_running: bool = True
    #: Is it a read that no client waits for (a refresh)?
    refresh: bool = False
    #: For a read: the start of the cached copy that was too old (Unix ms, 0: none); with a newer copy no job is made.
    seen_ms: int | None = None

    @property
    def owner_key(self) -> str:
        """The key of the owner; empty for an anonymous client."""
        return key_of(self.requester_id or self.requester) if self.requester else ""


#: How many steps one search in Redis takes at most (some milliseconds), so that it does not delay other clients.
_SEARCH_EFFORT = 4_000


class Jobs:
    """The job records. Every method raises what redis-py raises when Redis is unavailable."""

    def __init__(
        self,
        client: redis.Redis,
        scripts: JobScripts,
        ids: JobIds,
        publisher: TaskPublisher,
        settings: Settings,
        short_timeout_scripts: JobScripts | None = None,
    ) -> None:
        """``short_timeout_scripts``: scripts with a shorter time limit, for ``get_quickly``."""
        self._redis = client
        self._short_timeout_scripts = short_timeout_scripts or scripts
        self._scripts = scripts
        self.ids = ids
        self._publisher = publisher
        self._settings = settings
        self._keys = Keys(settings.key_prefix)

    def accept(self, new: NewJob) -> tuple[SubmitOutcome, str, JobStatus | None]:
        """Record a job durably and publish its message; return the outcome, the id of its job, and the job.

        The record, its place in the queue and, where the broker is the same Redis, its Celery message are written in
        one step (a transactional outbox). Otherwise it is published afterwards; if it is lost, the job starts later.
        """
        job_id = self.ids.new()
        fields = self.fields(job_id, new)
        message = TaskMessage(job_id, fields["queue"], new.operation.name, new.traceparent)
        payload = self._publisher.message_for(message)
        request = {
            "idempotency": idempotency_name(new.owner_key, new.idempotency_key),
            "request_hash": new.request_hash,
            "idempotency_ms": self._settings.idempotency_keep * 1000,
            "inflight": fields.get("inflight", ""),
            "may_join_running": new.may_join_running,
            "one_of_many": new.operation.reads is not None and new.operation.reads.is_one_of_many,
            "refresh": new.refresh,
            "seen": "" if new.seen_ms is None else str(new.seen_ms),
            "queue_limit": self._settings.queue_limit,
            "share_limit": self._share_limit(new),
            "read_rates": self._read_rates(new),
            "first_check_ms": 2000,
            # No worker may begin before enough replicas have the job.
            "to_waiting_slot": not self._settings.wait_replicas,
            **_repeat_of(new),
        }
        try:
            outcome, known_id, job_status = self._scripts.submit_job(
                job_id, fields, request, WORKER_TTL_MS, INLINE_RESULT_BYTES, payload
            )
        except NotReplicated as refused:
            # A repetition with a key or a digest finds the job. Where this fails, too, the error says that it may run.
            if refused.answer[0] == b"NEW" and not (new.idempotency_key or new.repeat):
                with suppress(*REDIS_UNAVAILABLE):
                    self.cancel(job_id, "")
            raise
        status = parse_job_status(job_status) if job_status else None
        if outcome is SubmitOutcome.NEW and not payload and status and status.job.state is State.QUEUED:
            self._publisher.publish_soon([message])
        return outcome, known_id, status

    def get(self, job_id: str) -> JobStatus | None:
        """Return the job with its place in the queue; None when there is no record of it."""
        return parse_job_status(self._scripts.get_job(job_id, WORKER_TTL_MS, INLINE_RESULT_BYTES))

    def get_quickly(self, job_id: str) -> JobStatus | None:
        """As ``get``, within the shorter time limit; None also where Redis does not answer within it."""
        try:
            status = self._short_timeout_scripts.get_job(job_id, WORKER_TTL_MS, INLINE_RESULT_BYTES)
        except REDIS_UNAVAILABLE:
            return None
        return parse_job_status(status)

    def was_issued(self, job_id: str) -> bool:
        """Was this id ever issued?"""
        return self.ids.is_ours(job_id)

    def result(self, job_id: str) -> bytes | None:
        """The result of a succeeded job as JSON; None when it has expired, or is a listing."""
        value = self._redis.get(self._keys.result(job_id))
        assert value is None or isinstance(value, bytes)  # noqa: S101 - the client decodes nothing
        return value

    def find(
        self, job_filter: JobFilter, scope: JobScope, limit: int, below: int | None = None
    ) -> tuple[list[JobStatus], int | None]:
        """Return jobs, newest first, and the sequence number below which the next page begins (None: there is none).

        Args:
            job_filter: which jobs.
            scope: whose jobs.
            limit: how many at most.
            below: where this page begins (None: with the newest).
        """
        if job_filter.ids:
            return self._among_ids(job_filter, scope, limit, below)
        ids, cursor = self._search(job_filter, scope, limit, below)
        return self._get_all(ids), cursor

    def _among_ids(
        self, job_filter: JobFilter, scope: JobScope, limit: int, below: int | None
    ) -> tuple[list[JobStatus], int | None]:
        fitting = [
            job_status
            for job_status in self._get_all(job_filter.ids)
            if scope.includes(job_status.job)
            and job_filter.matches(job_status.job)
            and (below is None or job_status.job.seq < below)
        ]
        page = sorted(fitting, key=lambda job_status: -job_status.job.seq)[:limit]
        return page, page[-1].job.seq if len(page) < len(fitting) else None

    def _search(
        self, job_filter: JobFilter, scope: JobScope, limit: int, below: int | None
    ) -> tuple[list[str], int | None]:
        floor, top = self._members_range(job_filter.batch) if job_filter.batch else (0, MAX_SEQ)
        job_ids: list[str] = []
        cursor: int | None = top if below is None else min(top, below)
        while cursor is not None and len(job_ids) < limit:
            query = index_query(
                job_filter, scope, seqs=(floor, cursor), limit=limit - len(job_ids), effort=_SEARCH_EFFORT
            )
            ids, cursor = self._scripts.list_jobs(query)
            job_ids += ids
        return job_ids, cursor

    def _members_range(self, batch_id: str) -> tuple[int, int]:
        """The sequence numbers around those of a batch's members."""
        first, last = self._redis.hmget(self._keys.job(batch_id), "first_seq", "last_seq")
        return (int(first) - 1, int(last) + 1) if first and last else (0, 0)

    def cancel(self, job_id: str, who: str) -> CancelResult:
        """Request cancellation of a job."""
        result, messages = self._scripts.cancel(job_id, who, self._settings.job_keep * 1000)
        self._publisher.publish_soon(parse_messages(messages))
        return result

    def force_outcome(
        self, job_id: str, state: State, fields: Mapping[str, str], steps: Iterable[Mapping[str, Any]]
    ) -> ForceResult:
        """End a change in doubt, or a job that its worker left and no other takes over, with an operator's decision."""
        keep_ms = self._settings.job_keep * 1000
        result, messages = self._scripts.force_outcome(job_id, state, fields, keep_ms, list(steps))
        self._publisher.publish_soon(parse_messages(messages))
        return result

    def queue_retry_after_s(self, subsystem: str, operation: Operation) -> int:
        """When a full queue may accept jobs again, in seconds."""
        mean_ms = self._redis.hget(self._keys.mean_durations(subsystem), operation.name)
        waiting_s = float(mean_ms or 1000) / 1000 * self._settings.queue_limit / self._settings.write_slots
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(waiting_s / 10)))

    def _share_limit(self, new: NewJob) -> int:
        """How many jobs of this requester may wait in the queue; 0 (no limit) for the service's own jobs."""
        if new.requester:
            return self._settings.user_queue_limit
        return self._settings.strangers_queue_limit if new.network else 0

    def _read_rates(self, new: NewJob) -> list[tuple[str, int]]:
        """The counters of reads that this one is added to, with their limits per minute."""
        settings = self._settings
        if new.operation.is_change:
            return []
        if new.requester:
            rates = [(new.owner_key, settings.user_read_rate)]
        elif new.network:
            rates = [
                (f"address:{key_of(new.network)}", settings.address_read_rate),
                ("strangers", settings.strangers_read_rate),
            ]
        else:
            rates = []
        return [(who, rate) for who, rate in rates if rate]

    def _get_all(self, ids: Iterable[str]) -> list[JobStatus]:
        replies = self._scripts.get_jobs(list(ids), WORKER_TTL_MS, INLINE_RESULT_BYTES)
        return [job_status for reply in replies if (job_status := parse_job_status(reply)) is not None]

    def fields(self, job_id: str, new: NewJob) -> dict[str, str]:
        """Return the fields of the record of a job that is going to be accepted."""
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
            "requester_key": new.owner_key,
            "name_key": key_of(new.requester) if new.requester else "",
            "roles": roles_property({operation.role}),
            "request_id": new.request_id,
            "query": new.query,
            "retry_of": new.retry_of,
            "cancellable": "1",
            "callback": new.callback,
            **({"traceparent": new.traceparent, "trace_id": trace_id_of(new.traceparent)} if new.traceparent else {}),
            "wants_reply": "1" if new.wants_reply else "",
            **ordering_keys(operation, new.subsystem, new.arguments),
            **({"repeat": new.repeat.digest} if new.repeat else {}),
        }
        if operation.reads is not None:
            fields["record_ttl_ms"] = str(self._settings.read_job_keep * 1000)
            fields["inflight"] = operation.reads.cache_key(new.subsystem, new.arguments)
        return fields


def _repeat_of(new: NewJob) -> dict[str, str | int]:
    repeat = new.repeat
    if repeat is None:
        return {}
    return {
        "repeat": repeat.digest, "repeat_ms": repeat.keep_s * 1000, "held_ms": HELD_TTL_MS, "beside": repeat.beside,
    }  # fmt: skip
