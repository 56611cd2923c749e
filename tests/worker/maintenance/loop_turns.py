"""Turns of the maintenance loop, one at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.worker.harness import SUBSYSTEM, Harness
from worker.maintenance.loop import MaintenanceLoop

_WRITE = f"{SUBSYSTEM}.write"


class Beats:
    """A heartbeat with the result that a test sets, and a count."""

    def __init__(self) -> None:
        self.is_well, self.counts = True, Counter[str]()

    def beat(self) -> bool:
        self.counts["beat"] += 1
        return self.is_well

    def leave(self) -> None:
        self.counts["leave"] += 1


class Turns:
    """A maintenance loop whose turns a test takes, and what it did."""

    def __init__(self, harness: Harness, reconcile: Callable[[str, str], None] = lambda *_: None) -> None:
        self.beats, self.health, self.task_turns = Beats(), list[str](), list[int]()
        self.drain, self.free = threading.Event(), 3
        #: What is carried out without a message, and how many jobs there are for that.
        self.run, self.runnable = list[str](), 2
        scripts: Any = harness.scripts
        publisher: Any = harness.publisher
        beats: Any = self.beats
        self.loop = MaintenanceLoop(
            scripts, publisher, harness.settings, heartbeat=beats, subsystems=[SUBSYSTEM], queues=[_WRITE],
            reconcile=reconcile, free_slots=lambda _queue: self.free, run_next=self.run_next, drain=self.drain,
            report_health=self.health.append, tasks=[lambda: self.task_turns.append(1)],
        )  # fmt: skip

    def run_next(self, queue: str) -> bool:
        """Carry out the next job without a message."""
        self.run.append(queue)
        return len(self.run) <= self.runnable


def in_doubt(harness: Harness, count: int) -> list[str]:
    jobs = [harness.accept("create_volume", volume=f"v{n}") for n in range(count)]
    for job_id in jobs:
        harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    return jobs
