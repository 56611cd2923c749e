"""A service of a test's own: Redis, two API processes and worker nodes, in a folder and on ports of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from redis import Redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from tests.benchmarks.stack import Processes, backends
from tests.e2e.client import Client
from tests.launcher import clean_environment

USER, PASSWORD = "racer", "racers-password"


@dataclass(frozen=True)
class Node:
    """A worker process: its name, and the queue classes that it serves."""

    name: str
    queue_classes: str


_START_LIMIT_S = 60

QUICK, LIST = Node("quick", "write,read"), Node("list", "list")


@dataclass
class OwnStack:
    """What runs."""

    processes: Processes
    described: str
    redis: EmbeddedRedis
    redis_process: subprocess.Popen[bytes]
    url: str = ""
    hooks_file: Path | None = None

    def client(self) -> Client:
        """A client with a connection of its own, and all roles."""
        client = Client(self.url)
        client.auth = (USER, PASSWORD)
        return client

    def await_ready(self) -> None:
        """Return when the API answers."""
        until = time.monotonic() + _START_LIMIT_S
        while True:
            with suppress(requests.RequestException):
                if self.client().get("/readyz", timeout=5).ok:
                    return
            assert time.monotonic() < until, f"the API does not start: see {self.processes.folder}"
            time.sleep(0.1)

    def start(self, node: Node) -> None:
        """Start a worker node."""
        arguments = ("worker.main", "--node", node.name, "--queues", node.queue_classes)
        self.processes.start(node.name, *arguments, SAPI_BACKENDS=self.described)

    def start_webhooks(self, callback_secret: str) -> None:
        """Start a process that sends webhooks to the receivers of ``hooks_file``."""
        variables = {"SAPI_WEBHOOKS_FILE": str(self.hooks_file or ""), "SAPI_CALLBACK_SECRET": callback_secret}
        self.processes.start("webhooks", "worker.webhooks.main", **variables)

    def await_webhooks(self) -> None:
        """Return when that process sends what ends from now on."""
        until = time.monotonic() + _START_LIMIT_S
        while self.redis_client().exists("sapi:webhook_callbacks", "sapi:webhook_position") < 2:
            assert time.monotonic() < until, f"webhooks are not sent: see {self.processes.folder}"
            time.sleep(0.1)

    def redis_client(self) -> Redis:
        """A client of the service's Redis."""
        return Redis.from_url(self.redis.url)

    def kill(self, node: Node) -> None:
        """Kill a worker node, as the kernel does when memory runs out."""
        process = self.processes.started.pop(node.name)
        process.send_signal(signal.SIGKILL)
        process.wait(20)

    def restart_ended(self, *nodes: Node) -> None:
        """Start worker nodes again that have ended by themselves, as a supervisor does."""
        for node in nodes:
            if self.processes.started[node.name].poll() is not None:
                self.start(node)

    def kill_api_workers(self) -> None:
        """Kill the API's processes; their server starts others."""
        for pid in self.processes.pids("api")[1:]:
            os.kill(pid, signal.SIGKILL)

    def restart_redis(self) -> None:
        """Kill Redis, and start it again on what it has written."""
        self.redis_process.kill()
        self.redis_process.wait(20)
        self.redis_process = self.redis.start()
        self.redis.await_ready(20)


@contextmanager
def own_stack(
    folder: Path,
    gateways: Mapping[str, Mapping[str, object]],
    *nodes: Node,
    application: str = "api.wsgi:app",
    api_workers: int = 2,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[OwnStack]:
    """Run it inside the block, with dummies of these names and options, and these ``SAPI_`` settings."""
    redis = EmbeddedRedis.in_folder(find_server(), folder / "redis")
    running = None
    server = redis.start()
    every = {
        **clean_environment(),
        **(environment or {}),
        "SAPI_REDIS_URL": redis.url,
        "SAPI_DEBUG": "true",
        "SAPI_SECRET_KEY": "for tests on one machine only",
        "SAPI_RATE_LIMIT": "off",
        "SAPI_BASIC_AUTH_USERNAME": USER,
        "SAPI_BASIC_AUTH_PASSWORD": PASSWORD,
        "SAPI_BASIC_AUTH_ROLES": "USER,ADMIN,UBER_ADMIN",
        **{f"SAPI_{name.upper()}": str(value) for name, value in settings.items()},
    }
    processes = Processes(folder, every)
    try:
        redis.await_ready(20)
        running = OwnStack(processes, backends(folder, gateways), redis, server)
        for node in nodes:
            running.start(node)
        names = "🦄".join(f"{name}🌈DummyStorage" for name in gateways)
        running.url = f"http://{processes.serve('api', application, workers=api_workers, SAPI_BACKENDS=names)}"
        running.await_ready()
        yield running
    finally:
        processes.end_all()
        server = running.redis_process if running else server
        server.terminate()
        server.wait(20)
