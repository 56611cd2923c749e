"""Progress of jobs on standard error: a bar in a terminal, else a line for each change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from storage_api_client.cli.printable import printable
from storage_api_client.cli.streams import say

if TYPE_CHECKING:
    from storage_api_client.cli.state import State
    from storage_api_client.models import JobRecord

_REASONS = {
    "behind-jobs": "waiting for other jobs of the same volume",
    "no-worker-online": "waiting: no worker is online",
    "backend-unavailable": "waiting: the storage system cannot be reached",
    "retrying": "waiting to try again",
}


def describe(job: JobRecord) -> str:
    """Return a short description of a job's state."""
    if job.done or job.state == "cancelling":
        return job.state
    if job.state == "queued":
        reason = job.queue.waiting_reason if job.queue else None
        return _REASONS.get(reason or "", "queued")
    if job.children and job.children.total:
        ended = job.children.succeeded + job.children.failed + job.children.cancelled
        return f"{ended} of {job.children.total} done, {job.children.failed} failed"
    return printable((job.progress.message if job.progress else None) or "running")


def _counted(job: JobRecord) -> str:
    progress = job.progress
    if progress is None or progress.current is None or not progress.total:
        return ""
    return f" ({progress.current} of {progress.total}{f' {progress.unit}' if progress.unit else ''})"


class Reporter:
    """Writes a line each time that something has changed."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def show(self, job: JobRecord) -> None:
        """Print a job's state."""
        line = f"{job.id}  {job.operation}: {describe(job)}{_counted(job) if job.state == 'running' else ''}"
        if self._last.get(job.id) != line:
            self._last[job.id] = line
            say(line)

    def note(self, sentence: str) -> None:
        """Print a message."""
        say(sentence)

    def close(self) -> None:
        """Remove the display."""


class Bars(Reporter):
    """Draws a bar for each job."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def show(self, job: JobRecord) -> None:
        """Draw a job's bar."""
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if job.id not in self._tasks:
            self._tasks[job.id] = self._bars.add_task(job.operation, total=None)
        progress = job.progress
        percent = progress.percent if progress else None
        self._bars.update(
            self._tasks[job.id],
            total=None if percent is None and not job.done else 100,
            completed=100 if job.done else percent or 0,
            description=f"{job.operation.replace('_', ' ')}: {describe(job)}{_counted(job)}",
        )

    def note(self, sentence: str) -> None:
        """Print a message above the bars."""
        if self._bars is None:
            super().note(sentence)
        else:
            self._bars.console.print(sentence, markup=False, highlight=False)

    def close(self) -> None:
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def reporting(state: State) -> Iterator[Reporter]:
    """A reporter for the duration of the block; messages are printed through it."""
    reporter = Bars() if sys.stderr.isatty() else Reporter()
    state.say = reporter.note
    try:
        yield reporter
    finally:
        reporter.close()
