"""A worker process: ``python -m worker.main --node quick1 --lanes write,read``. The one place that builds its parts."""

from __future__ import annotations

import argparse
import os
import signal
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
from worker.backends.gateway import Filer, Watchman
from worker.catalog.operations import Lane
from worker.config.logs import configure_logging
from worker.config.settings import BadSettings, Settings, load
from worker.execution.claims import Desk
from worker.execution.executor import Performer
from worker.execution.lease import Beater, Lease
from worker.execution.outcome_events import tell_ended
from worker.execution.reconciler import Settler
from worker.execution.tasks import Slots, register_tasks
from worker.jobs.ids import JobIds
from worker.jobs.service import Jobs
from worker.listings.repository import Listings
from worker.maintenance.compaction import Folding
from worker.maintenance.loop import Sweeper
from worker.maintenance.refresh import Refresh
from worker.messaging.app import create_celery, required
from worker.messaging.malformed import drop_garbage
from worker.messaging.publisher import Bell, create_bell
from worker.store.client import RedisAway, Scripts, UnsafeRedis, check_redis, connect, job_id_secret
from worker.store.metrics import BreakerReport, Tally

log = structlog.get_logger(__name__)

#: A worker may wait longer for an answer than a request may: it has time, and its writes are fenced.
_ANSWER_LIMIT_S = 2.0
#: Threads beyond the slots, for rings that only find out that it is not their turn.
_SPARE_THREADS = 8
#: What has not ended or been handed on so long after SIGTERM is left to be settled by another worker.
_DRAIN_S = 35.0


@dataclass(frozen=True)
class Runtime:
    """The parts of a worker process."""

    celery: Celery
    queues: list[str]
    threads: int
    filers: dict[str, Filer]
    beater: Beater
    sweeper: Sweeper
    watchman: Watchman
    bell: Bell
    drain: threading.Event

    def start(self) -> None:
        """Begin to renew, sweep and watch."""
        for thread in (self.beater, self.watchman, self.sweeper):
            thread.start()

    def begin_drain(self) -> None:
        """Shutting down: what can be handed on is handed on now."""
        self.drain.set()
        for lease in self.beater.held():
            lease.drain()
        last = threading.Timer(_DRAIN_S, _leave_at_once)
        last.daemon = True
        last.start()

    def stop(self) -> None:
        """End what was started."""
        for part in (self.sweeper, self.watchman, self.beater):
            part.stop()
        self.bell.close()
        for filer in self.filers.values():
            filer.close()


def build(settings: Settings, subsystems: Mapping[str, Subsystem], lanes: Sequence[Lane], node: str) -> Runtime:
    """Put a worker together; nothing runs yet. Redis must answer."""
    client = connect(settings, answer_limit_s=_ANSWER_LIMIT_S, connections=200)
    _wait_for(client)
    check_promises(client, settings)
    scripts = Scripts(client, settings.key_prefix, replicas=settings.wait_replicas)
    queues = [f"{name}.{lane}" for name in subsystems for lane in lanes]
    drop_garbage()
    celery = create_celery(settings, consumed=queues)
    bell = create_bell(settings)
    drain = threading.Event()
    beater = Beater(scripts, settings.lease, on_hang=_restart)
    listings = Listings(client, scripts, settings)
    tally = Tally(client, settings.key_prefix)
    filers = {
        name: Filer(name, partial(open_backend, subsystem), listings, partial(_count, tally, name))
        for name, subsystem in subsystems.items()
    }
    desk = Desk(scripts, beater, bell, settings, drain)
    settler = Settler(desk, filers, listings, settings)
    jobs = Jobs(client, scripts, JobIds(job_id_secret(client, settings.key_prefix)), bell, settings)
    slots = Slots(settings)
    sweeper = Sweeper(
        scripts,
        bell,
        settings,
        node=node,
        subsystems=list(subsystems),
        queues=queues,
        settle=partial(_settle, settler, celery),
        room=slots.room,
        drain=drain,
        chores=[
            Refresh(client, jobs, settings, list(subsystems)),
            Folding(listings, scripts, list(subsystems)),
            tally.flush,
            BreakerReport(client, settings.key_prefix, node, filers),
        ],
    )
    performer = Performer(desk, filers, listings, settings)
    register_tasks(celery, desk, performer, slots)
    threads = sum(slots.room(queue) for queue in queues) + _SPARE_THREADS
    watchman = Watchman(filers, client, settings.key_prefix)
    return Runtime(celery, queues, threads, filers, beater, sweeper, watchman, bell, drain)


def check_promises(client: redis.Redis, settings: Settings) -> None:
    """Refuse a Redis that would lose jobs; in debug mode, say what it would lose.

    Raises:
        UnsafeRedis: it would, and this is not debug mode.
    """
    for problem in check_redis(client):
        if not settings.debug:
            raise UnsafeRedis(f"Redis is not safe for jobs: {problem}")
        log.warning("redis.unsafe", problem=problem)


def check_celery(celery: Celery) -> None:
    """Refuse settings under which Celery loses or doubles what it must not.

    Raises:
        BadSettings: which one.
    """
    for name, value in required(celery.conf.broker_url).items():
        if celery.conf[name] != value:
            raise BadSettings(
                f"Celery's {name} must be {value!r}, not {celery.conf[name]!r}: jobs would be lost or doubled"
            )


def _count(tally: Tally, subsystem: str, outcome: str) -> None:
    tally.count(f"filer {subsystem} {outcome}")


def _restart(lease: Lease) -> None:
    """A thread hangs in a driver and cannot be ended: end the process, which its supervisor starts again."""
    log.error("worker.hangs", job_id=lease.job_id, operation=lease.job.operation.name, hint="this worker starts anew")
    os.kill(os.getpid(), signal.SIGTERM)


def _leave_at_once() -> None:
    log.error("worker.drain-over", hint="what is still running here is settled by another worker")
    os._exit(1)


def _settle(settler: Settler, celery: Celery, job_id: str, owner: str) -> None:
    settled = settler.settle(job_id, owner)
    if settled is not None:
        lease, end = settled
        tell_ended(celery, lease.job_id, end.state, end.failure)


def _wait_for(client: redis.Redis) -> None:
    said = False
    while True:
        try:
            client.ping()
        except RedisAway as exc:
            if not said:
                log.warning("redis.away", error=type(exc).__name__, hint="waiting for it")
                said = True
            time.sleep(0.5)
        else:
            return


def _chosen(subsystems: Subsystems, wanted: str) -> dict[str, Subsystem]:
    """The subsystems that this worker serves."""
    every = dict(subsystems)
    names = [name.strip() for name in wanted.split(",") if name.strip()] or list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise BadSettings(f"SAPI_SUBSYSTEMS names {', '.join(unknown)}, which SAPI_BACKENDS does not configure")
    return {name: every[name] for name in names}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker", description="Carry out storage jobs.")
    parser.add_argument("--node", default="worker", help="name of this process, unique on its host")
    parser.add_argument("--lanes", default="write,read,list", help="which of write, read, list it serves")
    return parser.parse_args(argv)


def _connect_signals(runtime: Runtime) -> None:
    def ready(**_: Any) -> None:
        runtime.start()

    def shutting_down(**_: Any) -> None:
        runtime.begin_drain()

    def shutdown(**_: Any) -> None:
        runtime.stop()

    def logging(**_: Any) -> None:
        """Celery leaves logging alone when somebody listens to this."""

    signals.setup_logging.connect(logging, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.worker_shutdown.connect(shutdown, weak=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to stop."""
    arguments = _arguments(argv)
    try:
        settings = load(Settings)
        configure_logging(arguments.node, settings.log_level)
        lanes = [Lane(lane) for lane in arguments.lanes.split(",")]
        subsystems = _chosen(Subsystems.from_environment(os.environ), settings.subsystems)
        hostname = f"{arguments.node}@{os.uname().nodename}"
        runtime = build(settings, subsystems, lanes, hostname)
        check_celery(runtime.celery)
    except (BadSettings, ConfigurationError, UnsafeRedis, ValueError) as exc:
        print(f"worker: {exc}", file=sys.stderr)  # noqa: T201 - the one line that says what to mend
        return 2
    _connect_signals(runtime)
    runtime.celery.worker_main(
        ["--quiet", "worker", "--pool=threads", f"--concurrency={runtime.threads}",
         f"--queues={','.join(runtime.queues)}", f"--hostname={hostname}",
         "--without-gossip", "--without-mingle", "--task-events"]
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
