"""The client side of batches: accepting as a whole, stopping step by step, the results of the members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from worker.catalog.operations import BATCH
from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.jobs.idempotency import IdempotencyKeys, idempotency_name
from worker.jobs.ids import JobIds
from worker.jobs.query import key_of, roles_property
from worker.jobs.service import Jobs, NewJob
from worker.jobs.status import INLINE_RESULT_BYTES, WORKER_TTL_MS, JobStatus, parse_job_status
from worker.messaging.messages import parse_messages
from worker.messaging.publisher import TaskPublisher
from worker.store.client import REDIS_UNAVAILABLE, NotReplicated
from worker.store.keys import Keys
from worker.store.results import CancelResult, SubmitOutcome
from worker.store.scripts import JobScripts

#: How many members are written, or ended, in one step: none takes more than about 5 ms of Redis's time.
_STEP_MEMBERS = 50
_ENDED_MEMBERS = 15
#: A batch that is not accepted this long after its last step of preparation is discarded.
_PREPARING_MS = 10_000
#: Results of members up to this size are shown in the result of their batch.
_MEMBER_RESULT_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A request for a batch, checked already; there is at least one member."""

    members: Sequence[NewJob]
    #: The request as the job's document shows it.
    request: Mapping[str, Any]
    #: How many of its members may be in the queues at a time.
    parallel: int
    #: Are members that have not begun cancelled when one fails?
    stops_on_failure: bool
    target: str
    requester: str
    request_id: str
    retry_of: str = ""
    #: The URL to notify of its end.
    callback: str = ""
    idempotency_key: str = ""
    request_hash: str = ""

    @property
    def owner_key(self) -> str:
        """The key of its owner, which its members have as well."""
        return self.members[0].owner_key


class Batches:
    """The batches. Every method raises what redis-py raises when Redis is unavailable."""

    def __init__(
        self,
        client: redis.Redis,
        scripts: JobScripts,
        jobs: Jobs,
        ids: JobIds,
        publisher: TaskPublisher,
        settings: Settings,
    ) -> None:
        self._redis = client
        self._scripts = scripts
        self._jobs = jobs
        self._ids = ids
        self._publisher = publisher
        self._settings = settings
        self._keys = Keys(settings.key_prefix)
        self._idempotency_keys = IdempotencyKeys(client, settings)

    def accept(self, new: NewBatch) -> tuple[SubmitOutcome, str, JobStatus | None]:
        """Record a batch with all its members; return the outcome, the id of the batch, and its job.

        The members are prepared some at a time, invisible to clients. One short step then makes the batch and all of
        them visible; if that does not happen, they are discarded.
        """
        batch_id = self._ids.new()
        fields = [self._jobs.fields(self._ids.new(), member) for member in new.members]
        try:
            outcome, known_id, status, messages = self._scripts.commit_batch(
                batch_id,
                self._batch_fields(batch_id, new, fields) | self._prepare(batch_id, new, fields),
                self._commit_request(new, fields),
                WORKER_TTL_MS,
                INLINE_RESULT_BYTES,
            )
        except NotReplicated as refused:
            # As for a single job: without a key its client can only submit a new one.
            if refused.answer[0] == b"NEW" and not new.idempotency_key:
                with suppress(*REDIS_UNAVAILABLE):
                    self.cancel(batch_id, "")
            raise
        if outcome is not SubmitOutcome.NEW:
            self._discard(batch_id)
        self._publisher.publish_soon(parse_messages(messages))
        return outcome, known_id, parse_job_status(status) if status else None

    def cancel(self, batch_id: str, who: str) -> CancelResult:
        """Cancel the members that have not begun, and ask the others to stop."""
        result = self._jobs.cancel(batch_id, who)
        self.advance(batch_id)
        return result

    def advance(self, batch_id: str) -> None:
        """Go on stopping a batch, in short steps that do not delay other clients of Redis."""
        more = True
        while more:
            more, messages = self._scripts.advance_batch(batch_id, _ENDED_MEMBERS, self._settings.job_keep * 1000)
            self._publisher.publish_soon(parse_messages(messages))

    def advance_all(self) -> None:
        """Do so for every batch whose stopping was interrupted."""
        stopping: Any = self._redis.zrange(self._keys.batches_stopping, 0, -1)
        for batch_id in stopping:
            self.advance(batch_id.decode())

    def members(self, batch_id: str) -> Iterator[tuple[str, JobStatus | None]]:
        """Return the id and the job of each member, in the order of the request; None for a record that is gone."""
        ids: Any = self._redis.lrange(self._keys.members(batch_id), 0, -1)
        for start in range(0, len(ids), _STEP_MEMBERS):
            some = [job_id.decode() for job_id in ids[start : start + _STEP_MEMBERS]]
            replies = self._scripts.get_jobs(some, 0, _MEMBER_RESULT_BYTES)
            yield from zip(some, map(parse_job_status, replies), strict=True)

    def discard_abandoned(self) -> None:
        """Discard the members of batches whose front end was lost before they were accepted."""
        now_ms = int(self._redis.time()[0]) * 1000
        abandoned: Any = self._redis.zrangebyscore(self._keys.batches_preparing, 0, now_ms - _PREPARING_MS)
        for batch_id in abandoned:
            self._discard(batch_id.decode())

    def _discard(self, batch_id: str) -> None:
        more = True
        while more:
            more, messages = self._scripts.discard_members(batch_id, _ENDED_MEMBERS)
            self._publisher.publish_soon(parse_messages(messages))

    def _prepare(self, batch_id: str, new: NewBatch, fields: Sequence[dict[str, str]]) -> dict[str, str]:
        """Record the members, unless the Idempotency-Key is known; return the fields with their sequence numbers."""
        if self._idempotency_keys.find(idempotency_name(new.owner_key, new.idempotency_key)):
            return {}
        same = {name: value for name, value in fields[0].items() if all(member.get(name) == value for member in fields)}
        common = same | {"batch": batch_id, "version": "1", "attempt": "0", "waiters": "0"}
        differing = [
            {name: value for name, value in member.items() if name not in same}
            | {"member": str(place), "id": member["id"]}
            for place, member in enumerate(fields)
        ]
        steps = [differing[start : start + _STEP_MEMBERS] for start in range(0, len(differing), _STEP_MEMBERS)]
        seqs = [self._scripts.prepare_members(batch_id, common, step) for step in steps]
        return {"first_seq": str(seqs[0][0]), "last_seq": str(seqs[-1][1])}

    def _batch_fields(self, batch_id: str, new: NewBatch, members: Sequence[Mapping[str, str]]) -> dict[str, str]:
        subsystems = {member["subsystem"] for member in members}
        return {
            "id": batch_id,
            "operation": BATCH.name,
            "kind": "batch",
            "subsystem": members[0]["subsystem"] if len(subsystems) == 1 else "",
            "queue": members[0]["queue"],
            "arguments": "{}",
            "request": as_json(new.request).decode(),
            "target": new.target,
            "requester": new.requester,
            "requester_key": new.owner_key,
            "name_key": key_of(new.requester) if new.requester else "",
            "roles": roles_property({member.operation.role for member in new.members}),
            "request_id": new.request_id,
            "retry_of": new.retry_of,
            "callback": new.callback,
            "keys": "[]",
            "cancellable": "1",
            "unit": "members",
            "parallel": str(new.parallel),
            "on_failure": "stop" if new.stops_on_failure else "continue",
        }

    def _commit_request(self, new: NewBatch, members: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        return {
            "idempotency": idempotency_name(new.owner_key, new.idempotency_key),
            "total": len(members),
            "request_hash": new.request_hash,
            "idempotency_ms": self._settings.idempotency_keep * 1000,
            "queues": sorted({member["queue"] for member in members[: new.parallel]}),
            "queue_limit": self._settings.queue_limit,
            "share_limit": self._settings.user_queue_limit,
        }
