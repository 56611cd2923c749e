"""A real Redis and real worker processes, to be started, stopped and killed by tests."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.launcher import clean_environment, end, launch
from tests.worker.harness import PREFIX
from worker.catalog.operations import OPERATIONS
from worker.config.settings import Settings, load
from worker.jobs.ids import JobIds
from worker.jobs.record import State
from worker.jobs.service import Jobs, NewJob
from worker.messaging.publisher import create_publisher
from worker.store.client import REDIS_UNAVAILABLE, connect
from worker.store.scripts import JobScripts

_LIMIT_S = 60.0


class WorkerProcesses:
    """A Redis, and workers whose storage system takes some seconds for each call."""

    def __init__(self, folder: Path, *, latency_s: float = 2.0) -> None:
        self.folder = folder
        self.latency_s = latency_s
        self.redis = EmbeddedRedis.in_folder(find_server(), folder / "redis")
        self.store = self.redis.start()
        self.redis.await_ready(20)
        self.settings = load(Settings, redis_url=self.redis.url, SAPI_DEBUG=True)
        self.client = connect(self.settings, command_timeout_s=5)
        self.publisher = create_publisher(self.settings)
        self.jobs = Jobs(self.client, JobScripts(self.client, PREFIX), JobIds(b"secret"), self.publisher, self.settings)
        self._workers: list[subprocess.Popen[bytes]] = []

    def worker(
        self, node: str, module: str = "worker.main", *, latency_s: float | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one, and return when it is there."""
        latency_s = self.latency_s if latency_s is None else latency_s
        env = clean_environment() | {
            "SAPI_REDIS_URL": self.redis.url,
            "SAPI_STATE_DIR": str(self.folder),
            "SAPI_LEASE": "3",
            "SIGNALS_FILE": str(self.folder / "signals"),
            "SAPI_DEBUG": "1",
            "SAPI_BACKENDS": f"filer🌈DummyStorage🌈volumes🌈3🌈latency_s🌈{latency_s}",
        }
        process = launch([sys.executable, "-m", module, "--node", node], self.folder / f"{node}.log", env)
        self._workers.append(process)
        self.until(lambda: any(node.encode() in name for name in self._online()), f"{node} is there")
        return process

    def accept(self, operation: str, **arguments: Any) -> str:
        """Accept a job."""
        new = NewJob(
            operation=OPERATIONS[operation], subsystem="filer", arguments=arguments, request={}, target="/",
            requester="ann", request_id="r",
        )  # fmt: skip
        return self.jobs.accept(new)[1]

    def state(self, job_id: str) -> State:
        """Where the job is."""
        job_status = self.jobs.get(job_id)
        assert job_status is not None
        return job_status.job.state

    def code(self, job_id: str) -> str:
        """Why it failed."""
        job_status = self.jobs.get(job_id)
        assert job_status is not None
        assert job_status.job.failure is not None
        return job_status.job.failure.code

    def sent(self, job_id: str) -> bool:
        """Has the intent of its change been recorded?"""
        return bool(self.client.hget(f"{PREFIX}job:{job_id}", "step"))

    def done(self, *job_ids: str) -> None:
        """Return when they have ended."""
        self.until(lambda: all(self.state(job_id).done for job_id in job_ids), "all jobs have ended")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when the condition holds; Redis may be unavailable meanwhile."""
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except REDIS_UNAVAILABLE:
                pass
            time.sleep(0.05)
        pytest.fail(f"it never came about that {what}")

    def effects(self) -> dict[str, bool]:
        """What the filer did."""
        with sqlite3.connect(self.folder / "filer.sqlite3") as db:
            return {job_id: bool(made) for job_id, made in db.execute("SELECT job_id, applied FROM effects")}

    def _online(self) -> list[bytes]:
        nodes: Any = self.client.zrange(f"{PREFIX}workers:filer.write", 0, -1)
        return list(nodes)

    def stop(self) -> None:
        """End everything that was started."""
        for process in (*self._workers, self.store):
            end(process, how=signal.SIGKILL)
        self.publisher.close(0.1)
        self.client.close()
