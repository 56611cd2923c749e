"""Diagnosis of the development server: problems with advice, and the log lines of a job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from deploy.dev.programs import NODES
from deploy.dev.readiness import ready_state
from deploy.dev.state import DEV_DIR, DevServerError


def about_processes(processes: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the programs that do not run, with advice."""
    for process in processes:
        name, state = process["name"], process["statename"]
        if state == "STOPPED" and name in NODES:
            yield f"{name} is drained: make resume NODE={name}"
        elif state != "RUNNING":
            what = "is starting" if state == "STARTING" else f"does not run ({state})"
            yield f"{name} {what}; the end of {os.path.relpath(DEV_DIR)}/logs/{name}.log says why"


def about_service(port: int) -> Iterator[str]:
    """Yield the problems that `/readyz` reports, with advice."""
    state = ready_state(port)
    if state is None:
        yield f"the API does not answer on port {port}: see {os.path.relpath(DEV_DIR)}/logs/api.log"
        return
    if state.get("status") != "ready":
        yield f"no job can be recorded: {state.get('detail', '')}"
    for queue, details in state.get("queues", {}).items():
        if not details["workers_online"]:
            yield f"no worker serves {queue}, where {details['waiting']} jobs wait: make resume NODE=..."
    for name, details in state.get("subsystems", {}).items():
        if details.get("status") == "unavailable":
            yield f"the storage system {name} cannot be used: {details.get('detail', '')}"


def log_lines(job_id: str) -> list[str]:
    """Return the log lines of one job, of all processes, in the order of time.

    Raises:
        DevServerError: no line names it.
    """
    searched = job_id.strip().lower()
    lines = [
        line
        for path in sorted((DEV_DIR / "logs").glob("*.log*"))
        for line in path.read_text(errors="replace").splitlines()
        if searched in line.lower()
    ]
    if not searched or not lines:
        raise DevServerError(f"no line of the logs names the job {job_id or '(none given: make logs JOB=...)'}")
    return sorted(lines, key=_time_of)


def _time_of(line: str) -> str:
    match = re.search(r'"(?:timestamp|time)":\s?"([^"]+)"', line)
    return match[1] if match else ""
