"""The cost of the console's pages, with a storage system of 50,000 volumes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import count

from tests.benchmarks.load import once, request, run
from tests.benchmarks.measures import Row
from tests.benchmarks.stack import Stack

#: By name: the page (`{}`: a number that no other request has), and the most CPU that it may take, in ms.
_PAGES = {
    "page of volumes": ("/console/{name}/volumes", 20),
    "page of volumes, filtered and sorted anew": (
        "/console/{name}/volumes?filter=size_used%3D%3E{}&sort=-size_used",
        40,
    ),
    "plots of the capacity, known": ("/console/{name}/capacity", 10),
    "overview": ("/console/", 40),
}
_TRIES = 30


def measure(stack: Stack, name: str, *, seconds: float, rounds: int) -> Iterator[Row]:
    """Measure the CPU time of each page, requested sequentially."""
    listing = request("GET", f"/v4/{name}/volumes?limit=1", Prefer="wait=25")
    for _ in range(_TRIES):
        if once(stack.ours, listing)[0] == 200:
            break
    for what, (path, most_ms) in _PAGES.items():
        make = _requests(path, name)
        loads = [
            run(
                stack.ours, make, clients=1, seconds=seconds, expect=200,
                cpu_s=lambda: stack.processes.cpu_s("ours"),
            )
            for _ in range(rounds)
        ]  # fmt: skip
        cpu_ms = statistics.median(load.cpu_ms for load in loads)
        yield Row(f"console: {what}", f"{cpu_ms:.1f} ms CPU", "", f"{cpu_ms:.1f} ms", f"≤ {most_ms} ms")


def _requests(path: str, name: str) -> Callable[[], bytes]:
    numbers = count(1)
    return lambda: request("GET", path.replace("{name}", name).replace("{}", str(next(numbers))), Accept="text/html")
