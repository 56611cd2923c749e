"""The processes that are measured, on free ports of 127.0.0.1; each is ended by its id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.dev.embedded_redis import EmbeddedRedis, find_server, free_port
from tests.launcher import clean_environment, end, launch

ROOT = Path(__file__).resolve().parents[2]
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
#: A subsystem that no worker serves.
UNHEARD = "unheard"
#: As the development server is run.
_GRANIAN = (
    *("--interface", "wsgi", "--http", "1", "--no-ws", "--http1-buffer-size", "262144", "--backlog", "2048"),
    *("--backpressure", "4096"),
    *("--respawn-failed-workers", "--respawn-interval", "0.5"),
)


@dataclass
class Processes:
    """What was started, with its output in ``folder``."""

    folder: Path
    environment: dict[str, str]
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, **more: str) -> None:
        """Start ``python -m`` something."""
        command = [sys.executable, "-m", *arguments]
        self.started[name] = launch(command, self.folder / f"{name}.log", self.environment | more)

    def serve(self, name: str, application: str, *, workers: int = 2, threads: int = 2000, **more: str) -> str:
        """Start Granian on an application, as we ship it; its address, once it answers."""
        port = str(free_port())
        options = (
            *_GRANIAN,
            "--blocking-threads",
            str(threads),
            "--workers",
            str(workers),
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--log-level",
            "warning",
        )
        self.start(name, "api.serve", application, *options, **more)
        _await(f"http://127.0.0.1:{port}/healthz")
        return f"127.0.0.1:{port}"

    def end(self, name: str) -> None:
        """End one of them."""
        end(self.started.pop(name))

    def end_all(self) -> None:
        """End them, the last one first."""
        for name in reversed(list(self.started)):
            self.end(name)

    def cpu_s(self, name: str) -> float:
        """The CPU time that a process and its children have taken, in seconds."""
        return sum(_cpu_s(pid) for pid in self.pids(name))

    def memory_mb(self, name: str) -> float:
        """The largest memory that one of these processes has of its own (USS), in MiB."""
        return max(_own_bytes(pid) for pid in self.pids(name)) / 2**20

    def pids(self, name: str) -> list[int]:
        """A process and its children."""
        parent = self.started[name].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _own_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def _await(url: str, timeout_s: float = 40) -> None:
    until = time.monotonic() + timeout_s
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        if time.monotonic() > until:
            raise TimeoutError(url)
        time.sleep(0.1)


@dataclass
class Stack:
    """Redis, our service and the bare one."""

    processes: Processes
    redis: EmbeddedRedis
    ours: str = ""
    bare: str = ""


def backends(folder: Path, sizes: Mapping[str, Mapping[str, object]]) -> str:
    """``SAPI_BACKENDS`` with a dummy of each name."""
    entries = []
    for name, options in sizes.items():
        options_text = "".join(f"🌈{key}🌈{value}" for key, value in {"state_dir": folder, **options}.items())
        entries.append(f"{name}🌈DummyStorage{options_text}")
    return "🦄".join(entries)


@contextmanager
def stack(
    folder: Path,
    sizes: Mapping[str, Mapping[str, object]],
    *,
    api_workers: int = 2,
    nodes: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Run everything inside the block; ``nodes``: worker processes for changes and look-ups."""
    redis = EmbeddedRedis.in_folder(find_server(), folder / "redis")
    server = redis.start()
    every = {
        **clean_environment(),
        **(environment or {}),
        "SAPI_REDIS_URL": redis.url,
        "SAPI_DEBUG": "true",
        "SAPI_SECRET_KEY": "for measurements on one machine only",
        "SAPI_CACHE_FRESH": "3600",
        "SAPI_RATE_LIMIT": "off",
        "SAPI_QUEUE_LIMIT": "1000000",
        "SAPI_USER_READ_RATE": "0",
        "SAPI_ADDRESS_READ_RATE": "0",
        "SAPI_STRANGERS_READ_RATE": "0",
        "SAPI_BASIC_AUTH_USERNAME": "bench",
        "SAPI_BASIC_AUTH_PASSWORD": "bench",
        "BENCH_FOLDER": str(folder),
    }
    processes = Processes(folder, every)
    try:
        redis.await_ready(20)
        described = backends(folder, sizes)
        # As with the bare view's queue, no worker consumes this one: submitting is measured alone.
        names = "🦄".join(f"{name}🌈DummyStorage" for name in (*sizes, UNHEARD))
        quick = ["quick", *(f"quick{number}" for number in range(2, nodes + 1))]
        for node, queue_classes in (*((node, "write,read") for node in quick), ("list", "list")):
            processes.start(node, "worker.main", "--node", node, "--queues", queue_classes, SAPI_BACKENDS=described)
        ours = processes.serve("ours", "api.wsgi:app", workers=api_workers, SAPI_BACKENDS=names)
        bare = processes.serve("bare", "tests.benchmarks.bare:app", workers=api_workers)
        options = ("-P", "threads", "-c", "8", "--without-gossip", "--without-mingle", "--without-heartbeat")
        processes.start("bare-worker", "celery", "-A", "tests.benchmarks.bare:celery", "worker", *options)
        yield Stack(processes, redis, ours, bare)
    finally:
        processes.end_all()
        server.terminate()
        server.wait(20)
