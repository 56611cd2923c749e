"""A worker process: ``python -m worker.main --node quick1 --queues write,read``."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
import structlog
from celery import Celery, signals

from storage_backends.configuration.subsystems import ConfigurationError, Subsystem, Subsystems
from storage_backends.registry import open_backend
from worker.backends.gateway import BackendGateway, HealthMonitor
from worker.backends.login_guard import SharedLoginGuard
from worker.catalog.operations import QueueClass
from worker.config.interpreter import configure_interpreter
from worker.config.logs import configure_logging
from worker.config.settings import BadSettings, Settings, load
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
from worker.maintenance.health import report_health
from worker.maintenance.heartbeat import Heartbeat
from worker.maintenance.loop import MaintenanceLoop
from worker.maintenance.metrics_history import MetricsHistory
from worker.maintenance.refresh import Refresh
from worker.messaging.app import create_celery, required_settings
from worker.messaging.consumer import use_consumer
from worker.messaging.publisher import TaskPublisher, create_publisher
from worker.messaging.worker_loop import run_worker
from worker.store.client import (
    REDIS_UNAVAILABLE,
    UnsafeRedis,
    check_address,
    check_redis,
    connect,
    explain,
    job_id_secret,
)
from worker.store.metrics import BreakerReport, CounterBuffer
from worker.store.scripts import JobScripts
from worker.store.write_probe import WriteProbe
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

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


def build(
    settings: Settings, subsystems: Mapping[str, Subsystem], queue_classes: Sequence[QueueClass], node: str
) -> Runtime:
    """Build a worker without starting it. Redis must answer."""
    client = connect(settings, connections=200)
    _wait_for(client)
    check_redis_durability(client, settings)
    scripts = JobScripts(client, settings.key_prefix, replicas=settings.wait_replicas)
    queues = [f"{name}.{queue_class}" for name in subsystems for queue_class in queue_classes]
    celery = create_celery(settings, consumed=queues)
    activity = use_consumer(celery)
    publisher = create_publisher(settings)
    drain = threading.Event()
    lease_renewer = LeaseRenewer(scripts, settings.lease, on_hang=restart_hung_worker)
    listings = Listings(client, scripts, settings)
    counters = CounterBuffer(client, settings.key_prefix)
    login_guard = SharedLoginGuard(client, settings.key_prefix)
    gateways = {
        name: BackendGateway(
            name, partial(open_backend, subsystem, login_guard), listings, partial(_count, counters, name)
        )
        for name, subsystem in subsystems.items()
    }
    claims = JobClaims(scripts, lease_renewer, publisher, settings, drain)
    reconciler = OutcomeReconciler(claims, gateways, listings, settings)
    ids = JobIds(job_id_secret(client, settings.key_prefix))
    jobs = Jobs(client, scripts, ids, publisher, settings)
    batches = Batches(client, scripts, jobs, ids, publisher, settings)
    slots = Slots(settings)
    write_probe = WriteProbe(client, settings.key_prefix)
    maintenance = MaintenanceLoop(
        scripts,
        publisher,
        settings,
        heartbeat=Heartbeat(
            scripts,
            node,
            {queue: slots.of(queue) for queue in queues},
            silent_s=activity.silent_s,
            takes_writes=lambda: not write_probe.state().problem,
            restart=restart_silent_worker,
        ),
        subsystems=list(subsystems),
        queues=queues,
        reconcile=partial(_reconcile, reconciler, celery),
        free_slots=slots.free_slots,
        drain=drain,
        report_health=partial(report_health, node.partition("@")[0]),
        tasks=[
            Refresh(client, jobs, settings, list(subsystems)),
            Compaction(listings, scripts, list(subsystems)),
            batches.discard_abandoned,
            batches.advance_all,
            counters.flush,
            EventLogTrimming(EventLog(client, settings.key_prefix), settings.events_keep),
            MetricsHistory(client, settings.key_prefix),
            BreakerReport(client, settings.key_prefix, node, gateways),
        ],
    )
    executor = JobExecutor(claims, gateways, listings, settings)
    all_slots = sum(slots.of(queue) for queue in queues)
    runner = JobRunner(celery, claims, executor, slots, all_slots)
    register_tasks(celery, runner)
    celery.register_task(BatchTask(jobs, batches))
    threads = all_slots + _SPARE_THREADS
    health_monitor = HealthMonitor(gateways, client, settings.key_prefix)
    return Runtime(
        celery, queues, threads, gateways, runner, lease_renewer, maintenance, health_monitor, publisher, drain
    )


def check_redis_durability(client: redis.Redis, settings: Settings) -> None:
    """Check that Redis's configuration does not lose jobs; in debug mode only warn.

    Raises:
        UnsafeRedis: it does, and this is not debug mode.
    """
    for problem in check_redis(client):
        if not settings.debug:
            raise UnsafeRedis(f"Redis is not safe for jobs: {problem}")
        log.warning("redis.unsafe", problem=problem)


def check_celery(celery: Celery) -> None:
    """Check Celery's settings: with some values it would lose or duplicate messages.

    Raises:
        BadSettings: one is wrong; the message names it.
    """
    for name, value in required_settings(celery.conf.broker_url).items():
        if celery.conf[name] != value:
            raise BadSettings(
                f"Celery's {name} must be {value!r}, not {celery.conf[name]!r}: jobs would be lost or doubled"
            )


def _count(counters: CounterBuffer, subsystem: str, outcome: str) -> None:
    counters.count(f"filer {subsystem} {outcome}")


def _reconcile(reconciler: OutcomeReconciler, celery: Celery, job_id: str, token: str) -> None:
    completed = reconciler.reconcile(job_id, token)
    if completed is not None:
        lease, completion = completed
        emit_ended(celery, lease.job_id, completion.state, completion.failure)


def _wait_for(client: redis.Redis) -> None:
    is_reported = False
    while True:
        try:
            check_address(client)
            client.ping()
        except REDIS_UNAVAILABLE as exc:
            if not is_reported:
                log.warning("redis.unavailable", error=type(exc).__name__, detail=explain(exc), hint="waiting for it")
                is_reported = True
            time.sleep(0.5)
        else:
            return


def _selected(subsystems: Subsystems, names_text: str) -> dict[str, Subsystem]:
    """The subsystems that this worker serves."""
    every = dict(subsystems)
    names = [name.strip() for name in names_text.split(",") if name.strip()] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise BadSettings(f"SAPI_SUBSYSTEMS names {', '.join(unknown)}, which SAPI_BACKENDS does not configure")
    return {name: every[name] for name in names}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker", description="Carry out storage jobs.")
    parser.add_argument("--node", default="worker", help="name of this process, unique on its host")
    parser.add_argument("--queues", default="write,read,list", help="which of write, read, list it serves")
    return parser.parse_args(argv)


def _connect_signals(runtime: Runtime) -> None:
    def ready(**_: Any) -> None:
        runtime.start()
        configure_interpreter()

    def shutting_down(**_: Any) -> None:
        runtime.begin_drain()

    def shutdown(**_: Any) -> None:
        runtime.stop()

    def logging(**_: Any) -> None:
        """Connected to Celery's signal so that Celery does not configure logging."""

    signals.setup_logging.connect(logging, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.worker_shutdown.connect(shutdown, weak=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is stopped."""
    arguments = _arguments(argv)
    try:
        settings = load(Settings)
        configure_logging(arguments.node, settings.log_level)
        tracing.configure("storage-api-worker")
        queue_classes = [QueueClass(queue_class) for queue_class in arguments.queues.split(",")]
        subsystems = _selected(Subsystems.from_environment(os.environ), settings.subsystems)
        hostname = f"{arguments.node}@{os.uname().nodename}"
        runtime = build(settings, subsystems, queue_classes, hostname)
        check_celery(runtime.celery)
    except (BadSettings, ConfigurationError, UnsafeRedis, ValueError) as exc:
        print(f"worker: {exc}", file=sys.stderr)  # noqa: T201 - the one line that says what to mend
        return 2
    _connect_signals(runtime)
    return run_worker(runtime.celery, queues=runtime.queues, threads=runtime.threads, hostname=hostname)


if __name__ == "__main__":
    sys.exit(main())
