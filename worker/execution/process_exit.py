"""Ends this worker process where a part of it hangs; its supervisor starts it again."""

from __future__ import annotations

import os
import signal
import threading

import structlog

from worker.execution.lease import Lease

log = structlog.get_logger(__name__)

#: Seconds after SIGTERM at which jobs that still run are left to another worker's reconciliation.
_DRAIN_S = 35.0


def restart_hung_worker(lease: Lease) -> None:
    """End the process, because a thread hangs in a driver and cannot be ended; its supervisor starts it again."""
    log.error("worker.hung", job_id=lease.job_id, operation=lease.job.operation.name, hint="this worker starts anew")
    os.kill(os.getpid(), signal.SIGTERM)


def restart_silent_worker() -> None:
    """End the process, because it takes no messages any more; the main thread may be blocked."""
    log.error("worker.silent", hint="its consumer takes no messages; this worker starts anew")
    exit_after_drain()
    os.kill(os.getpid(), signal.SIGTERM)


def exit_after_drain() -> None:
    """End the process when draining takes too long; another worker reconciles the jobs that still run."""
    last = threading.Timer(_DRAIN_S, _exit_at_once)
    last.daemon = True
    last.start()


def _exit_at_once() -> None:
    log.error("worker.drain-timeout", hint="what is still running here is taken over by another worker")
    os._exit(1)
