"""What traces cost: without the extra, with it and switched off (which is to cost nothing), and switched on."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.load import Load, request, run
from tests.benchmarks.measures import Row
from tests.benchmarks.stack import Stack, stack
from tests.e2e.span_memory import install

_CLIENTS, _TURNS = 4, 8
_SIZES = {"quick": {"volumes": 20}}
_CHANGE = request("PUT", "/v4/quick/export/default/rule/10.0.0.1", Prefer="wait=20")
_ABSENT, _OFF, _ON = "without the extra", "switched off", "switched on"
#: What Python runs at its start: as if the extra were not installed.
_HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def measure(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    """CPU of a change (API and worker) in services that differ in nothing else, in turns."""
    loads: dict[str, list[Load]] = {}
    with ExitStack() as stacks:
        running = {
            name: stacks.enter_context(stack(folder / name, _SIZES, api_workers=1, environment=environment))
            for name, environment in _environments(folder).items()
        }
        for _ in range(1 + _TURNS * rounds):
            for name, service in running.items():
                loads.setdefault(name, []).append(_changes(service, seconds / _TURNS))
    cpu_ms = {name: statistics.median(load.cpu_ms for load in each[1:]) for name, each in loads.items()}
    absent = cpu_ms[_ABSENT]
    for name, target in ((_OFF, "≤ 1.02"), (_ON, "")):
        ours, other = (f"{each:.2f} ms CPU" for each in (cpu_ms[name], absent))
        what = f"a change with traces {name}, against {_ABSENT}"
        yield Row(what, ours, other, f"{cpu_ms[name] / absent:.2f}", target)


def _environments(folder: Path) -> Mapping[str, Mapping[str, str]]:
    hidden = folder / "hidden"
    for each in (hidden, *(folder / name for name in (_ABSENT, _OFF, _ON))):
        each.mkdir(parents=True)
    (hidden / "sitecustomize.py").write_text(_HIDE)
    return {_ABSENT: {"PYTHONPATH": str(hidden)}, _OFF: {}, _ON: install(folder / "spans")}


def _changes(service: Stack, seconds: float) -> Load:
    def cpu_s() -> float:
        return sum(service.processes.cpu_s(name) for name in ("ours", "quick"))

    return run(service.ours, lambda: _CHANGE, clients=_CLIENTS, seconds=seconds, expect=201, cpu_s=cpu_s)
