"""Measures the effect on others: durations of `/healthz`, a look-up and an administrator's change, and refusals."""

from __future__ import annotations

import http.client
import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.chaos.attack.service import Service

_EVERY_S = 0.2
_TIMEOUT_S = 40.0


@dataclass
class Series:
    """The results of one kind of request."""

    times_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the durations (milliseconds)."""
        ordered = sorted(self.times_s) or [math.nan]
        return 1000 * ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


class Measuring:
    """Sends each kind of request repeatedly, over connections of its own."""

    def __init__(self, service: Service) -> None:
        self._numbers = itertools.count()
        administrator = {"Authorization": f"Bearer {service.administrator}"}
        waiting = administrator | {"Prefer": "wait=25"}
        read, changed = service.volumes()
        self._kinds = {
            "healthz": (service.public, "GET", "/healthz", {}),
            "healthz, own port": (service.admin, "GET", "/healthz", {}),
            "look-up": (service.public, "GET", f"/v4/dummy/volumes/{read}", administrator),
            "change": (service.public, "POST", f"/v4/dummy/volumes/{changed}/snapshots/", waiting),
        }  # fmt: skip

    @contextmanager
    def measured(self) -> Iterator[dict[str, Series]]:
        """Measure inside the block; the yielded series are filled meanwhile."""
        series = {name: Series() for name in self._kinds}
        stop = threading.Event()
        threads = [threading.Thread(target=self._repeat, args=(name, series[name], stop)) for name in self._kinds]
        for thread in threads:
            thread.start()
        try:
            yield series
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _repeat(self, name: str, series: Series, stop: threading.Event) -> None:
        while not stop.wait(_EVERY_S):
            began = time.monotonic()
            try:
                status = self._ask(name)
            except (OSError, http.client.HTTPException) as error:
                series.refused.append(type(error).__name__)
                continue
            series.times_s.append(time.monotonic() - began)
            if status not in (200, 201):
                series.refused.append(str(status))

    def _ask(self, name: str) -> int:
        address, method, path, headers = self._kinds[name]
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
        try:
            if method == "POST":
                path = f"{path}s{next(self._numbers)}"
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            with suppress(OSError):
                connection.close()


def table(before: dict[str, Series], during: dict[str, Series], after: dict[str, Series]) -> Iterator[str]:
    """Return the results as lines of text."""
    heads = ("milliseconds", "quiet p50", "quiet p99", "attacked p50", "p99", "max", "after p99", "times")
    yield "  ".join(f"{head:>17}" if head == heads[0] else f"{head:>12}" for head in heads) + "  refused"
    for name, quiet in before.items():
        attacked, late = during[name], after[name]
        ratio = attacked.percentile_ms(99) / quiet.percentile_ms(99)
        figures = [quiet.percentile_ms(50), quiet.percentile_ms(99), *map(attacked.percentile_ms, (50, 99, 100))]
        row = "  ".join(f"{figure:12.1f}" for figure in (*figures, late.percentile_ms(99), ratio))
        yield f"{name:>17}  {row}  {len(attacked.refused)} of {len(attacked.times_s)} {_most(attacked.refused)}"


def _most(refused: Sequence[str]) -> str:
    return ", ".join(sorted(set(refused)))


def is_borne(before: dict[str, Series], during: dict[str, Series], most: float) -> bool:
    """Was nothing refused, and nothing slower than ``most`` times the undisturbed service?"""
    return all(
        not series.refused and series.percentile_ms(99) <= most * before[name].percentile_ms(99)
        for name, series in during.items()
    )
