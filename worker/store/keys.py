"""The names of keys in Redis that Python reads or writes by itself; `lua/*_functions.lua` have the scripts' own.

docs/architecture.md lists every key with what it holds and how long it lives.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix (`SAPI_KEY_PREFIX`)."""

    prefix: str

    def job(self, job_id: str) -> str:
        """The record of a job, a hash."""
        return f"{self.prefix}job:{job_id}"

    def result(self, job_id: str) -> str:
        """The result of a change or of a single look-up, as JSON."""
        return f"{self.prefix}result:{job_id}"

    def reply(self, job_id: str) -> str:
        """The list from which the request that made a job takes its result."""
        return f"{self.prefix}reply:{job_id}"

    def handed(self, token: str) -> str:
        """The list from which a waiting slot takes the job that was claimed for it."""
        return f"{self.prefix}handed:{token}"

    def held(self, job_id: str) -> str:
        """Exists while the request that made the job is held open, and is renewed by its process."""
        return f"{self.prefix}held:{job_id}"

    def queued(self, queue: str) -> str:
        """The waiting jobs of a queue, by sequence number."""
        return f"{self.prefix}queued:{queue}"

    def running(self, queue: str) -> str:
        """The running jobs of a queue, by when they were claimed."""
        return f"{self.prefix}running:{queue}"

    def workers(self, queue: str) -> str:
        """The workers of a queue, by the time of their last heartbeat (ms)."""
        return f"{self.prefix}workers:{queue}"

    def mean_durations(self, subsystem: str) -> str:
        """Mean run times by operation (ms), a hash."""
        return f"{self.prefix}mean_durations:{subsystem}"

    def health(self, subsystem: str) -> str:
        """The last known state of a storage system, as JSON."""
        return f"{self.prefix}health:{subsystem}"

    def login(self, account_digest: str, password_fingerprint: str, what: str) -> str:
        """The state of a filer's login; ``what`` is accepted, refused, failures or trial."""
        return f"{self.prefix}login:{account_digest}:{password_fingerprint}:{what}"

    def breaker(self, subsystem: str, node: str) -> str:
        """The state of one worker's circuit breaker: closed, open or half-open."""
        return f"{self.prefix}breaker:{subsystem}:{node}"

    def unreachable(self, subsystem: str) -> str:
        """Exists while a storage system could not be reached lately."""
        return f"{self.prefix}unreachable:{subsystem}"

    def listing(self, cache_key: str) -> str:
        """The state of a cached listing, a hash."""
        return f"{self.prefix}listing:{cache_key}"

    def base(self, cache_key: str, digest: str) -> str:
        """The base version of a listing, compressed."""
        return f"{self.prefix}base:{cache_key}:{digest}"

    def delta(self, cache_key: str) -> str:
        """The changes since the base, a stream."""
        return f"{self.prefix}delta:{cache_key}"

    def inflight(self, cache_key: str) -> str:
        """The id of the job that reads the listing now."""
        return f"{self.prefix}inflight:{cache_key}"

    def alias(self, subsystem: str, junction_path: str) -> str:
        """The volume that a junction path referred to a moment ago."""
        return f"{self.prefix}alias:{subsystem}:{junction_path}"

    def refresh(self, subsystem: str) -> str:
        """Exists until the next scheduled refresh is due."""
        return f"{self.prefix}refresh:{subsystem}"

    def idempotency(self, name: str) -> str:
        """The job that an Idempotency-Key made."""
        return f"{self.prefix}idem:{name}"

    def members(self, batch_id: str) -> str:
        """The ids of a batch's members, a list in the order of its request."""
        return f"{self.prefix}members:{batch_id}"

    @property
    def batches_preparing(self) -> str:
        """Batches that are being prepared, by the time of the last step (ms)."""
        return f"{self.prefix}batches_preparing"

    @property
    def batches_stopping(self) -> str:
        """Batches some of whose members are still to be cancelled."""
        return f"{self.prefix}batches_stopping"

    @property
    def celery(self) -> str:
        """The prefix of Celery's own keys: a list of messages for each queue, and bindings."""
        return f"{self.prefix}celery:"

    @property
    def webhook_position(self) -> str:
        """The position up to which the event log was dispatched to receivers of webhooks."""
        return f"{self.prefix}webhook_position"

    @property
    def webhook_callbacks(self) -> str:
        """Exists where workers have the secret of callbacks."""
        return f"{self.prefix}webhook_callbacks"

    @property
    def webhook_targets(self) -> str:
        """Receivers of webhooks, and hosts of callbacks, a set."""
        return f"{self.prefix}webhook_targets"

    def webhook(self, delivery_id: str) -> str:
        """A delivery, a hash."""
        return f"{self.prefix}webhook:{delivery_id}"

    def webhook_due(self, target: str) -> str:
        """Deliveries to a target by when to try them (ms)."""
        return f"{self.prefix}webhook_due:{target}"

    def webhook_running(self, target: str) -> str:
        """Deliveries to a target that are under way, by the end of their lease (ms)."""
        return f"{self.prefix}webhook_running:{target}"

    def webhook_state(self, target: str) -> str:
        """The state of a target, a hash."""
        return f"{self.prefix}webhook_state:{target}"

    @property
    def event_log(self) -> str:
        """The changes of jobs as they happened, a stream."""
        return f"{self.prefix}event_log"

    @property
    def event_seq(self) -> str:
        """How many entries the event log has had."""
        return f"{self.prefix}event_seq"

    @property
    def draining(self) -> str:
        """The workers that shut down, by the time of their last report (ms)."""
        return f"{self.prefix}draining"

    @property
    def failures(self) -> str:
        """Ids of the last hundred jobs that failed."""
        return f"{self.prefix}failures"

    @property
    def metrics(self) -> str:
        """Counters of the whole service, a hash."""
        return f"{self.prefix}metrics"

    @property
    def metrics_history(self) -> str:
        """Totals of the counters by time, the latest first, a list of JSON texts."""
        return f"{self.prefix}metrics_history"

    @property
    def metrics_history_due(self) -> str:
        """Exists until the next entry of the history is due."""
        return f"{self.prefix}metrics_history_due"

    @property
    def id_secret(self) -> str:
        """The key under which job ids are signed."""
        return f"{self.prefix}id-secret"

    @property
    def replication_marker(self) -> str:
        """Written before WAIT, so that it covers all earlier writes."""
        return f"{self.prefix}replication_marker"

    @property
    def write_probe(self) -> str:
        """Written to test whether Redis accepts writes."""
        return f"{self.prefix}write_probe"

    def sign_in_attempts(self, kind: str, digest: str) -> str:
        """How many wrong passwords came lately (``kind``: network or user); known: when the user signed in there."""
        return f"{self.prefix}attempts:{kind}:{digest}"

    def sessions_of(self, digest: str) -> str:
        """The sessions of a user, by when they began (seconds)."""
        return f"{self.prefix}sessions_of:{digest}"

    def sessions_ended(self, digest: str) -> str:
        """When the sessions of a user were last ended on demand (seconds)."""
        return f"{self.prefix}sessions_ended:{digest}"

    @property
    def changes_channel(self) -> str:
        """The channel with the ids of jobs whose record has changed."""
        return f"{self.prefix}events"

    @property
    def ends_channel(self) -> str:
        """The channel with the ids of jobs that have ended."""
        return f"{self.prefix}ends"
