"""The measures: the service compared with the bare implementation, run in turns; medians count."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks import bare
from tests.benchmarks.load import Connection, Load, once, request, run
from tests.benchmarks.stack import UNHEARD, Stack
from tests.benchmarks.waiting_clients import header, held_open

_CLIENTS = 8
#: How many turns of each side make a round.
_TURNS = 4
#: How many clients wait at a time.
_WAITING_CLIENTS = (4, 16, 64)
#: Jobs in a row, before it is the turn of the other side.
_TURN = 40


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    ours: str
    other: str = ""
    figure: str = ""
    target: str = ""


class Measures:
    """Measures on one stack."""

    def __init__(self, stack: Stack, *, seconds: float, rounds: int) -> None:
        self._stack = stack
        self._seconds = seconds
        self._rounds = rounds

    # --- answers from the cache

    def cached(self, name: str, volumes: int) -> list[Row]:
        """The whole listing, and 304, compared with a bare view with the same bytes."""
        path = f"/v4/{name}/volumes"
        _, head, body = self._warm(path)
        (self._stack.processes.folder / name).write_bytes(body)
        tag = header(head, "etag")
        ours = request("GET", path, Accept_Encoding="gzip")
        rows = [
            self._beside(f"listing of {volumes:,} ({len(body):,} B gzip)", ours, request("GET", f"/bytes/{name}"), 200)
        ]
        if volumes == min(5000, volumes):
            again = request("GET", path, Accept_Encoding="gzip", If_None_Match=tag)
            rows.append(self._beside(f"304 of {volumes:,}", again, request("GET", "/unchanged"), 304))
        return rows

    def _warm(self, path: str) -> tuple[int, bytes, bytes]:
        sent = request("GET", path, Accept_Encoding="gzip", Prefer="wait=25")
        for _ in range(20):
            answer = once(self._stack.ours, sent)
            if answer[0] == 200:
                for _ in range(20):
                    once(self._stack.ours, sent)
                return answer
        raise AssertionError(f"{path}: {answer[0]} {answer[2][:300]!r}")

    def _beside(self, what: str, ours: bytes, other: bytes, status: int, target: str = "≥ 0.8") -> Row:
        return self._in_turns(what, lambda: ours, lambda: other, status, target)

    def _in_turns(
        self,
        what: str,
        make_mine: Callable[[], bytes],
        make_theirs: Callable[[], bytes],
        status: int,
        target: str,
        after_each: Callable[[], object] = lambda: None,
    ) -> Row:
        """Run many short turns, so that disturbances of the machine affect both sides; the first is not counted."""
        mine, theirs = [], []
        for _ in range(1 + _TURNS * self._rounds):
            mine.append(self._load("ours", make_mine, status, seconds=self._seconds / _TURNS))
            theirs.append(self._load("bare", make_theirs, status, seconds=self._seconds / _TURNS))
            after_each()
        return _compared(what, mine[1:], theirs[1:], target)

    def _load(
        self, name: str, make: Callable[[], bytes], status: int, *, seconds: float, clients: int = _CLIENTS
    ) -> Load:
        address = getattr(self._stack, name)
        processes = self._stack.processes
        return run(address, make, clients=clients, seconds=seconds, expect=status, cpu_s=lambda: processes.cpu_s(name))

    def filtered(self, name: str) -> Row:
        """The CPU time of a page that is not cached."""
        sizes = iter(range(1, 10**9))
        self._warm(f"/v4/{name}/volumes?size_used=%3E0&limit=100")

        def make() -> bytes:
            return request("GET", f"/v4/{name}/volumes?size_used=%3E{next(sizes)}&sort=-size_used&limit=100")

        loads = [self._load("ours", make, 200, seconds=self._seconds, clients=1) for _ in range(self._rounds)]
        cpu_ms = statistics.median(load.cpu_ms for load in loads)
        return Row(
            "page of 100 of 50,000, filtered and sorted", f"{cpu_ms:.1f} ms CPU", "", f"{cpu_ms:.1f} ms", "≤ 20 ms"
        )

    # --- jobs

    def submit(self) -> Row:
        """202 for a change without a worker, compared with a view that sends one message."""
        numbers = iter(range(10**9))

        def make() -> bytes:
            return request("PUT", f"/v4/{UNHEARD}/volumes/v{next(numbers)}/locks/host")

        client = redis.Redis.from_url(self._stack.redis.url)
        theirs, unheard = request("POST", "/submit"), f"sapi:celery:{UNHEARD}.write"
        return self._in_turns(
            "submit (202)", make, lambda: theirs, 202, "≥ 0.5", lambda: client.delete("nobody", unheard)
        )

    def ways_to_success(self, name: str) -> list[Row]:
        """From submit to succeeded: as shipped, with each step on the disk before the next, and without the disk."""
        client = redis.Redis.from_url(self._stack.redis.url)
        shipped = self._way(name, "submit to succeeded, against delay().get()", "≤ 1.5")
        client.config_set("appendfsync", "no")
        undurable = self._way(name, "the same with appendfsync no", "")
        client.config_set("appendfsync", "always")
        return [shipped, undurable]

    def _way(self, name: str, what: str, target: str) -> Row:
        rule = request("PUT", f"/v4/{name}/export/default/rule/10.0.0.1", Prefer="wait=10")
        connection = Connection(self._stack.ours)
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(1 + 3 * _TURNS * self._rounds):
            mine += [timed(lambda: must(connection.ask(rule), 201)) for _ in range(_TURN)]
            theirs += [timed(lambda: bare.nothing.delay().get(timeout=20)) for _ in range(_TURN)]
        connection.close()
        return times(what, mine[_TURN:], theirs[_TURN:], 0.5, target)

    def crowds(self, name: str) -> list[Row]:
        """Changes of 4, 16 and 64 waiting clients, compared with a view that waits for a task; and their CPU time."""
        rows, cpu_ms = [], {}
        for clients in _WAITING_CLIENTS:
            mine, theirs = [], []
            for _ in range(1 + _TURNS * self._rounds):
                mine.append(self._clients("ours", ("ours", "quick"), self._locks(name, clients), clients))
                theirs.append(self._clients("bare", ("bare", "bare-worker"), lambda: request("POST", "/wait"), clients))
            what = f"changes of {clients} waiting clients, against delay().get()"
            rows.append(_compared(what, mine[1:], theirs[1:], "≥ 1.0"))
            cpu_ms[clients] = statistics.median(load.cpu_ms for load in mine[1:])
        few, many = cpu_ms[_WAITING_CLIENTS[0]], cpu_ms[_WAITING_CLIENTS[-1]]
        what = f"CPU of a change (API and worker) with {_WAITING_CLIENTS[-1]} clients, against {_WAITING_CLIENTS[0]}"
        return [*rows, Row(what, f"{many:.2f} ms", f"{few:.2f} ms", f"{many / few:.2f}", "≤ 1.1")]

    def _locks(self, name: str, clients: int) -> Callable[[], bytes]:
        """Changes of as many volumes as there are clients, so that none waits for another."""
        listing = once(self._stack.ours, request("GET", f"/v4/{name}/volumes?fields=name", Prefer="wait=25"))
        volumes = itertools.cycle([volume["name"] for volume in json.loads(listing[2])][:clients])
        return lambda: request("PUT", f"/v4/{name}/volumes/{next(volumes)}/locks/host", Prefer="wait=20")

    def _clients(self, name: str, processes: tuple[str, ...], make: Callable[[], bytes], clients: int) -> Load:
        def cpu_s() -> float:
            return sum(self._stack.processes.cpu_s(process) for process in processes)

        address = getattr(self._stack, name)
        return run(address, make, clients=clients, seconds=self._seconds / _TURNS, expect=201, cpu_s=cpu_s)

    # --- what disturbs others

    def look_up_beside_a_listing(self, quick: str, slow: str) -> Row:
        """Single look-ups on a filer, without and with a minute-long listing of it."""
        idle, busy = [], []
        look = request("GET", f"/v4/{slow}/volumes/acclog_backup01", Cache_Control="no-cache", Prefer="wait=20")
        self._looks(look)
        for _ in range(2 * self._rounds):
            idle += self._looks(look)
            job = once(
                self._stack.ours, request("GET", f"/v4/{slow}/volumes", Cache_Control="no-cache", Prefer="wait=0")
            )
            time.sleep(1)
            busy += self._looks(look)
            once(self._stack.ours, request("POST", f"{header(job[1], 'location')}/cancel"))
            time.sleep(1)
        return times("look-up while a minute-long listing runs (p99)", busy, idle, 0.99, "≤ 1.2")

    def _looks(self, look: bytes, count: int = 300) -> list[float]:
        connection = Connection(self._stack.ours)
        try:
            return [timed(lambda: must(connection.ask(look), 200)) for _ in range(count)]
        finally:
            connection.close()

    def long_polls(self, name: str, slow: str, clients: int = 500) -> list[Row]:
        """Response times of other requests while many clients wait for a job: one that waits, and one that runs."""
        ask = request("GET", f"/v4/{name}/volumes?limit=1")
        idle = [latency for _ in range(self._rounds) for latency in self._paced(ask)]
        listing = request("GET", f"/v4/{slow}/volumes", Cache_Control="no-cache", Prefer="wait=0")
        running = header(once(self._stack.ours, listing)[1], "location")
        time.sleep(2)
        # It waits for the running one, so that it does not change.
        queued = header(once(self._stack.ours, listing)[1], "location")
        rows = []
        for location, how in ((queued, "on a job that waits"), (running, "on a listing that runs")):
            with held_open(self._stack.ours, location, clients):
                time.sleep(2)
                busy = [latency for _ in range(self._rounds) for latency in self._paced(ask)]
            what = f"others' answers beside {clients} long polls {how}"
            rows += [times(f"{what} (p99)", busy, idle, 0.99, "≤ 2"), times(f"{what} (median)", busy, idle, 0.5, "")]
            # Requests of clients that have left end with the job only.
            once(self._stack.ours, request("POST", f"{location}/cancel"))
            time.sleep(3)
        return rows

    def _paced(self, ask: bytes, count: int = 400) -> list[float]:
        connection = Connection(self._stack.ours)
        times = []
        for _ in range(count):
            times.append(timed(lambda: must(connection.ask(ask), 200)))
            time.sleep(0.005)
        connection.close()
        return times

    # --- memory

    def memory(self, when: str) -> list[Row]:
        """The memory of processes (USS)."""
        names = {"ours": "an API process", "quick": "the worker for changes", "list": "the worker for listings"}
        return [
            Row(f"memory of {description}, {when}", f"{self._stack.processes.memory_mb(name):.0f} MiB")
            for name, description in names.items()
        ]

    def redis_bytes(self, name: str, volumes: int) -> list[Row]:
        """The memory in Redis for a volume, and for a finished job."""
        client: Any = redis.Redis.from_url(self._stack.redis.url)
        base = sum(client.memory_usage(key) for key in client.scan_iter(f"sapi:base:{name}/volumes:*"))
        jobs = [client.memory_usage(key) for key in client.scan_iter("sapi:job:*", count=1000)][:2000]
        return [
            Row("Redis, for each volume listed", f"{base / volumes:.0f} B"),
            Row("Redis, for each job's record", f"{statistics.mean(jobs):.0f} B"),
        ]


def _compared(what: str, mine: list[Load], theirs: list[Load], target: str) -> Row:
    per_s = [statistics.median(load.per_s for load in loads) for loads in (mine, theirs)]
    cpu_ms = [statistics.median(load.cpu_ms for load in loads) for loads in (mine, theirs)]
    texts = [f"{rate:,.0f}/s, {cpu:.2f} ms CPU" for rate, cpu in zip(per_s, cpu_ms, strict=True)]
    return Row(what, texts[0], texts[1], f"{per_s[0] / per_s[1]:.2f}", target)


def times(what: str, mine: list[float], theirs: list[float], share: float, target: str) -> Row:
    at = [Load(0, latencies, 0).percentile_ms(share) for latencies in (mine, theirs)]
    return Row(what, f"{at[0]:.1f} ms", f"{at[1]:.1f} ms", f"{at[0] / at[1]:.2f}", target)


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def must(answer: tuple[int, bytes, bytes], status: int) -> None:
    if answer[0] != status:
        raise AssertionError(f"{answer[0]}, not {status}: {answer[2][:300]!r}")


def as_json(rows: list[Row], path: Path) -> None:
    """Keep the table for comparison."""
    path.write_text(json.dumps([row.__dict__ for row in rows], ensure_ascii=False, indent=1))
