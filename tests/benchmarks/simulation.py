"""``python -m tests.benchmarks.simulation``: what grows with the number of storage systems, with generated listings.

Each of 1, 10, 100 and 1,000 endpoints has a listing of 10,000 volumes in Redis; an API process answers for all of
them, and one worker process serves as many as it is given (a dummy in the place of a filer). CPU is read from /proc, so
that it hardly depends on what else the machine does. Prints the rows of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import os
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import redis

from deploy.dev.embedded_redis import EmbeddedRedis, find_server
from storage_backends.dummy.seed import generate_volumes
from tests.benchmarks.stack import Processes
from worker.listings.listing import Listing
from worker.store.keys import Keys

_SETTLE_S = 6.0
_WATCH_S = 20.0


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for whoever typed the command


def fill(client: redis.Redis, endpoints: int, volumes: int) -> None:
    """Put a listing of that many volumes into Redis for each endpoint."""
    records = [dataclasses.asdict(volume) for volume in generate_volumes(volumes)]
    listing = Listing.of("name", records, ordered=True)
    blob, keys = listing.pack(), Keys("sapi:")
    now_ms = int(time.time() * 1000)
    for number in range(endpoints):
        cache_key = f"e{number}/volumes"
        client.set(keys.base(cache_key, listing.hash), blob)
        client.hset(
            keys.listing(cache_key),
            mapping={
                "base": listing.hash, "hash": listing.hash, "as_of": now_ms, "count": listing.count, "seq": 0,
                "base_seq": 0, "parent_epoch": 0,
            },
        )  # fmt: skip


class Api:
    """One API process, requested over one connection."""

    def __init__(self, processes: Processes, backends: str) -> None:
        self._processes = processes
        self._address = processes.serve("api", "api.wsgi:app", workers=1, SAPI_BACKENDS=backends)

    def ask(self, path: str) -> tuple[int, int]:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        size = len(answer.read())
        connection.close()
        return answer.status, size

    def cost(self, paths: list[str]) -> tuple[float, float]:
        """Median milliseconds, and milliseconds of CPU, of one request."""
        before, times = self._processes.cpu_s("api"), []
        for path in paths:
            began = time.perf_counter()
            status, _ = self.ask(path)
            times.append(time.perf_counter() - began)
            if status != http.client.OK:
                raise RuntimeError(f"{path}: {status}")
        return median(times) * 1000, (self._processes.cpu_s("api") - before) / len(paths) * 1000


def api_row(processes: Processes, client: redis.Redis, endpoints: int, volumes: int) -> str:
    """Redis's memory, and what hits, readiness and figures cost with so many endpoints."""
    client.flushall()
    fill(client, endpoints, volumes)
    api = Api(processes, "🦄".join(f"e{number}🌈DummyStorage" for number in range(endpoints)))
    idle = processes.memory_mb("api")
    paths = [f"/v4/e{number}/volumes?limit=10" for number in range(endpoints)]
    first = api.cost(paths[:200])
    again = api.cost((paths[:200] * 200)[:200])
    others = [api.cost([path] * 30) for path in ("/readyz", "/metrics")]
    used = client.info("memory")["used_memory"] / 2**20
    memory = f"{idle:.0f} / {processes.memory_mb('api'):.0f} MiB"
    cpu = " | ".join(f"{ms:.1f} ms" for _, ms in (first, again, *others))
    row = f"| {endpoints:,} | {endpoints * volumes:,} | {used:,.0f} MiB | {memory} | {cpu} |"
    processes.end("api")
    return row


def worker_row(processes: Processes, client: redis.Redis, endpoints: int) -> str:
    """What one idle worker process takes that serves so many endpoints, and what Redis takes for it."""
    client.flushall()
    backends = "🦄".join(f"e{number}🌈DummyStorage🌈volumes🌈1" for number in range(endpoints))
    processes.start(
        "worker", "worker.main", "--node", "simulated", "--queues", "write,read,list", SAPI_BACKENDS=backends
    )
    deadline = time.monotonic() + 120
    while not client.zcard(f"sapi:workers:e{endpoints - 1}.list"):
        if time.monotonic() > deadline:
            processes.end("worker")
            return f"| {endpoints:,} | does not come up within 120 s | | |"
        threading.Event().wait(0.2)
    threading.Event().wait(_SETTLE_S)
    cpu = lambda: client.info("cpu")["used_cpu_user"] + client.info("cpu")["used_cpu_sys"]  # noqa: E731
    began, before, server = time.monotonic(), processes.cpu_s("worker"), cpu()
    threading.Event().wait(_WATCH_S)
    took = time.monotonic() - began
    mine, its = (processes.cpu_s("worker") - before) / took * 1000, (cpu() - server) / took * 1000
    row = f"| {endpoints:,} | {processes.memory_mb('worker'):.0f} MiB | {mine:.0f} millicores | {its:.0f} millicores |"
    processes.end("worker")
    return row


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What grows with the number of storage systems.")
    parser.add_argument("--endpoints", default="1,10,100,1000")
    parser.add_argument("--served", default="1,10,50,100", help="endpoints of one worker process")
    parser.add_argument("--volumes", type=int, default=10_000, help="in each listing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis.in_folder(find_server(), Path(folder))
        started = server.start()
        server.await_ready(timeout_s=20)
        client = redis.Redis.from_url(server.url)
        environment = dict(os.environ) | {
            "SAPI_REDIS_URL": server.url, "SAPI_DEBUG": "true", "SAPI_SECRET_KEY": "0" * 64, "PYTHONUTF8": "1",
            "SAPI_CACHE_FRESH": "80000", "SAPI_STATE_DIR": f"{folder}/state", "SAPI_HEALTH_DIR": f"{folder}/health",
            "SAPI_AUDIT_LOG": f"{folder}/audit.log",
        }  # fmt: skip
        processes = Processes(Path(folder), environment)
        try:
            client.config_set("appendonly", "no")
            for endpoints in map(int, options.endpoints.split(",")):
                _tell(api_row(processes, client, endpoints, options.volumes))
            client.config_set("appendonly", "yes")
            for endpoints in map(int, options.served.split(",")):
                _tell(worker_row(processes, client, endpoints))
        finally:
            processes.end_all()
            started.terminate()
            started.wait(timeout=20)


if __name__ == "__main__":
    main()
