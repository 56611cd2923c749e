"""How the service grows: with the volumes of a filer, and with processes of the front end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.measures import Measures, Row
from tests.benchmarks.stack import stack

_VOLUMES = (100, 1000, 10_000, 50_000, 200_000)
_PROCESSES = (1, 2, 4)


def measure(folder: Path, seconds: float, rounds: int) -> Iterable[Row]:
    """Each size, and each number of processes, on a stack of its own."""
    for processes in _PROCESSES:
        place = folder / f"processes{processes}"
        place.mkdir()
        with stack(place, {"v5000": {"volumes": 5000}}, api_workers=processes) as running:
            for row in Measures(running, seconds=seconds, rounds=rounds).cached("v5000", 5000):
                yield Row(f"{processes} API processes: {row.what}", row.ours, row.other, row.figure)
    place = folder / "volumes"
    place.mkdir()
    with stack(place, {f"v{size}": {"volumes": size} for size in _VOLUMES}) as running:
        measures = Measures(running, seconds=seconds, rounds=rounds)
        for size in _VOLUMES:
            yield measures.cached(f"v{size}", size)[0]
        yield from measures.memory("after all sizes")
