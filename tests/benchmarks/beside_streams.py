"""Response times of other requests beside event streams and changes that all of these show."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.load import Connection, once, request
from tests.benchmarks.measures import Row, must, timed, times
from tests.benchmarks.stack import ROOT, Stack

_STREAMS, _CHANGES_PER_S = 200, 50
_ANSWERS, _PAUSE_S = 500, 0.005


def measure(stack: Stack, name: str, rounds: int) -> Iterator[Row]:
    """Measure idle, beside the changes alone, and beside both, in turns."""
    once(stack.ours, request("GET", f"/v4/{name}/volumes?limit=1", Prefer="wait=25"))
    ask = request("GET", f"/v4/{name}/volumes?limit=1")
    idle, changes, both = [], [], []
    summary = ""
    for _ in range(rounds):
        idle += _answers(stack, ask)
        with _load(stack, name, 0):
            changes += _answers(stack, ask)
        with _load(stack, name, _STREAMS) as ended:
            before = stack.processes.cpu_s("ours")
            began = time.monotonic()
            both += _answers(stack, ask)
            share = (stack.processes.cpu_s("ours") - before) / (time.monotonic() - began)
        summary = f"{ended[0]}; API {share:.2f} CPUs"
    for share, statistic, target in ((0.99, "p99", "≤ 2"), (0.5, "median", "")):
        yield times(f"others' answers beside {_CHANGES_PER_S} changes a second ({statistic})", changes, idle, share, "")
        yield times(
            f"others' answers beside {_STREAMS} streams of {_CHANGES_PER_S} changes a second ({statistic})",
            both,
            idle,
            share,
            target,
        )
    yield Row("the streams", summary)


def _answers(stack: Stack, ask: bytes) -> list[float]:
    connection = Connection(stack.ours)
    times = []
    for _ in range(_ANSWERS):
        times.append(timed(lambda: must(connection.ask(ask), 200)))
        time.sleep(_PAUSE_S)
    connection.close()
    return times


@contextmanager
def _load(stack: Stack, name: str, streams: int) -> Iterator[list[str]]:
    """Run streams and changes in a process of their own inside the block; yields a list for its output."""
    command = [sys.executable, "-m", "tests.benchmarks.streams", stack.ours, name, str(streams), str(_CHANGES_PER_S)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n"
        time.sleep(1)
        ended: list[str] = []
        yield ended
        load.stdin.close()
        ended.append(load.stdout.read().strip())
    # Its requests are finished by then.
    time.sleep(1)
