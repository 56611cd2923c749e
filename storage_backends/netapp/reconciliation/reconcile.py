"""Finds the outcome of an in-doubt change: by the filer's job if its uuid is known, otherwise by the object.

DONE is returned at once. NOT_DONE is returned only when the request cannot arrive any more: when
the time limit of a call has passed since the intent, and no job of the filer that it may have started is running:
where jobs cannot be listed, the outcome stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import NoSuchSnapshot, NoSuchVolume, NotFound, StorageError, TooManySnapshots
from storage_backends.journal import Journal, JournalState
from storage_backends.netapp.ontap import jobs
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.jobs import JobFollower, JobResult, OntapJobState
from storage_backends.netapp.ontap.lookups import require_svm
from storage_backends.netapp.operations.mutation import VISIBLE_S, as_partial_change

#: Added to a call's time limit until the request certainly cannot arrive any more (seconds).
MARGIN_S = 3.0
#: How long after the end of a job that may be ours a new object may take to become visible (seconds).
SHOWN_S = 5.0
#: The pause between two probes (seconds).
PAUSE_S = 1.0

DONE, NOT_DONE, UNKNOWN = Outcome.DONE, Outcome.NOT_DONE, Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class InDoubtChange:
    """An in-doubt change."""

    operation: str
    arguments: Mapping[str, Any]
    recorded: JournalState
    journal: Journal
    #: How the filer's job ended; None if its uuid was not recorded.
    job: JobResult | None = None
    #: Has so much time passed since the recorded step was sent that it cannot arrive any more?
    is_quiet: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that are settings of a volume."""
        not_settings = {"volume", "aggregate_name", "junction_path"}
        return {name: value for name, value in self.arguments.items() if name not in not_settings}

    def fact(self, name: str) -> str:
        """Return what the driver recorded with the intent; "" if it did not."""
        return self.recorded.facts.get(name, "")

    @property
    def applied(self) -> bool:
        """Did the recorded step certainly take effect?"""
        is_answered = bool(self.fact("answered"))  # By the answer to the change itself, without a job.
        return is_answered or (self.job is not None and self.job.end is OntapJobState.SUCCESS)

    @property
    def may_arrive(self) -> bool:
        """May the request of the recorded step still take effect?"""
        return not (self.is_quiet or self.applied)

    @property
    def refused_by_snapshot_limit(self) -> bool:
        """Was a snapshot refused only because of the limit, while one may be purged and none has been?"""
        error = self.job.error if self.job and self.recorded.step == "create" else None
        return isinstance(error, TooManySnapshots) and bool(self.arguments.get("purge_old_if_needed"))

    @property
    def purged_by_another(self) -> bool:
        """Was the snapshot that was to be purged not there any more?"""
        return self.recorded.step == "purge" and self.job is not None and isinstance(self.job.error, NotFound)

    @property
    def hidden(self) -> bool:
        """Is there a job that the account may not read? It may still be running."""
        return self.job is not None and self.job.end is OntapJobState.FORBIDDEN


#: Reads the object: returns the outcome, or NOT_DONE if nothing of the change is there *yet*.
Probe = Callable[[InDoubtChange], ReconciledOutcome]


def reconcile(client: OntapClient, lost: InDoubtChange, probe: Probe) -> ReconciledOutcome:
    """Find out the outcome of the change.

    Raises:
        StorageError: the filer cannot be probed now.
    """
    if lost.recorded.backend_job:
        lost = _with_job(client, lost, lost.recorded.backend_job)
        if lost.refused_by_snapshot_limit:
            return probe(lost)
        if lost.job and lost.job.end is OntapJobState.FAILURE and not lost.purged_by_another:
            return not_done(lost, lost.job.error)
    visible_at = time.monotonic() + VISIBLE_S
    quiet_at = time.monotonic() + max(0.0, client.timeout_s + MARGIN_S - lost.recorded.age_s)
    while True:
        # Checked before the probe: a request that arrives during it must not count as never arrived.
        is_quiet = time.monotonic() >= quiet_at
        running = () if lost.applied else jobs.unfinished_jobs(client, lost.fact("url"), journal=lost.journal)
        if not running:
            result = _run_probe(probe, replace(lost, is_quiet=is_quiet))
            if result.outcome is NOT_DONE and result.error is None and lost.applied:
                # The filer reports it as done, but does not show it yet.
                result = ReconciledOutcome(UNKNOWN)
                is_final = time.monotonic() >= visible_at
            else:
                is_final = result.outcome is not NOT_DONE or lost.applied or is_quiet
            if is_final:
                if result.outcome is not UNKNOWN:
                    require_svm(client, journal=lost.journal)  # Without a visible SVM, missing objects prove nothing.
                return _as_far_as_seen(result, lost, sees_jobs=running is not None)
        else:
            quiet_at = max(quiet_at, time.monotonic() + SHOWN_S)  # What the job makes may not be visible at its end.
        lost.journal.wait(PAUSE_S)


def not_done(lost: InDoubtChange, error: StorageError | None) -> ReconciledOutcome:
    """Return that the recorded step was not made; after earlier steps the change was made in part."""
    if lost.fact("earlier_steps"):
        error = as_partial_change(error or StorageError("its last step was not made."))
    return ReconciledOutcome(NOT_DONE, error=error)


def _as_far_as_seen(result: ReconciledOutcome, lost: InDoubtChange, *, sees_jobs: bool) -> ReconciledOutcome:
    """Return the result, or that the outcome is unknown where a job that cannot be seen may still make the change."""
    may_be_running = not sees_jobs and result.error is None and jobs.may_start_job(lost.fact("url"))
    if result.outcome is not NOT_DONE:
        return result
    if lost.hidden or may_be_running:
        return ReconciledOutcome(UNKNOWN)
    return result if result.error is not None else not_done(lost, None)


def attach_job(client: OntapClient, lost: InDoubtChange) -> InDoubtChange:
    """Return the change with the job that the lost request started, if the filer has exactly one candidate."""
    before = set(lost.fact("jobs_before").split())
    new = [uuid for uuid in jobs.job_uuids(client, lost.fact("url"), journal=lost.journal) if uuid not in before]
    return _with_job(client, lost, new[0]) if len(new) == 1 else lost


def _with_job(client: OntapClient, lost: InDoubtChange, uuid: str) -> InDoubtChange:
    ended = JobFollower(client, uuid, lost.journal).follow()
    if type(ended.error) is NotFound:
        missing = NoSuchSnapshot if lost.operation == "delete_snapshot" else NoSuchVolume
        gone = missing("It is not there (any more).", backend_error=ended.error.backend_error)
        ended = replace(ended, error=gone)
    return replace(lost, job=ended)


def _run_probe(probe: Probe, lost: InDoubtChange) -> ReconciledOutcome:
    """Return the result of the probe; a missing object means NOT_DONE."""
    try:
        return probe(lost)
    except NotFound as gone:
        return not_done(lost, gone) if isinstance(gone, NoSuchVolume) else ReconciledOutcome(NOT_DONE)
