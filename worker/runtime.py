"""The parts of a worker process, and how they are put together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import redis
from celery import Celery

from storage_backends.configuration.subsystems import Subsystem
from storage_backends.registry import open_backend
from worker.backends.gateway import BackendGateway
from worker.backends.health_monitor import HealthMonitor
from worker.backends.login_guard import SharedLoginGuard
from worker.catalog.operations import QueueClass
from worker.config.settings import Settings
from worker.execution.batch_task import BatchTask
from worker.execution.claims import JobClaims
from worker.execution.executor import JobExecutor
from worker.execution.lease import LeaseRenewer
from worker.execution.outcome_events import emit_ended
from worker.execution.process_exit import exit_after_drain, restart_hung_worker, restart_silent_worker
from worker.execution.reconciler import OutcomeReconciler
from worker.execution.runner import JobRunner, Slots
from worker.execution.tasks import register_tasks
from worker.jobs.batches import Batches
from worker.jobs.event_log import EventLog, EventLogTrimming
from worker.jobs.ids import JobIds
from worker.jobs.service import Jobs
from worker.listings.repository import Listings
from worker.maintenance.compaction import Compaction
from worker.maintenance.health_reporter import report_health
from worker.maintenance.heartbeat import Heartbeat
from worker.maintenance.loop import MaintenanceLoop
from worker.maintenance.metrics_history import MetricsHistory
from worker.maintenance.refresh import Refresh
from worker.messaging.app import create_celery
from worker.messaging.consumer import ConsumerActivity, use_consumer
from worker.messaging.publisher import TaskPublisher, create_publisher
from worker.store.client import connect, job_id_secret
from worker.store.metrics import BreakerReport, CounterBuffer
from worker.store.scripts import JobScripts
from worker.store.startup_checks import await_redis, check_redis_durability
from worker.store.write_probe import WriteProbe

#: Threads beyond the slots, for messages of jobs that are not runnable yet.
_SPARE_THREADS = 8


@dataclass(frozen=True)
class Runtime:
    """The parts of a worker process."""

    celery: Celery
    queues: list[str]
    threads: int
    gateways: dict[str, BackendGateway]
    runner: JobRunner
    lease_renewer: LeaseRenewer
    maintenance: MaintenanceLoop
    health_monitor: HealthMonitor
    publisher: TaskPublisher
    drain: threading.Event

    def start(self) -> None:
        """Start the threads: lease renewal, maintenance loop, health checks."""
        for thread in (self.lease_renewer, self.health_monitor, self.maintenance):
            thread.start()

    def begin_drain(self) -> None:
        """Begin to shut down: hand over at once what can be handed over."""
        self.drain.set()
        exit_after_drain()
        for lease in self.lease_renewer.leases():
            lease.drain()
        # Last: it waits for Redis.
        self.maintenance.leave()

    def stop(self) -> None:
        """Wait until no job runs, and stop the threads."""
        self.runner.close()
        for part in (self.maintenance, self.health_monitor, self.lease_renewer):
            part.stop()
        self.publisher.close()
        for gateway in self.gateways.values():
            gateway.close()


@dataclass(frozen=True)
class _Shared:
    """What several parts use."""

    settings: Settings
    node: str
    subsystems: Mapping[str, Subsystem]
    queues: list[str]
    client: redis.Redis
    scripts: JobScripts
    celery: Celery
    activity: ConsumerActivity
    publisher: TaskPublisher
    listings: Listings
    counters: CounterBuffer
    slots: Slots
    drain: threading.Event


def build(
    settings: Settings, subsystems: Mapping[str, Subsystem], queue_classes: Sequence[QueueClass], node: str
) -> Runtime:
    """Build a worker without starting it, when Redis answers.

    Args:
        settings: the settings of the service.
        subsystems: those that it serves.
        queue_classes: the kinds of jobs that it carries out.
        node: its name, unique among all workers.

    Raises:
        BadSettings: Redis rejects its address.
        UnsafeRedis: Redis would lose accepted jobs.
    """
    shared = _shared(settings, subsystems, queue_classes, node)
    celery, scripts, publisher = shared.celery, shared.scripts, shared.publisher
    lease_renewer = LeaseRenewer(scripts, settings.lease, on_hang=restart_hung_worker)
    gateways = _gateways(shared)
    claims = JobClaims(scripts, lease_renewer, publisher, settings, shared.drain)
    ids = JobIds(job_id_secret(shared.client, settings.key_prefix))
    jobs = Jobs(shared.client, scripts, ids, publisher, settings)
    batches = Batches(shared.client, scripts, jobs, ids, publisher, settings)
    tasks: list[Callable[[], object]] = [
        Refresh(shared.client, jobs, settings, list(subsystems)),
        batches.discard_abandoned,
        batches.advance_all,
        BreakerReport(shared.client, settings.key_prefix, node, gateways),
    ]
    all_slots = sum(shared.slots.of(queue) for queue in shared.queues)
    executor = JobExecutor(claims, gateways, shared.listings, settings)
    runner = JobRunner(celery, claims, executor, shared.slots, all_slots)
    reconciler = OutcomeReconciler(claims, gateways, shared.listings, settings)
    maintenance = _maintenance(shared, reconciler, runner, tasks)
    register_tasks(celery, runner)
    celery.register_task(BatchTask(jobs, batches))
    return Runtime(
        celery=celery,
        queues=shared.queues,
        threads=all_slots + _SPARE_THREADS,
        gateways=gateways,
        runner=runner,
        lease_renewer=lease_renewer,
        maintenance=maintenance,
        health_monitor=HealthMonitor(gateways, shared.client, settings.key_prefix),
        publisher=publisher,
        drain=shared.drain,
    )


def _shared(
    settings: Settings, subsystems: Mapping[str, Subsystem], queue_classes: Sequence[QueueClass], node: str
) -> _Shared:
    client = connect(settings, connections=200)
    await_redis(client)
    check_redis_durability(client, settings)
    scripts = JobScripts(client, settings.key_prefix, replicas=settings.wait_replicas)
    queues = [f"{name}.{queue_class}" for name in subsystems for queue_class in queue_classes]
    celery = create_celery(settings, consumed=queues)
    return _Shared(
        settings=settings,
        node=node,
        subsystems=subsystems,
        queues=queues,
        client=client,
        scripts=scripts,
        celery=celery,
        activity=use_consumer(celery),
        publisher=create_publisher(settings),
        listings=Listings(client, scripts, settings),
        counters=CounterBuffer(client, settings.key_prefix),
        slots=Slots(settings),
        drain=threading.Event(),
    )


def _gateways(shared: _Shared) -> dict[str, BackendGateway]:
    login_guard = SharedLoginGuard(shared.client, shared.settings.key_prefix)
    return {
        name: BackendGateway(
            name, partial(open_backend, subsystem, login_guard), shared.listings, partial(_count, shared.counters, name)
        )
        for name, subsystem in shared.subsystems.items()
    }


def _maintenance(
    shared: _Shared, reconciler: OutcomeReconciler, runner: JobRunner, tasks: Sequence[Callable[[], object]]
) -> MaintenanceLoop:
    """The maintenance loop, with these tasks among others."""
    client, settings = shared.client, shared.settings
    return MaintenanceLoop(
        shared.scripts,
        shared.publisher,
        settings,
        heartbeat=_heartbeat(shared),
        subsystems=list(shared.subsystems),
        queues=shared.queues,
        reconcile=partial(_reconcile, reconciler, shared.celery),
        free_slots=shared.slots.free_slots,
        run_next=runner.run_next,
        drain=shared.drain,
        report_health=partial(report_health, shared.node.partition("@")[0]),
        tasks=[
            *tasks,
            Compaction(shared.listings, shared.scripts, list(shared.subsystems)),
            shared.counters.flush,
            EventLogTrimming(EventLog(client, settings.key_prefix), settings.events_keep),
            MetricsHistory(client, settings.key_prefix),
        ],
    )


def _heartbeat(shared: _Shared) -> Heartbeat:
    write_probe = WriteProbe(shared.client, shared.settings.key_prefix)
    return Heartbeat(
        shared.scripts,
        shared.node,
        {queue: shared.slots.of(queue) for queue in shared.queues},
        silent_s=shared.activity.silent_s,
        takes_writes=lambda: not write_probe.state().problem,
        restart=restart_silent_worker,
    )


def _count(counters: CounterBuffer, subsystem: str, outcome: str) -> None:
    counters.count(f"filer {subsystem} {outcome}")


def _reconcile(reconciler: OutcomeReconciler, celery: Celery, job_id: str, token: str) -> None:
    completed = reconciler.reconcile(job_id, token)
    if completed is not None:
        lease, completion = completed
        emit_ended(celery, lease.job_id, completion.state, completion.failure)
