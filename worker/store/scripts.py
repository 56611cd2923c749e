"""The Lua scripts in `lua/`, each as one typed method: one atomic step on Redis's own clock.

These methods alone know the order of a script's arguments and the form of its reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import redis

from worker.store.blocking_pop import LONG_GRACE_S, blocking_pop
from worker.store.results import (
    CancelResult,
    ClaimResult,
    ClaimTerms,
    ForceResult,
    LeaseResult,
    MessageParts,
    RecoveredJobs,
    SubmitOutcome,
)
from worker.store.script_runner import Argument, ScriptRunner


class JobScripts(ScriptRunner):
    """The scripts of one deployment. Every method raises what redis-py raises when Redis is unavailable."""

    # --- the client side of jobs

    def submit_job(
        self,
        job_id: str,
        fields: Mapping[str, str],
        request: Mapping[str, Any],
        worker_ttl_ms: int,
        inline_bytes: int,
        message: str,
    ) -> tuple[SubmitOutcome, str, Sequence[Any]]:
        """Record a job; return the outcome, the id of the job that answers the request, and that job's status."""
        outcome, answering_id, status = self._run_replicated(
            "submit_job", job_id, fields, request, worker_ttl_ms, inline_bytes, message
        )
        return SubmitOutcome(outcome.decode()), answering_id.decode(), status

    def get_job(self, job_id: str, worker_ttl_ms: int, inline_bytes: int) -> Sequence[Any]:
        """Return the status of a job; its first element is empty when there is no record."""
        status: Sequence[Any] = self._run("get_job", job_id, worker_ttl_ms, inline_bytes)
        return status

    def get_jobs(self, ids: Sequence[str], worker_ttl_ms: int, inline_bytes: int) -> list[Sequence[Any]]:
        """Return the status of each job, in one round trip; each is a step of its own, so that none delays others."""
        try:
            return self._get_jobs(ids, worker_ttl_ms, inline_bytes)
        except redis.exceptions.NoScriptError:
            self.get_job(ids[0], worker_ttl_ms, inline_bytes)
            return self._get_jobs(ids, worker_ttl_ms, inline_bytes)

    def _get_jobs(self, ids: Sequence[str], worker_ttl_ms: int, inline_bytes: int) -> list[Sequence[Any]]:
        pipe: Any = self._client.pipeline(transaction=False)
        script: Any = self.registered["get_job"]
        for job_id in ids:
            pipe.execute_command("EVALSHA", script.sha, 1, self._prefix, job_id, worker_ttl_ms, inline_bytes)
        replies: list[Sequence[Any]] = pipe.execute()
        return replies

    def list_jobs(self, query: Mapping[str, Any]) -> tuple[list[str], int | None]:
        """Return ids of jobs, newest first, and the sequence number to continue below (None: the end)."""
        ids, after = self._run("list_jobs", query)
        return [job_id.decode() for job_id in ids], int(after) if after else None

    def cancel(self, job_id: str, who: str, record_ttl_ms: int) -> tuple[CancelResult, MessageParts]:
        """Request cancellation of a job."""
        word, messages = self._run("cancel", job_id, who, record_ttl_ms)
        return CancelResult(word.decode()), messages

    def force_outcome(
        self, job_id: str, state: str, fields: Mapping[str, str], record_ttl_ms: int, steps: Sequence[Mapping[str, Any]]
    ) -> tuple[ForceResult, MessageParts]:
        """End an in-doubt change with an operator's decision."""
        word, messages = self._run("force_outcome", job_id, state, fields, record_ttl_ms, steps)
        return ForceResult(word.decode()), messages

    def forget_repeat(self, digest: str, job_id: str) -> None:
        """Forget the request that made a job; the same request then makes a new one."""
        self._run("forget_repeat", digest, job_id)

    # --- batches

    def prepare_members(
        self, batch_id: str, common: Mapping[str, str], members: Sequence[Mapping[str, str]]
    ) -> tuple[int, int]:
        """Record some members, invisible until the batch is committed; return their first and last seq."""
        first, last = self._run("prepare_members", batch_id, common, members)
        return first, last

    def discard_members(self, batch_id: str, limit: int) -> tuple[bool, MessageParts]:
        """Discard some members of a batch that was not accepted; return whether there are more, and messages."""
        more, messages = self._run("discard_members", batch_id, limit)
        return bool(more), messages

    def commit_batch(
        self,
        batch_id: str,
        fields: Mapping[str, str],
        request: Mapping[str, Any],
        worker_ttl_ms: int,
        inline_bytes: int,
    ) -> tuple[SubmitOutcome, str, Sequence[Any], MessageParts]:
        """Accept a batch with its prepared members; return the outcome, its id and status, and messages to publish."""
        outcome, answering_id, status, messages = self._run_replicated(
            "commit_batch", batch_id, fields, request, worker_ttl_ms, inline_bytes
        )
        return SubmitOutcome(outcome.decode()), answering_id.decode(), status, messages

    def advance_batch(self, batch_id: str, limit: int, record_ttl_ms: int) -> tuple[bool, MessageParts]:
        """Stop some members of a batch that is being stopped; return whether there are more, and messages."""
        more, messages = self._run("advance_batch", batch_id, limit, record_ttl_ms)
        return bool(more), messages

    # --- the worker that holds a job

    def claim(
        self, job_id: str, token: str, lease_ms: int, read_timeout_ms: int, change_timeout_ms: int
    ) -> tuple[ClaimResult, Sequence[bytes]]:
        """Claim a queued job; return the result, and its record when it was claimed."""
        word, *record = self._run("claim", job_id, token, lease_ms, read_timeout_ms, change_timeout_ms)
        return ClaimResult(word.decode()), record[0] if record else ()

    def claim_next(self, queue: str, terms: ClaimTerms) -> Sequence[bytes]:
        """Claim the first runnable job of a queue; return its record, empty where there is none."""
        record: Sequence[bytes] = self._run("claim_next", queue, terms.scan, *terms.token_and_times)
        return record

    def take_handed(self, token: str, wait_s: float) -> Sequence[bytes]:
        """Wait for the job that is claimed for a waiting slot; return its record, empty when there is none in time."""
        record = blocking_pop(self._client, self._keys.handed(token), wait_s, LONG_GRACE_S)
        return [text.encode() for text in orjson.loads(record)] if record else ()

    def renew_leases(self, lease_ms: int, *ids_and_tokens: str) -> list[LeaseResult]:
        """Renew leases; return one result for each pair of id and token."""
        return [LeaseResult(word.decode()) for word in self._run("renew_leases", lease_ms, *ids_and_tokens)]

    def record_progress(self, job_id: str, token: str, kind: str, fields: Mapping[str, str]) -> LeaseResult:
        """Write to the journal of a running job; ``kind``: step, backend_job or progress.

        Only what recovery depends on (a step, a job of the filer) waits for replicas.
        """
        run = self._run if kind == "progress" else self._run_replicated
        return LeaseResult(run("record_progress", job_id, token, kind, fields).decode())

    def join_ordering(
        self, job_id: str, token: str, keys: Sequence[str], fields: Mapping[str, str]
    ) -> tuple[LeaseResult, MessageParts]:
        """Add ordering keys to a running job; GO, BLOCKED, CANCEL or LOST."""
        word, messages = self._run("join_ordering", job_id, token, keys, fields)
        return LeaseResult(word.decode()), messages

    def requeue(
        self, job_id: str, token: str, delay_ms: int, reason: str, cause: tuple[str, str] = ("", ""), *, counts: bool
    ) -> LeaseResult:
        """Return a job to its queue; DONE, CANCEL or LOST.

        Args:
            job_id: the job.
            token: the fencing token of the worker that holds it.
            delay_ms: milliseconds after which it may start again.
            reason: why it waits, as its `waiting_reason`.
            cause: code and detail of what went wrong, to be listed among the job's attempts.
            counts: does the attempt count?
        """
        word = self._run("requeue", job_id, token, delay_ms, reason, "0" if counts else "1", *cause)
        return LeaseResult(word.decode())

    def hand_over(
        self, job_id: str, token: str, delay_ms: int, reason: str, grace_ms: int, cause: str = ""
    ) -> LeaseResult:
        """Release an in-doubt change for another worker to reconcile; DONE or LOST.

        ``cause`` is what put it in doubt, as JSON; empty: unchanged.
        """
        return LeaseResult(self._run("hand_over", job_id, token, delay_ms, reason, grace_ms, cause).decode())

    def finish(
        self,
        job_id: str,
        token: str,
        state: str,
        fields: Mapping[str, str],
        steps: Sequence[Mapping[str, Any]],
        record_ttl_ms: int,
        result: bytes,
        result_ttl_ms: int,
        inline_bytes: int,
        next_job: ClaimTerms | None = None,
    ) -> tuple[LeaseResult, MessageParts, Sequence[bytes]]:
        """End a job and update the listings; DONE or LOST, messages, and the record of the next job.

        ``next_job``: claim the next runnable job of the same queue, too, on these terms, or enter a waiting slot.
        """
        more: Sequence[Argument] = ("", 0, 0, 0, 0, "", 0)
        if next_job is not None:
            claim_token, *times = next_job.token_and_times
            more = (claim_token, next_job.scan, *times, "1" if next_job.also_dispatched else "", next_job.wait_ms)
        word, messages, record = self._run(
            "finish", job_id, token, state, fields, steps, record_ttl_ms, result, result_ttl_ms, inline_bytes, *more
        )
        return LeaseResult(word.decode()), messages, record

    # --- maintenance

    def recover_jobs(
        self,
        subsystem: str,
        lease_ms: int,
        grace_ms: int,
        max_losses: int,
        record_ttl_ms: int,
        token: str,
        capacity: int,
    ) -> RecoveredJobs:
        """Check the unfinished jobs of a subsystem that are due; ``capacity``: how many the caller can reconcile."""
        messages, to_reconcile, failed = self._run(
            "recover_jobs", subsystem, lease_ms, grace_ms, max_losses, record_ttl_ms, token, capacity
        )
        return RecoveredJobs(messages, [i.decode() for i in to_reconcile], [i.decode() for i in failed])

    def pick_runnable(self, queue: str, limit: int, scan: int) -> MessageParts:
        """Return the first runnable jobs of a queue that were not published within this second."""
        messages: MessageParts = self._run("pick_runnable", queue, limit, scan)
        return messages

    def worker_heartbeat(self, node: str, slots: Mapping[str, int]) -> int:
        """Record that a worker is alive; return Redis's time (ms).

        ``slots``: how many jobs of each queue that it serves it can carry out at a time.
        """
        words = [word for queue, count in slots.items() for word in (queue, count)]
        return int(self._run("worker_heartbeat", node, *words))

    def worker_draining(self, node: str, *queues: str) -> int:
        """Record that a worker shuts down, and takes no jobs of these queues any more; return Redis's time (ms)."""
        return int(self._run("worker_draining", node, *queues))

    def purge_expired(self, limit: int) -> int:
        """Delete finished jobs whose TTL is over; return how many."""
        return int(self._run("purge_expired", limit))

    def queue_stats(self, worker_ttl_ms: int, *queues: str) -> list[tuple[int, int, int, list[bytes]]]:
        """Return, for each queue: waiting, running, age of the oldest waiting job (ms), names of its workers."""
        return [tuple(stats) for stats in self._run("queue_stats", worker_ttl_ms, *queues)]

    # --- listings

    def begin_read(self, cache_key: str, parent_key: str, limit_ms: int) -> tuple[int, int, int]:
        """Begin a read of a listing; return now (ms), the last change that it includes, the collection's epoch."""
        now_ms, seq, epoch = self._run("begin_read", cache_key, parent_key, limit_ms)
        return now_ms, seq, epoch

    def abandon_read(self, cache_key: str) -> None:
        """Forget that a read of a listing began, where nothing else is known of the listing."""
        self._run("abandon_read", cache_key)

    def extend_ttl(self, key: str, ttl_ms: int) -> None:
        """Make a key live at least this long."""
        self._run("extend_ttl", key, ttl_ms)

    def compact_listing(self, step: Mapping[str, Any]) -> None:
        """Make a listing with the same records the new base, if the old base is still the current one."""
        self._run("compact_listing", step)

    # --- webhooks

    def dispatch_webhooks(
        self, read_from: str, position: str, deliveries: Sequence[tuple[str, str, Mapping[str, str]]]
    ) -> bool:
        """Make deliveries (id, target, fields) of the events up to a position; False when another worker was first."""
        return bool(self._run("dispatch_webhooks", read_from, position, deliveries))

    def take_deliveries(
        self, target: str, at_a_time: int, lease_ms: int, keep_ms: int, *, is_configured: bool
    ) -> list[tuple[str, str]]:
        """Return deliveries to a target that are due (id, traceparent), to be carried out within the lease.

        How one that is not configured does is forgotten when nothing more waits for it. Deliveries that are older than
        ``keep_ms`` are given up while their target fails.
        """
        taken = self._run("take_deliveries", target, at_a_time, lease_ms, "1" if is_configured else "", keep_ms)
        return [(delivery_id.decode(), traceparent.decode()) for delivery_id, traceparent in taken]

    def end_delivery(self, delivery_id: str, error: str, backoff_ms: int, longest_ms: int, keep_ms: int) -> str:
        """Note how an attempt came out (no error: delivered); delivered, again or given-up."""
        taken = "" if error else "1"
        outcome = self._run("end_delivery", delivery_id, taken, error, backoff_ms, longest_ms, keep_ms)
        return str(outcome.decode())
