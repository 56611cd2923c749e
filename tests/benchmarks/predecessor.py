"""A model of the predecessor: it calls the filer inside the request.

Four workers, each with one request at a time; the filer takes 20 s for a listing (``list_latency_s`` of ``old``).
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from flask import Flask, Response

from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage
from storage_backends.journal import InMemoryJournal
from tests.benchmarks.load import Connection, request
from tests.benchmarks.measures import Row
from tests.benchmarks.stack import Stack

_CLIENTS = 16
_PROBES = 20
_LISTING_S = 20

app = Flask("predecessor")
_filer = DummyStorage(
    DummyOptions(volumes=5000, list_latency_s=_LISTING_S, state_dir=os.environ.get("BENCH_FOLDER", "")), name="old"
)


@app.get("/healthz")
def healthz() -> str:
    """Answer a health check."""
    return "ok"


@app.get("/volumes")
def volumes() -> Response:
    """All volumes, read from the filer now."""
    return Response(json.dumps([asdict(volume) for volume in _filer.list_volumes(journal=InMemoryJournal())]))


@app.get("/volumes/<name>")
def volume(name: str) -> Response:
    """One volume, read from the filer now."""
    return Response(json.dumps(asdict(_filer.get_volume(name, journal=InMemoryJournal()))))


def measure(stack: Stack, seconds: float) -> Iterable[Row]:
    """Measure both services while 16 clients list a slow filer."""
    old = stack.processes.serve("predecessor", "tests.benchmarks.predecessor:app", workers=4, threads=1)
    ours, theirs = (
        request("GET", "/v4/old/volumes", Accept_Encoding="gzip", Prefer="wait=25"),
        request("GET", "/volumes"),
    )
    with _listing(stack.ours, ours) as mine, _listing(old, theirs) as his:
        time.sleep(2)
        probes = [
            ("look-up", stack.ours, "/v4/old/volumes/acclog_backup01", old, "/volumes/acclog_backup01"),
            ("health check", stack.ours, "/healthz", old, "/healthz"),
        ]
        rows = [
            _probed(f"{what} while 16 clients list a {_LISTING_S} s filer (median)", (at, path), (his_at, his_path))
            for what, at, path, his_at, his_path in probes
        ]
        time.sleep(max(0.0, _LISTING_S + 5))
        before = (len(mine), len(his), time.perf_counter())
        time.sleep(_LISTING_S * 2)
        elapsed_s = time.perf_counter() - before[2]
    rates = (len(mine) - before[0]) / elapsed_s, (len(his) - before[1]) / elapsed_s
    share = f"{rates[0] / rates[1]:,.0f}" if rates[1] else "∞"
    return [*rows, Row("listings of 5,000 by 16 clients", f"{rates[0]:,.1f}/s", f"{rates[1]:.2f}/s", share, "≥ 1,000")]


def _probed(what: str, ours: tuple[str, str], theirs: tuple[str, str]) -> Row:
    mine, his = (_median_ms(*where) for where in (ours, theirs))
    return Row(what, f"{mine:,.1f} ms", f"{his:,.1f} ms", f"{mine / his:.5f}")


def _median_ms(address: str, path: str) -> float:
    taken: list[float] = []
    until = time.perf_counter() + 25
    while len(taken) < _PROBES and time.perf_counter() < until:
        begun = time.perf_counter()
        with suppress(OSError):
            connection = Connection(address)
            connection.ask(request("GET", path))
            connection.close()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


@contextmanager
def _listing(address: str, sent: bytes) -> Iterator[list[int]]:
    """Run sixteen clients that list all the time inside the block; yields their responses."""
    answers: list[int] = []
    # A long time limit, since each may wait for all others, and a client that gives up is no load.
    connections = [Connection(address, 2 * _CLIENTS * _LISTING_S) for _ in range(_CLIENTS)]
    end = threading.Event()

    def client(connection: Connection) -> None:
        with suppress(OSError):
            while not end.is_set():
                status, _, _ = connection.ask(sent)
                if status == 200:
                    answers.append(status)

    threads = [threading.Thread(target=client, args=(connection,), daemon=True) for connection in connections]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        end.set()
        for connection in connections:
            connection.close()
