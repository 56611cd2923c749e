"""The maintenance loop of a worker: heartbeat, recovery of jobs, publishing for free slots, purging, further tasks."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import redis
import structlog

from worker import health_report
from worker.config.settings import Settings
from worker.execution.claims import LOOK_AHEAD, MAX_WORKER_LOSSES, grace_ms
from worker.maintenance.heartbeat import Heartbeat
from worker.messaging.messages import parse_messages
from worker.messaging.publisher import TaskPublisher
from worker.store.client import REDIS_UNAVAILABLE, explain
from worker.store.scripts import JobScripts
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_RECONCILERS = 4
_HEARTBEAT_EVERY = 3
_PURGE_EVERY = 10
_PURGE_LIMIT = 100


class MaintenanceLoop(threading.Thread):
    """One per worker process; any number may run at a time, since each step is one atomic script."""

    def __init__(
        self,
        scripts: JobScripts,
        publisher: TaskPublisher,
        settings: Settings,
        *,
        heartbeat: Heartbeat,
        subsystems: Sequence[str],
        queues: Sequence[str],
        reconcile: Callable[[str, str], None],
        free_slots: Callable[[str], int],
        run_next: Callable[[str], bool],
        drain: threading.Event,
        report_health: Callable[[str], None],
        tasks: Sequence[Callable[[], object]] = (),
    ) -> None:
        """Prepare the thread.

        Args:
            scripts: the job scripts.
            publisher: publishes messages of runnable jobs.
            settings: lease, record TTL.
            heartbeat: records that this worker is online.
            subsystems: whose jobs are recovered.
            queues: which queues this worker serves.
            reconcile: called with an id and a fencing token for each in-doubt job, in a thread of its own.
            free_slots: how many slots of a queue are free.
            run_next: carries out the next runnable job of a queue in a free slot; returns whether there was one.
            drain: set while this worker shuts down.
            report_health: called with the state of :mod:`worker.health_report` for this process's health check.
            tasks: further callables, run once in each turn.
        """
        super().__init__(name="maintenance", daemon=True)
        self._scripts = scripts
        self._publisher = publisher
        self._settings = settings
        self._heartbeat = heartbeat
        self._subsystems = subsystems
        self._queues = queues
        self._reconcile = reconcile
        self._tasks = tasks
        self._over = threading.Event()
        self._free_slots = free_slots
        self._run_next = run_next
        self._drain = drain
        self._report_health = report_health
        self._reconciling = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_RECONCILERS, thread_name_prefix="reconciler")

    def stop(self) -> None:
        """Stop the thread; the journals of reconciliations in progress hand them over."""
        self._over.set()
        self._pool.shutdown(wait=False)

    @tracing.quiet()
    def run(self) -> None:
        turn = 0
        while not self._over.is_set():
            try:
                self._turn(turn)
            except REDIS_UNAVAILABLE as exc:
                log.warning("maintenance.failed", error=type(exc).__name__, detail=explain(exc))
                self._report_health(health_report.REDIS_UNAVAILABLE)
            except Exception:
                log.exception("maintenance.failed")
            turn += 1
            self._over.wait(_EVERY_S)

    def _turn(self, turn: int) -> None:
        if turn % _HEARTBEAT_EVERY == 0:
            self._report_health(health_report.OK if self._send_heartbeat() else health_report.CONSUMER_SILENT)
        steps: list[Callable[[], object]] = [partial(self.recover, subsystem) for subsystem in self._subsystems]
        steps.append(self._publish_runnable)
        if turn % _PURGE_EVERY == 0:
            steps.append(self._purge)
        refusals = [self._run_step(step) for step in (*steps, *self._tasks)]
        for refusal in filter(None, refusals):
            raise refusal

    def _run_step(self, step: Callable[[], object]) -> redis.OutOfMemoryError | None:
        """Carry out one step: a mistake in it keeps no other from being carried out, which Redis's absence does.

        Returns the error where Redis's memory is full: other steps need none, and some of them free it.
        """
        try:
            step()
        except redis.OutOfMemoryError as exc:
            return exc
        except REDIS_UNAVAILABLE:
            raise
        except Exception:
            log.exception("maintenance.failed")
        return None

    def _send_heartbeat(self) -> bool:
        """Record that this worker is online, or that it shuts down; return whether it is healthy."""
        if not self._drain.is_set():
            return self._heartbeat.beat()
        self._heartbeat.leave()
        return True

    def leave(self) -> None:
        """Record at once that this worker shuts down, so that it does not count as online."""
        try:
            self._heartbeat.leave()
        except REDIS_UNAVAILABLE as exc:
            log.info(
                "maintenance.not-recorded", error=type(exc).__name__, hint="it is offline when its heartbeat expires"
            )

    def recover(self, subsystem: str) -> None:
        """Check once the unfinished jobs of one subsystem that are due."""
        token = f"reconcile:{secrets.token_hex(6)}"
        recovered = self._scripts.recover_jobs(
            subsystem, self._settings.lease * 1000, grace_ms(self._settings.lease), MAX_WORKER_LOSSES,
            self._settings.job_keep * 1000, token, self._capacity(),
        )  # fmt: skip
        self._publisher.publish_soon(parse_messages(recovered.messages))
        for job_id in recovered.failed:
            log.warning("job.abandoned", job_id=job_id, subsystem=subsystem)
        for job_id in recovered.to_reconcile:
            log.warning("job.in-doubt", job_id=job_id, subsystem=subsystem)
            with self._lock:
                self._reconciling += 1
            self._pool.submit(self._reconcile_one, job_id, token)

    def _publish_runnable(self) -> None:
        """Publish jobs for free slots: their messages may have been lost, or have met a worker without a free slot."""
        for queue in self._queues:
            free = 0 if self._drain.is_set() else self._free_slots(queue)
            # A Redis whose memory is full takes no messages, and a broker of its own may be away: jobs go on without.
            while self._publisher.is_failing and free > 0 and self._run_next(queue):
                free -= 1
            if free > 0:
                messages = self._scripts.pick_runnable(queue, free, LOOK_AHEAD)
                self._publisher.publish_soon(parse_messages(messages))

    def _capacity(self) -> int:
        """How many more jobs can be reconciled here; without a free thread a job's lease would expire again."""
        with self._lock:
            return 0 if self._drain.is_set() else _RECONCILERS - self._reconciling

    def _reconcile_one(self, job_id: str, token: str) -> None:
        try:
            self._reconcile(job_id, f"{token}:{job_id}")
        except REDIS_UNAVAILABLE as exc:
            log.warning("reconcile.deferred", job_id=job_id, error=type(exc).__name__)
        except Exception:
            log.exception("reconcile.failed", job_id=job_id)
        finally:
            with self._lock:
                self._reconciling -= 1

    def _purge(self) -> None:
        while self._scripts.purge_expired(_PURGE_LIMIT) == _PURGE_LIMIT and not self._over.is_set():
            pass
