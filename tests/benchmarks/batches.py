"""The cost of batches: accepting one, executing its members, and how long Redis is blocked meanwhile."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.benchmarks.load import Connection, request
from tests.benchmarks.measures import Row
from tests.benchmarks.stack import UNHEARD, Stack
from worker.store.scripts import JobScripts

_MEMBERS = 1000
_ROUNDS = 3
#: Commands that take longer than this are logged (microseconds).
_LOOKED_AT_US = 500
_PROCESSES = ("ours", "quick")
_CANCELLED = {"subsystem": UNHEARD, "state": "cancelled", "operation": "create_snapshot"}


class _Client:
    """Sends requests, and waits for jobs."""

    def __init__(self, stack: Stack) -> None:
        self._connection = Connection(stack.ours)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Return the JSON of a successful response."""
        sent = b"" if body is None else json.dumps(body).encode()
        status, _, answer = self._connection.ask(request(method, path, sent, **headers))
        assert status < 300, (method, path, status, answer[:300])
        return json.loads(answer)

    def batch(self, requests: list[dict[str, Any]], *, parallel: int = 8, stops: bool = False) -> str:
        """Have a batch accepted; return its path."""
        on_failure = "stop" if stops else "continue"
        order = {"requests": requests, "parallel": parallel, "on_failure": on_failure}
        return f"/v4/jobs/{self.ask('POST', '/v4/batches', order)['id']}"

    def submit(self, requests: list[dict[str, Any]]) -> None:
        """Submit each request separately."""
        for member in requests:
            self.ask(member["method"], member["path"])

    def await_end(self, path: str) -> None:
        """Return once the job has ended."""
        while not self.ask("GET", path, Prefer="wait=20")["done"]:
            continue

    def latest_batch(self) -> str:
        """Return the path of the batch that was accepted last."""
        return str(self.ask("GET", "/v4/jobs?operation=batch&limit=1")[0]["links"]["self"])

    def await_none(self, subsystem: str) -> None:
        """Return once no job of the subsystem is unfinished."""
        while self.ask("GET", f"/v4/jobs?subsystem={subsystem}&state=queued,running&limit=1"):
            time.sleep(0.05)

    def cancel_all(self, subsystem: str) -> None:
        """Cancel what waits for a subsystem."""
        while self.ask("POST", "/v4/jobs/cancel", {"subsystem": subsystem, "state": "queued"})["cancelled"]:
            continue


def accept(stack: Stack) -> Iterator[Row]:
    """Accepting a thousand members in one batch, compared with a thousand single requests; without workers."""
    client = _Client(stack)
    requests = _snapshots(UNHEARD)
    batches, singles = [], []
    for _ in range(_ROUNDS):
        batches.append(_cost(stack, ("ours",), lambda: client.batch(requests)))
        singles.append(_cost(stack, ("ours",), lambda: client.submit(requests[: _MEMBERS // 5])))
        client.cancel_all(UNHEARD)
    wall_s, cpu_s = (statistics.median(values) for values in zip(*batches, strict=True))
    single_s = 5 * statistics.median(cpu for _, cpu in singles)
    yield Row(f"accept a batch of {_MEMBERS:,}", f"{wall_s:.2f} s", "", "", "≤ 1 s")
    yield Row("CPU of that", f"{cpu_s:.2f} s", f"{single_s:.2f} s single", f"{cpu_s / single_s:.2f}", "≤ 0.25")


def carry_out(stack: Stack, name: str) -> Iterator[Row]:
    """The CPU of all processes and of Redis from submit to end, for members and for single jobs in turns."""
    client = _Client(stack)
    requests = _locks(client, name)

    def one_by_one() -> None:
        client.submit(requests)
        client.await_none(name)

    members, singles = [], []
    for _ in range(1 + _ROUNDS):
        members.append(_cost(stack, _PROCESSES, lambda: client.await_end(client.batch(requests)))[1])
        singles.append(_cost(stack, _PROCESSES, one_by_one)[1])
    mine, theirs = (statistics.median(times[1:]) * 1000 / _MEMBERS for times in (members, singles))
    what = "CPU of a member (API, worker and Redis), against a single job"
    yield Row(what, f"{mine:.2f} ms", f"{theirs:.2f} ms", f"{mine / theirs:.2f}", "≤ 1.0")


def blocked(stack: Stack, name: str) -> Iterator[Row]:
    """The longest single command of Redis while a thousand jobs are accepted, end, are cancelled and done again.

    Redis's slow log measures wall-clock time, which other processes affect, so the shortest of several rounds counts.
    """
    client, server = _Client(stack), redis.Redis.from_url(stack.redis.url)
    waiting, absent = _snapshots(UNHEARD), _snapshots(name)
    steps: dict[str, Callable[[], Any]] = {
        "a batch is accepted": lambda: client.batch(waiting),
        "a batch is cancelled": lambda: client.ask("POST", f"{client.latest_batch()}/cancel"),
        "a batch is done again": lambda: client.ask("POST", f"{client.latest_batch()}/retry"),
        "members are listed": lambda: client.ask("GET", "/v4/jobs?limit=1000"),
        "jobs are cancelled by filter": lambda: client.cancel_all(UNHEARD),
        "jobs are done again by filter": lambda: client.ask("POST", "/v4/jobs/retry", _CANCELLED),
        "a batch fails": lambda: client.await_end(client.batch(absent, parallel=100)),
        "a batch stops": lambda: client.await_end(client.batch([absent[0], *waiting[1:]], stops=True)),
    }
    results: dict[str, list[_Longest]] = {what: [] for what in steps}
    for _ in range(_ROUNDS):
        for what, action in steps.items():
            with _watched(server) as longest:
                action()
            results[what].append(longest)
        client.cancel_all(UNHEARD)
    for what, rounds in results.items():
        best = min(rounds, key=lambda measured: measured.ms)
        yield Row(f"Redis is blocked while {what}", f"{best.ms:.1f} ms", best.command, "", "≤ 20 ms")


class _Longest:
    """The longest command."""

    ms = 0.0
    command = ""


@contextmanager
def _watched(server: redis.Redis) -> Iterator[_Longest]:
    """Read Redis's slow log after the block."""
    longest, scripts = _Longest(), {script.sha: name for name, script in JobScripts(server, "").registered.items()}
    server.config_set("slowlog-log-slower-than", _LOOKED_AT_US)
    server.config_set("slowlog-max-len", 100_000)
    server.slowlog_reset()
    yield longest
    for entry in server.slowlog_get(100_000):
        words = entry["command"].split()
        if entry["duration"] / 1000 > longest.ms:
            longest.ms = entry["duration"] / 1000
            longest.command = scripts.get(words[1].decode(), "") if len(words) > 1 else words[0].decode()


def _snapshots(subsystem: str) -> list[dict[str, Any]]:
    """A thousand snapshots of volumes that are not there."""
    paths = [f"/v4/{subsystem}/volumes/none{number}/snapshots/s" for number in range(_MEMBERS)]
    return [{"method": "POST", "path": path} for path in paths]


def _locks(client: _Client, name: str) -> list[dict[str, Any]]:
    """A thousand locks, of all volumes in turn; each can be taken again by the same host."""
    volumes = client.ask("GET", f"/v4/{name}/volumes?fields=name", Prefer="wait=25")
    paths = [f"/v4/{name}/volumes/{volumes[number % len(volumes)]['name']}/locks/host" for number in range(_MEMBERS)]
    return [{"method": "PUT", "path": path} for path in paths]


def _cost(stack: Stack, processes: tuple[str, ...], action: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall-clock time, and the CPU time of these processes and of Redis (seconds)."""
    began, before_s = time.perf_counter(), _cpu_s(stack, processes)
    action()
    return time.perf_counter() - began, _cpu_s(stack, processes) - before_s


def _cpu_s(stack: Stack, processes: tuple[str, ...]) -> float:
    with redis.Redis.from_url(stack.redis.url) as server:
        used: Any = server.info("cpu")
    own_s = sum(stack.processes.cpu_s(name) for name in processes)
    return own_s + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
