# ruff: noqa: T201 - it prints its results to the terminal
"""``make bench``: start a stack of its own, measure, print the table, and end everything."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.benchmarks.stack import stack

_SIZES = {
    "v100": {"volumes": 100},
    "v5000": {"volumes": 5000},
    "v50000": {"volumes": 50000},
    "old": {"volumes": 5000, "list_latency_s": 20},
    "slow": {"volumes": 1000, "list_latency_s": 60},
}


def main() -> int:
    """Measure, and print as it comes."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...", description="Measure the service beside the bare minimum"
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument(
        "--only",
        default="",
        help="comma-separated: cached,filtered,submit,way,crowds,look,polls,streams,memory,batch,blocked,find,"
        "console,predecessor,traces",
    )
    parser.add_argument("--scale", action="store_true", help="also 100 to 200,000 volumes, and 1 to 4 processes")
    options = parser.parse_args()
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    print("| what | ours | beside it | ratio | target |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        _measure(Path(folder), options)
        if options.scale:
            from tests.benchmarks.scale import measure

            _show(measure(Path(folder), options.seconds, options.rounds))
    return 0


def _measure(folder: Path, options: argparse.Namespace) -> None:
    with stack(folder, _SIZES) as running:
        os.environ |= {"SAPI_REDIS_URL": running.redis.url, "BENCH_FOLDER": str(folder)}
        from tests.benchmarks import batches, beside_streams, console, finding, predecessor, traces
        from tests.benchmarks.measures import Measures

        measures = Measures(running, seconds=options.seconds, rounds=options.rounds)
        measurements: dict[str, Callable[[], Iterable[object]]] = {
            "idle": lambda: measures.memory("idle"),
            "cached": lambda: (row for name, size in _CACHED for row in measures.cached(name, size)),
            "filtered": lambda: [measures.filtered("v50000")],
            "memory": lambda: [*measures.memory("after 50,000 volumes"), *measures.redis_bytes("v50000", 50000)],
            "way": lambda: measures.ways_to_success("v100"),
            "crowds": lambda: measures.crowds("v100"),
            "submit": lambda: [measures.submit()],
            "look": lambda: [measures.look_up_beside_a_listing("v100", "slow")],
            "polls": lambda: measures.long_polls("v100", "slow"),
            "streams": lambda: beside_streams.measure(running, "v100", options.rounds),
            "batch": lambda: [*batches.accept(running), *batches.carry_out(running, "v100")],
            "blocked": lambda: batches.blocked(running, "v100"),
            "find": lambda: finding.find_jobs(folder / "find"),
            "console": lambda: console.measure(running, "v50000", seconds=options.seconds, rounds=options.rounds),
            "traces": lambda: traces.measure(folder / "traces", options.seconds, options.rounds),
            "predecessor": lambda: predecessor.measure(running, options.seconds),
        }
        for name, part in measurements.items():
            if not options.only or name in options.only.split(","):
                _show(part())


_CACHED = (("v100", 100), ("v5000", 5000), ("v50000", 50000))


def _show(rows: Iterable[object]) -> None:
    for row in rows:
        print("| " + " | ".join(str(value) for value in vars(row).values()) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
