"""What became of a change whose worker is gone: told by the filer's job where its uuid is known, else by the object.

What is found done is told at once. That something was *not* done is only said when the request can no more arrive: when
the time limit of a call has passed since the mark, and no job of the filer that it may have started is under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import NoSuchVolume, NotFound, TooManySnapshots
from storage_backends.journal import Journal, JournalState
from storage_backends.netapp.ontap import jobs
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.jobs import End, JobEnd, JobFollower

#: What is added to a call's time limit until it is sure that the request cannot arrive any more, in seconds.
MARGIN_S = 3.0
#: The pause between two looks, in seconds.
PAUSE_S = 1.0

DONE, NOT_DONE, UNKNOWN = Outcome.DONE, Outcome.NOT_DONE, Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class Lost:
    """A change whose worker is gone."""

    operation: str
    arguments: Mapping[str, Any]
    trace: JournalState
    journal: Journal
    #: How the filer's job ended; None where its uuid was never recorded.
    job: JobEnd | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that are settings of a volume."""
        named = {"volume", "aggregate_name", "junction_path"}
        return {name: value for name, value in self.arguments.items() if name not in named}

    def fact(self, name: str) -> str:
        """What the driver remembered before it sent; "" if it did not."""
        return self.trace.facts.get(name, "")

    @property
    def arrived(self) -> bool:
        """Is it certain that the marked step took effect?"""
        return self.job is not None and self.job.end is End.SUCCESS

    @property
    def refused_for_room(self) -> bool:
        """Was a snapshot refused only because an older one must go first, as was allowed?"""
        error = self.job.error if self.job else None
        return isinstance(error, TooManySnapshots) and bool(self.arguments.get("purge_old_if_needed"))

    @property
    def hidden(self) -> bool:
        """Is there a job that the account may not look at? It may go on for long."""
        return self.job is not None and self.job.end is End.HIDDEN


#: Looks at the object: a settlement, or NOT_DONE if nothing of the change is there *yet*.
Look = Callable[[Lost], ReconciledOutcome]


def settle(filer: Filer, lost: Lost, look: Look) -> ReconciledOutcome:
    """Find out.

    Raises:
        StorageError: the filer cannot be asked now.
    """
    if lost.trace.backend_job:
        lost = _with_job(filer, lost, lost.trace.backend_job)
        if lost.refused_for_room:
            return look(lost)
        if lost.job and lost.job.end is End.FAILURE:
            return ReconciledOutcome(NOT_DONE, error=lost.job.error)
    quiet_at = time.monotonic() + max(0.0, filer.timeout_s + MARGIN_S - lost.trace.age_s)
    while True:
        # Asked first: what may still arrive while we look must not be taken for what never came.
        is_quiet = time.monotonic() >= quiet_at
        if lost.arrived or not jobs.unfinished(filer, lost.fact("url"), journal=lost.journal):
            found = _looked(look, lost)
            if found.outcome is not NOT_DONE or lost.arrived:
                return found
            if is_quiet:
                return ReconciledOutcome(UNKNOWN) if lost.hidden else found
        lost.journal.wait(PAUSE_S)


def adopt(filer: Filer, lost: Lost) -> Lost:
    """The same, with the job that the lost request started, where the filer knows exactly one that can be it."""
    before = set(lost.fact("jobs_before").split())
    new = [uuid for uuid in jobs.known(filer, lost.fact("url"), journal=lost.journal) if uuid not in before]
    return _with_job(filer, lost, new[0]) if len(new) == 1 else lost


def _with_job(filer: Filer, lost: Lost, uuid: str) -> Lost:
    ended = JobFollower(filer, uuid, lost.journal).follow()
    return Lost(lost.operation, lost.arguments, lost.trace, lost.journal, ended)


def _looked(look: Look, lost: Lost) -> ReconciledOutcome:
    """What looking tells; an object that is gone altogether holds nothing of the change."""
    try:
        return look(lost)
    except NotFound as gone:
        return ReconciledOutcome(NOT_DONE, error=gone if isinstance(gone, NoSuchVolume) else None)
