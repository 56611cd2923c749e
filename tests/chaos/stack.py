"""The service as it ships: Redis, two API processes, two quick and two list workers; what exits is restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import redis
import requests

from deploy.dev.embedded_redis import EmbeddedRedis, find_server, free_port
from tests.launcher import clean_environment, end, launch
from tests.processes import count_files, count_sockets
from tests.worker.webhooks.receiver import SECRET

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

    def files(self) -> int:
        """How many files the process has open; 0 while it does not run."""
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            return count_files(self._process.pid) if running and self._process else 0

    def end(self, timeout_s: float) -> None:
        """Stop it for good."""
        self.held_down.set()
        if self._process is not None:
            end(self._process, timeout_s=timeout_s)


class Stack:
    """All parts, in a folder of their own."""

    def __init__(self, folder: Path, *, latency_s: float, redis_url: str = "", **settings: object) -> None:
        """Prepare all parts; ``redis_url`` names a Redis that is started elsewhere."""
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
        options_text = "🌈".join(f"{name}🌈{value}" for name, value in options.items())
        env = clean_environment() | {
            "SAPI_REDIS_URL": redis_url or self.redis.url,
            "SAPI_STATE_DIR": str(folder / "state"),
            "SAPI_LEASE": str(LEASE_S),
            "SAPI_HEALTH_DIR": str(folder / "health"),
            "SAPI_BASIC_AUTH_USERNAME": USER,
            "SAPI_BASIC_AUTH_PASSWORD": PASSWORD,
            "SAPI_BASIC_AUTH_ROLES": "USER,ADMIN,UBER_ADMIN",
            "SAPI_DEBUG": "1",
            # As several processes need it: a session goes on in each, and in those that start anew.
            "SAPI_SECRET_KEY": "of chaos runs on one machine only",
            "SAPI_RATE_LIMIT": "off",
            # Records of jobs outlive a long run, so that they can be checked at its end.
            "SAPI_READ_JOB_KEEP": "3600",
            "CHAOS_BOOK": str(self.book),
            "PYTHONUNBUFFERED": "1",
            **{f"SAPI_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._env = env
        self.webhooks: Part | None = None
        worker_env = env | {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage🌈{options_text}"}
        api_env = env | {"SAPI_BACKENDS": f"{SUBSYSTEM}🌈DummyStorage"}
        python = sys.executable
        self.store = Part("redis", [self.redis.program, "redis.conf"], folder, os.environ, self.redis.folder)
        self._has_store = not redis_url
        self.apis = [
            Part(f"api{n}", [
                python, "-m", "api.serve", "--interface", "wsgi", "api.wsgi:app", "--host", "127.0.0.1",
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
        store = [self.store] if self._has_store else []
        return [*store, *self.apis, *self.workers, *([self.webhooks] if self.webhooks else [])]

    def healthy_workers(self) -> list[str]:
        """The workers whose health check passes."""
        check = [sys.executable, "-S", "-m", "worker.healthcheck", "--node"]
        checks = {
            worker.name: subprocess.Popen(
                [*check, worker.name], cwd=self.root, env=self._env, stdout=subprocess.DEVNULL
            )
            for worker in self.workers
        }
        return [name for name, process in checks.items() if process.wait(30) == 0]

    def send_webhooks(self, url: str) -> None:
        """Send the end of every job to ``url``, on this machine; call it before ``start``."""
        (self.folder / "hook-secret").write_text(SECRET)
        webhooks_file = self.folder / "webhooks.toml"
        webhooks_file.write_text(f'[chaos]\nurl = "{url}"\nsecret = {{file = "hook-secret"}}\n')
        hosts = f"http://{urlsplit(url).netloc}"
        env = self._env | {"SAPI_WEBHOOKS_FILE": str(webhooks_file), "SAPI_CALLBACK_HOSTS": hosts}
        command = [sys.executable, "-m", "worker.webhooks.main"]
        self.webhooks = Part("webhooks", command, self.folder, env, self.root)

    def await_webhooks(self) -> None:
        """Return when ends are noted for the receiver."""
        with redis.Redis.from_url(self.redis.url) as client:
            while not client.exists("sapi:webhook_position"):
                time.sleep(0.1)

    def kill_webhooks(self, down_s: float) -> None:
        """Kill the process that sends them, and let it start again so much later."""
        if self.webhooks:
            self.webhooks.held_down.set()
            self.webhooks.signal(signal.SIGKILL)
            time.sleep(down_s)
            self.webhooks.held_down.clear()

    def start(self) -> None:
        """Start everything, and return when it answers."""
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
        if self._has_store:
            self.redis.await_ready(20)
        deadline = time.monotonic() + _START_LIMIT_S
        while not all(self._ready(port) for port in self.ports):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not start: see {self.folder}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop everything, Redis last."""
        self._stop.set()
        for part in reversed(self.parts):
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
