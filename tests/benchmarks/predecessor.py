"""A stand-in for the service that this one follows: it asks the filer inside the request."""

from __future__ import annotations

from collections.abc import Iterable

from tests.benchmarks.measures import Row
from tests.benchmarks.stack import Stack


def measure(stack: Stack, seconds: float) -> Iterable[Row]:
    return []
