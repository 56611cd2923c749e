"""Scaling: with the volumes of a filer, with processes of the front end, and with worker processes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks.load import Connection, once, request
from tests.benchmarks.measures import Measures, Row
from tests.benchmarks.stack import Stack, stack

_VOLUMES = (100, 1000, 10_000, 50_000, 200_000)
_PROCESSES = (1, 2, 4)
#: The latency of the filer in the measure of worker processes (seconds): without any, only the CPUs are measured.
_FILER_S = 0.1
_CHANGES = 400


def measure(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    """Each size, and each number of processes, on a stack of its own."""
    yield from _volumes(_made(folder / "volumes"), seconds, rounds)
    for processes in _PROCESSES:
        place = _made(folder / f"api{processes}")
        with stack(place, {"v5000": {"volumes": 5000}}, api_workers=processes) as running:
            for row in Measures(running, seconds=seconds, rounds=rounds).cached("v5000", 5000):
                yield Row(f"{processes} API processes: {row.what}", row.ours, row.other, row.figure)
    for nodes in _PROCESSES:
        place = _made(folder / f"workers{nodes}")
        options = {"volumes": _CHANGES, "latency_s": _FILER_S}
        with stack(place, {"filer": options}, nodes=nodes) as running:
            yield _changes(running, nodes)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _volumes(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    with stack(folder, {f"v{size}": {"volumes": size} for size in _VOLUMES}) as running:
        measures = Measures(running, seconds=seconds, rounds=rounds)
        for size in _VOLUMES:
            yield _listed(running, size)
            yield measures.cached(f"v{size}", size)[0]
            yield _changed(running, size)
        yield from measures.memory("after all sizes")


def _listed(running: Stack, size: int) -> Row:
    """The time of a listing of the filer, from the first request to the response."""
    began, cpu_s = time.perf_counter(), running.processes.cpu_s("list")
    status = 0
    while status != 200:
        status, _, body = once(running.ours, request("GET", f"/v4/v{size}/volumes", Prefer="wait=25"))
        assert status in (200, 202), body[:300]
    took_s = time.perf_counter() - began
    return Row(
        f"listing {size:,} volumes of the filer", f"{took_s:.2f} s, {running.processes.cpu_s('list') - cpu_s:.2f} s CPU"
    )


def _changed(running: Stack, size: int) -> Row:
    """The first read of a listing after a change; both API processes have the earlier version in memory."""
    connection = Connection(running.ours)
    listing = request("GET", f"/v4/v{size}/volumes", Accept_Encoding="gzip")
    name = json.loads(connection.ask(request("GET", f"/v4/v{size}/volumes?limit=1"))[2])[0]["name"]
    times = []
    for percent in range(10):
        body = json.dumps({"percentage_snapshot_reserve": 10 + percent}).encode()
        status, _, answer = connection.ask(request("PATCH", f"/v4/v{size}/volumes/{name}", body, Prefer="wait=20"))
        assert status == 200, answer[:300]
        began = time.perf_counter()
        connection.ask(listing)
        times.append(time.perf_counter() - began)
    connection.close()
    return Row(f"first reading of {size:,} after a change", f"{statistics.median(times) * 1000:.1f} ms")


def _changes(running: Stack, nodes: int) -> Row:
    """Changes of different volumes, each of which takes the filer some time."""
    client: Any = redis.Redis.from_url(running.redis.url)
    connection = Connection(running.ours)
    names = [volume["name"] for volume in json.loads(connection.ask(request("GET", "/v4/filer/volumes"))[2])]
    began, cpu_s = time.perf_counter(), _cpu_s(running)
    for name in names:
        assert connection.ask(request("PUT", f"/v4/filer/volumes/{name}/locks/host"))[0] == 202
    while client.zcard("sapi:due:filer"):
        time.sleep(0.05)
    took_s = time.perf_counter() - began
    connection.close()
    each_ms = (_cpu_s(running) - cpu_s) * 1000 / len(names)
    return Row(
        f"{nodes} worker processes: changes that take the filer {_FILER_S:.1f} s",
        f"{len(names) / took_s:,.0f}/s, {each_ms:.1f} ms CPU each",
        f"{nodes * 8 / _FILER_S:,.0f}/s by their slots",
    )


def _cpu_s(running: Stack) -> float:
    """The CPU time of all worker processes for changes."""
    return sum(running.processes.cpu_s(node) for node in running.processes.started if node.startswith("quick"))
