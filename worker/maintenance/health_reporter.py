"""Reports the state of a process for the health check of its container."""

from __future__ import annotations

import structlog

from worker import health_report

log = structlog.get_logger(__name__)


def report_health(node: str, state: str) -> None:
    """Report a state of :mod:`worker.health_report` as of now; a file that cannot be written is logged."""
    try:
        health_report.write(node, state)
    except OSError as exc:
        log.warning("health.not-reported", error=str(exc), hint="its health check fails: see SAPI_HEALTH_DIR")
