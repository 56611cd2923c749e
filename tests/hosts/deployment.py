"""The service's processes, each on its own host."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import requests

from deploy.dev.embedded_redis import find_server
from tests.e2e.client import Client
from tests.hosts.network import Host
from tests.launcher import TOP, clean_environment, end_all, launch

SUBSYSTEM = "filer"
LEASE_S = 6
_USER, _PASSWORD = "hosts", "hosts-password"
_LIMIT_S = 45.0

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, limit_s: float = _LIMIT_S) -> T:
    """Repeat a check until it is true."""
    until = time.monotonic() + limit_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < until, f"not within {limit_s} s: {what}"
        time.sleep(0.1)


class Deployment:
    """Starts processes, and ends them all."""

    def __init__(self, folder: Path, *, latency_s: float = 0.0, **settings: str) -> None:
        self.folder = folder
        self.redis_password = secrets.token_hex(8)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._databases: list[subprocess.Popen[bytes]] = []
        backend = f"{SUBSYSTEM}🌈DummyStorage"
        self.env = clean_environment() | {
            "SAPI_STATE_DIR": str(folder / "state"),
            "SAPI_LEASE": str(LEASE_S),
            "SAPI_BASIC_AUTH_USERNAME": _USER,
            "SAPI_BASIC_AUTH_PASSWORD": _PASSWORD,
            "SAPI_BASIC_AUTH_ROLES": "USER,ADMIN,UBER_ADMIN",
            "SAPI_DEBUG": "1",
            "SAPI_RATE_LIMIT": "off",
            "SAPI_BACKENDS": backend,
            "CHAOS_BOOK": str(folder / "book"),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self._worker_env = {"SAPI_BACKENDS": f"{backend}🌈volumes🌈5🌈latency_s🌈{latency_s}"}

    def start(
        self, name: str, *command: str, host: Host | None = None, cwd: Path = TOP, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to ``<name>.log``."""
        words = host.command(*command) if host else list(command)
        process = launch(words, self.folder / f"{name}.log", self.env | dict(env or {}), cwd=cwd)
        self._processes.append(process)
        return process

    def redis(
        self, name: str, port: int, *lines: str, host: Host | None = None, program: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start a Redis (or a sentinel) in a folder of its own; what it has there already is kept."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        file = folder / "redis.conf"
        if not file.exists():
            bind = host.address if host else "127.0.0.1"
            file.write_text("\n".join([f"bind {bind}", f"port {port}", "dir .", 'save ""', *lines]) + "\n")
        process = self.start(name, program or find_server(), *self._mode(file), host=host, cwd=folder)
        self._databases.append(process)
        return process

    def api(self, name: str, port: int, host: Host | None = None) -> Client:
        """Start a front end; a client of it."""
        address = host.address if host else "127.0.0.1"
        self.start(
            name, sys.executable, "-m", "api.serve", "--interface", "wsgi", "api.wsgi:app",
            "--host", address, "--port", str(port), "--workers", "1", "--blocking-threads", "32", host=host,
        )  # fmt: skip
        client = Client(f"http://{address}:{port}")
        client.auth = (_USER, _PASSWORD)
        eventually(lambda: _answers(client), f"{name} answers")
        return client

    def worker(
        self, name: str, host: Host | None = None, queue_classes: str = "write,read,list"
    ) -> subprocess.Popen[bytes]:
        """Start a worker that logs what it sends to the storage system."""
        command = (sys.executable, "-m", "tests.chaos.worker", "--node", name, "--queues", queue_classes)
        return self.start(name, *command, host=host, env=self._worker_env)

    def sent(self) -> Counter[str]:
        """How often each job's change was sent to the storage system, without what came too late and was refused."""
        lines = (line.split() for line in (self.folder / "book").read_text().splitlines())
        return Counter(job_id for job_id, word in lines if word != "fenced")

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End everything, whatever state it is in."""
        others = [process for process in self._processes[::-1] if process not in self._databases]
        end_all(others, timeout_s=10)
        # On SIGTERM a Redis waits 10 s for its replicas, and nothing of it is needed any more.
        end_all(self._databases, signal.SIGKILL)

    def _mode(self, file: Path) -> list[str]:
        return [file.name, "--sentinel"] if "sentinel monitor" in file.read_text() else [file.name]


def safe(password: str) -> tuple[str, ...]:
    """Lines for a Redis that loses nothing."""
    return ("appendonly yes", "appendfsync always", f"requirepass {password}", f"masterauth {password}")


def workers_online(client: Client, queue: str = f"{SUBSYSTEM}.write") -> int:
    """How many workers serve a queue, as readiness reports; 0 while it is unavailable."""
    try:
        answer = client.get("/readyz", timeout=5)
        return int(answer.json()["queues"][queue]["workers_online"]) if answer.ok else 0
    except requests.RequestException:
        return 0


def state(client: Client, job_id: str) -> dict[str, Any]:
    """The job as it is now."""
    job: dict[str, Any] = client.get(f"/v4/jobs/{job_id}").json()
    return job


def _answers(client: Client) -> bool:
    try:
        return client.get("/healthz", timeout=5).ok
    except requests.RequestException:
        return False
