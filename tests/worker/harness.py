"""A worker's parts on a real Redis and a real dummy, driven step by step: time passes when a test says so."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import redis

from storage_backends.base import StorageBackend
from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage
from storage_backends.journal import InMemoryJournal
from worker.backends.gateway import BackendGateway
from worker.catalog.operations import BATCH, OPERATIONS, QueueClass
from worker.config.settings import Settings, load
from worker.execution.claims import LOOK_AHEAD, MAX_WORKER_LOSSES, Completion, JobClaims, grace_ms
from worker.execution.executor import JobExecutor
from worker.execution.lease import Lease, LeaseRenewer
from worker.execution.reconciler import OutcomeReconciler
from worker.jobs.batches import Batches, NewBatch
from worker.jobs.ids import JobIds
from worker.jobs.record import Job
from worker.jobs.service import Jobs, NewJob
from worker.listings.repository import Listings
from worker.messaging.messages import TaskMessage
from worker.store.results import SubmitOutcome
from worker.store.scripts import JobScripts

SUBSYSTEM = "filer"
PREFIX = "sapi:"

#: One call of every operation, each possible on the prepared state.
CALLS: dict[str, dict[str, Any]] = {
    "list_volumes": {},
    "get_volume": {"volume": "vol"},
    "create_volume": {"volume": "new"},
    "clone_volume": {"volume": "copy", "from_volume": "vol", "from_snapshot": "snap"},
    "roll_back_volume": {"volume": "vol", "from_snapshot": "snap"},
    "update_volume": {"volume": "node:/vol", "percentage_snapshot_reserve": 33},
    "restrict_volume": {"volume": "vol"},
    "list_restricted_volumes": {},
    "reinstate_volume": {"volume": "out", "junction_path": "/back"},
    "list_snapshots": {"volume": "vol"},
    "get_snapshot": {"volume": "vol", "name": "snap"},
    "create_snapshot": {"volume": "vol", "name": "other"},
    "delete_snapshot": {"volume": "vol", "name": "snap"},
    "list_locks": {"volume": "vol"},
    "create_lock": {"volume": "vol", "host": "h0"},
    "remove_lock": {"volume": "vol", "host": "h0"},
    "list_policies": {},
    "get_policy": {"policy": "pol"},
    "create_policy": {"policy": "pol2", "rules": ["10.0.0.0/8"]},
    "delete_policy": {"policy": "pol"},
    "ensure_policy_rule_present": {"policy": "pol", "rule": "h2"},
    "ensure_policy_rule_absent": {"policy": "pol", "rule": "h1"},
}


def prepare(folder: Path) -> Path:
    """Make a small storage system once, to be copied for each test."""
    backend = DummyStorage(DummyOptions(volumes=0, state_dir=str(folder)), name=SUBSYSTEM)
    backend.create_volume("vol", junction_path="/vol", journal=InMemoryJournal())
    backend.create_snapshot("vol", "snap", journal=InMemoryJournal())
    backend.create_lock("vol", "h0", journal=InMemoryJournal())
    backend.create_policy("pol", rules=["h1"], journal=InMemoryJournal())
    backend.create_volume("out", journal=InMemoryJournal())
    backend.restrict_volume("out", journal=InMemoryJournal())
    with backend._database.changing() as db:
        db.execute("DELETE FROM effects")
    backend.close()
    made = folder / f"{SUBSYSTEM}.sqlite3"
    with sqlite3.connect(made) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made


class RecordingPublisher:
    """Records the messages instead of publishing them."""

    def __init__(self) -> None:
        self.messages: list[TaskMessage] = []
        self.is_failing = False

    def message_for(self, _message: TaskMessage) -> str:
        """Return an empty text: the message is published afterwards."""
        return ""

    def publish_soon(self, messages: Iterable[TaskMessage]) -> None:
        """Record messages."""
        self.messages += messages

    def take(self) -> list[TaskMessage]:
        """Return the messages since the last call."""
        messages, self.messages = self.messages, []
        return messages


class Node:
    """One worker process without its threads."""

    def __init__(self, harness: Harness, backend: StorageBackend, scripts: Any = None) -> None:
        self.harness = harness
        self.scripts: Any = scripts or harness.scripts
        self.drain = threading.Event()
        self.hung: list[Lease] = []
        self.lease_renewer = LeaseRenewer(self.scripts, harness.settings.lease, on_hang=self.hung.append)
        listings = Listings(harness.client, self.scripts, harness.settings)
        gateways = {SUBSYSTEM: BackendGateway(SUBSYSTEM, lambda: backend, listings)}
        publisher: Any = harness.publisher
        self.claims = JobClaims(self.scripts, self.lease_renewer, publisher, harness.settings, self.drain)
        self.executor = JobExecutor(self.claims, gateways, listings, harness.settings)
        self.reconciler = OutcomeReconciler(self.claims, gateways, listings, harness.settings)

    def claim(self, job_id: str) -> Lease:
        """Claim a runnable job."""
        lease = self.claims.claim(job_id)
        assert isinstance(lease, Lease), lease
        return lease

    def carry_out(self, job_id: str) -> Completion | None:
        """Claim and execute a job."""
        return self.executor.execute(self.claim(job_id))

    def consume(self) -> None:
        """Handle all messages as a worker does."""
        for message in self.harness.publisher.take():
            if message.operation == BATCH.name:
                self.harness.batches.advance(message.job_id)
                continue
            lease = self.claims.claim(message.job_id)
            if isinstance(lease, Lease):
                self.executor.execute(lease)

    def fill(self) -> None:
        """Publish runnable jobs while slots are free."""
        for queue_class in QueueClass:
            messages = self.scripts.pick_runnable(f"{SUBSYSTEM}.{queue_class}", 8, LOOK_AHEAD)
            self.harness.publisher.publish_soon(
                TaskMessage(*(part.decode() for part in message)) for message in messages
            )

    def sweep(self, *, free_slots: int = 4) -> tuple[list[str], list[str]]:
        """Look after open jobs once; who was settled here, and who failed."""
        token = "reconcile:test"
        settings = self.harness.settings
        messages, to_settle, failed = self.scripts.recover_jobs(
            SUBSYSTEM,
            settings.lease * 1000,
            grace_ms(settings.lease),
            MAX_WORKER_LOSSES,
            settings.job_keep * 1000,
            token,
            free_slots,
        )
        self.harness.publisher.publish_soon(
            TaskMessage(*(part.decode() for part in publisher)) for publisher in messages
        )
        self.fill()
        for job_id in to_settle:
            self.reconciler.reconcile(job_id, f"{token}:{job_id}")
        return to_settle, failed


class Harness:
    """Redis, a prepared storage system, and what a front end has."""

    def __init__(self, client: redis.Redis, folder: Path, prepared: Path, **settings: Any) -> None:
        self.client = client
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(prepared, folder / prepared.name)
        self.settings = load(Settings, SAPI_DEBUG=True, **settings)
        self.scripts: Any = JobScripts(client, PREFIX)
        self.publisher = RecordingPublisher()
        publisher: Any = self.publisher
        ids = JobIds(b"secret")
        self.jobs = Jobs(client, self.scripts, ids, publisher, self.settings)
        self.batches = Batches(client, self.scripts, self.jobs, ids, publisher, self.settings)
        self.backend = DummyStorage(DummyOptions(state_dir=str(folder)), name=SUBSYSTEM)

    def close(self) -> None:
        """Close files."""
        self.backend.close()

    def node(self, backend: StorageBackend | None = None, scripts: Any = None) -> Node:
        """Another worker process."""
        return Node(self, backend or self.backend, scripts)

    def new(self, operation: str, *, key: str = "", **arguments: Any) -> NewJob:
        """A request for a job."""
        return NewJob(
            operation=OPERATIONS[operation],
            subsystem=SUBSYSTEM,
            arguments=arguments or CALLS[operation],
            request={},
            target="/",
            requester="ann",
            request_id="r",
            idempotency_key=key,
            request_hash="hash",
        )

    def accept(self, operation: str, *, key: str = "", **arguments: Any) -> str:
        """Accept one; its id."""
        word, job_id, _ = self.jobs.accept(self.new(operation, key=key, **arguments))
        assert word in (SubmitOutcome.NEW, SubmitOutcome.REPLAYED), word
        return job_id

    def new_batch(self, members: Iterable[NewJob], *, parallel: int = 8, stop: bool = False, key: str = "") -> NewBatch:
        """A request for a batch."""
        return NewBatch(
            members=list(members), request={}, parallel=parallel, stops_on_failure=stop, target="/v4/batches",
            requester="ann", request_id="r", idempotency_key=key, request_hash="hash",
        )  # fmt: skip

    def accept_batch(self, *members: NewJob, **options: Any) -> str:
        """Accept one; its id."""
        outcome, batch_id, _ = self.batches.accept(self.new_batch(members, **options))
        assert outcome in (SubmitOutcome.NEW, SubmitOutcome.REPLAYED), outcome
        return batch_id

    def members(self, batch_id: str) -> list[Job]:
        """The members' jobs, in the order of the request."""
        statuses = [job_status for _, job_status in self.batches.members(batch_id)]
        assert None not in statuses
        return [job_status.job for job_status in statuses if job_status is not None]

    def job(self, job_id: str) -> Job:
        """The job as it is recorded."""
        job_status = self.jobs.get(job_id)
        assert job_status is not None
        return job_status.job

    def field(self, job_id: str, name: str) -> str:
        """One field of its record."""
        value = self.client.hget(f"{PREFIX}job:{job_id}", name)
        return value.decode() if isinstance(value, bytes) else ""

    def let_time_pass(self) -> None:
        """Every lease has lapsed long ago, every delay is over, and sweeps have run all the time."""
        members: Any = self.client.zrange(f"{PREFIX}due:{SUBSYSTEM}", 0, -1)
        for job_id in (member.decode() for member in members):
            if not self.field(job_id, "state"):
                continue
            self.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
            if self.field(job_id, "state") in ("running", "cancelling"):
                self.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "1", "stalled_since": "1"})
            self.client.hset(f"{PREFIX}job:{job_id}", mapping={"not_before": "", "dispatched_at": ""})
        seconds, micros = self.client.time()
        now = seconds * 1000 + micros // 1000
        self.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", mapping={"at": now, "since": 1})

    def recover(self, node: Node, job_id: str, *, turns: int = 8) -> None:
        """Let another worker recover the job, until it has ended."""
        for _ in range(turns):
            if self.job(job_id).done:
                return
            self.let_time_pass()
            node.sweep()
            self.batches.advance_all()
            self.batches.discard_abandoned()
            node.consume()

    def effects(self) -> dict[str, bool]:
        """What reached the storage system: by job, was it made (or settled as never to be made)?"""
        with sqlite3.connect(self.folder / f"{SUBSYSTEM}.sqlite3") as db:
            return {job_id: bool(made) for job_id, made in db.execute("SELECT job_id, applied FROM effects")}

    def ordering_keys(self, job_id: str) -> list[str]:
        """The keys in whose order a job is carried out."""
        return list(json.loads(self.field(job_id, "keys")))

    def leftovers(self) -> set[str]:
        """Keys that a job holds while it is open."""
        kinds = (
            "due:", "queued:", "queued_by:", "running:", "ordering:", "unresolved:", "barrier:", "inflight:",
            "batches_",
        )  # fmt: skip
        keys: Any = self.client.keys(f"{PREFIX}*")
        return {key.decode() for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)}
