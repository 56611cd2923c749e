"""Ends this worker process where a part of it hangs; its supervisor starts it again."""

from __future__ import annotations

import os
import signal
import threading

import structlog

from worker.execution.lease import Lease

log = structlog.get_logger(__name__)

#: What has not ended or been handed on so long after SIGTERM is left to another worker's reconciliation.
_DRAIN_S = 35.0


def restart_hung_worker(lease: Lease) -> None:
    """A thread hangs in a driver and cannot be ended: end the process, which its supervisor starts again."""
    log.error("worker.hung", job_id=lease.job_id, operation=lease.job.operation.name, hint="this worker starts anew")
    os.kill(os.getpid(), signal.SIGTERM)


def restart_silent_worker() -> None:
    """This process takes no messages any more: end it, whatever its main thread waits for."""
    log.error("worker.silent", hint="its consumer takes no messages; this worker starts anew")
    exit_after_drain()
    os.kill(os.getpid(), signal.SIGTERM)


def exit_after_drain() -> None:
    """Leave what has not ended in time to the reconciliation of another worker."""
    last = threading.Timer(_DRAIN_S, _exit_at_once)
    last.daemon = True
    last.start()


def _exit_at_once() -> None:
    log.error("worker.drain-timeout", hint="what is still running here is taken over by another worker")
    os._exit(1)
