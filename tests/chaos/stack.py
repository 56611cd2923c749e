"""The service as it ships: Redis, two API processes, two quick and two list workers; whatever dies is started again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import requests

from deploy.dev.embedded_redis import EmbeddedRedis, find_server, free_port
from tests.launcher import clean_environment, end, launch
from tests.processes import count_sockets

USER, PASSWORD = "chaos", "chaos-password"
SUBSYSTEM = "dummy"
LEASE_S = 6
_START_LIMIT_S = 60.0


class Part:
    """One process that is kept running."""

    def __init__(self, name: str, command: list[str], folder: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self._command, self._env, self._cwd = command, env, cwd
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        #: While set, it stays down.
        self.held_down = threading.Event()
        self.exits: list[int] = []

    def keep(self) -> None:
        """Start it unless it runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            if self._process is not None:
                self.exits.append(self._process.returncode)
                self._process = None
            if self.held_down.is_set():
                return
            self._process = launch(self._command, self._log, self._env, cwd=self._cwd)

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def sockets(self) -> int:
        """How many sockets the process has open."""
        with self._lock:
            return count_sockets(self._process.pid) if self._process else 0

    def end(self, timeout_s: float) -> None:
        """Stop it for good."""
        self.held_down.set()
        if self._process is not None:
            end(self._process, timeout_s=timeout_s)


class Stack:
    """All parts, in a folder of their own."""

    def __init__(self, folder: Path, *, latency_s: float, **settings: object) -> None:
        self.folder = folder
        self.root = Path(__file__).parents[2]
        self.redis = EmbeddedRedis.in_folder(find_server(), folder / "redis")
        self.redis.write_config()
        self.ports = [free_port(), free_port()]
        self.away_file = folder / "filer-away"
        self.book = folder / "book"
        self.book.touch()
        self.database = folder / "state" / f"{SUBSYSTEM}.sqlite3"
        self._stop = threading.Event()
        options = {
            "volumes": 40, "latency_s": latency_s, "list_latency_s": 0.3, "snapshot_limit": 1000,
            "away_file": self.away_file,
        }  # fmt: skip
        told = "🌈".join(f"{name}🌈{value}" for name, value in options.items())
        env = clean_environment() | {
            "SAPI_REDIS_URL": self.redis.url,
            "SAPI_STATE_DIR": str(folder / "state"),
            "SAPI_LEASE": str(LEASE_S),
            "SAPI_BASIC_AUTH_USERNAME": USER,
            "SAPI_BASIC_AUTH_PASSWORD": PASSWORD,
            "SAPI_BASIC_AUTH_ROLES": "USER,ADMIN,UBER_ADMIN",
            "SAPI_DEBUG": "1",
            "SAPI_RATE_LIMIT": "",
            "CHAOS_BOOK": str(self.book),
            "PYTHONUNBUFFERED": "1",
            **{f"SAPI_{name.upper()}": str(value) for name, value in settings.items()},
        }
        worker_env = env | {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage🌈{told}"}
        api_env = env | {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage"}
        python = sys.executable
        self.store = Part("redis", [self.redis.program, "redis.conf"], folder, os.environ, self.redis.folder)
        self.apis = [
            Part(f"api{n}", [
                python, "-m", "deploy.dev.serve_api", "--interface", "wsgi", "api.wsgi:app", "--host", "127.0.0.1",
                "--port", str(port), "--workers", "1", "--blocking-threads", "32",
            ], folder, api_env, self.root)
            for n, port in enumerate(self.ports)
        ]  # fmt: skip
        self.workers = [
            Part(f"{node}{n}", [python, "-m", "tests.chaos.worker", "--node", f"{node}{n}", "--queues", queue_classes],
                 folder, worker_env, self.root)
            for node, queue_classes in (("quick", "write,read"), ("list", "list"))
            for n in range(2)
        ]  # fmt: skip

    @property
    def parts(self) -> list[Part]:
        return [self.store, *self.apis, *self.workers]

    def start(self) -> None:
        """Start everything, and return when it answers."""
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
        self.redis.await_ready(20)
        deadline = time.monotonic() + _START_LIMIT_S
        while not all(self._ready(port) for port in self.ports):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not start: see {self.folder}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop everything, Redis last."""
        self._stop.set()
        for part in (*self.workers, *self.apis, self.store):
            part.end(45)

    def _ready(self, port: int) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def _supervise(self) -> None:
        while not self._stop.is_set():
            for part in self.parts:
                if not self._stop.is_set():
                    part.keep()
            self._stop.wait(0.3)
