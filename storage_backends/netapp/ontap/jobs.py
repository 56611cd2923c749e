"""ONTAP's jobs: polled until their end, with their error code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storage_backends.errors import InvalidRequest, NotFound, OutcomeUnclear, StorageError
from storage_backends.journal import Journal
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import FieldsRefused, is_forbidden, is_no_operation
from storage_backends.netapp.ontap.fields import Fields
from storage_backends.netapp.ontap.lookups import all_records
from storage_backends.netapp.ontap.responses import OntapError

#: The first pause between two polls, its growth factor, and the longest (seconds).
FIRST_PAUSE_S, GROWTH, LONGEST_PAUSE_S = 0.05, 1.5, 2.0
#: How long the filer may be unavailable while a job is polled (seconds).
PATIENCE_S = 60.0

_SUCCEEDED = frozenset({"success"})
_FAILED = frozenset({"failure", "error"})
_UNDER_WAY = frozenset({"queued", "running", "paused", "pausing", "quitting", "cancelling", "waiting"})


class OntapJobState(StrEnum):
    """How an ONTAP job ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    #: The filer does not know it, or its outcome: it deletes jobs 300 s after their end.
    GONE = "gone"
    #: The account may not read jobs.
    FORBIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class JobResult:
    """The end of an ONTAP job; ``error`` says why it failed."""

    end: OntapJobState
    error: StorageError | None = None
    #: Of one that failed: was it cancelled before it ended?
    cancel_requested: bool = False


class JobFollower:
    """Polls one job, and cancels it if requested, where that is safe."""

    def __init__(self, client: OntapClient, uuid: str, journal: Journal, *, cancellable: bool = False) -> None:
        self._client, self._uuid, self._journal, self._cancellable = client, uuid, journal, cancellable
        self._cancel_requested = False
        self._silent_since: float | None = None

    def follow(self) -> JobResult:
        """Wait for the end.

        Raises:
            OutcomeUnclear: the filer was unavailable for too long.
            Interrupted: this worker must not continue.
        """
        pause = FIRST_PAUSE_S
        while True:
            self._journal.wait(pause)
            pause = min(LONGEST_PAUSE_S, pause * GROWTH)
            if end := self._look():
                return end
            self._pass_cancel_on()

    def _look(self) -> JobResult | None:
        try:
            job = self._read()
        except NotFound:
            return JobResult(OntapJobState.GONE)
        except StorageError as refusal:
            if is_forbidden(refusal):
                return JobResult(OntapJobState.FORBIDDEN)
            self._tolerate_outage()
            return None
        self._silent_since = None
        state = job.get("state")
        if _is_under_way(job):
            return None
        if state in _SUCCEEDED:
            return JobResult(OntapJobState.SUCCESS)
        failure = self._failure(job)
        # Some codes only mean that the filer does not know the outcome itself; so does an unknown state.
        is_certain = state in _FAILED and not isinstance(failure, OutcomeUnclear)
        return JobResult(OntapJobState.FAILURE if is_certain else OntapJobState.GONE, failure, self._cancel_requested)

    def _read(self) -> dict[str, Any]:
        job = self._client.get(f"/cluster/jobs/{self._uuid}", {"fields": "*"}, journal=self._journal)
        if job.get("uuid", self._uuid) != self._uuid:
            raise StorageError("The storage system answered with another job.")
        return job

    def _failure(self, job: dict[str, Any]) -> StorageError:
        """Read the code from ``error`` (9.9.1 and later) or ``code``; either may be missing."""
        error = job.get("error")
        error = error if isinstance(error, dict) else {}
        code = str(error.get("code") or job.get("code") or "")
        message = error.get("message") or job.get("message") or "The storage system's job failed."
        number = int(code) if code.isascii() and code.isdigit() else None
        return self._client.translator.error(OntapError(number, str(message)))

    def _tolerate_outage(self) -> None:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > PATIENCE_S:
            raise OutcomeUnclear("The storage system does not tell what became of the change.")

    def _pass_cancel_on(self) -> None:
        if not self._cancellable or self._cancel_requested or not self._journal.cancel_requested:
            return
        try:
            self._client.change("PATCH", f"/cluster/jobs/{self._uuid}", {"action": "cancel"}, {}, journal=self._journal)
        except OutcomeUnclear:  # It may have been cancelled: then it has failed, and for no other reason.
            self._cancel_requested = True
        except StorageError:
            # It cannot be cancelled, has ended, or the filer is unavailable: its end shows the outcome.
            self._cancellable = False
        else:
            self._cancel_requested = True


def unfinished_jobs(client: OntapClient, url: str, *, journal: Journal) -> list[str] | None:
    """Return the uuids of running jobs that a change to ``url`` (``PATCH /api/storage/volumes/…``) may have started.

    None when jobs cannot be listed: there may be some.
    """
    started = _started_by(client, url, journal)
    return None if started is None else [job["uuid"] for job in started if _is_under_way(job)]


def _is_under_way(job: dict[str, Any]) -> bool:
    """May the job go on? One whose state is not visible may."""
    return job.get("state") in {None, *_UNDER_WAY}


def may_start_job(url: str) -> bool:
    """May a change to ``url`` go on after its response, as a job? Those of locks and export policies do not."""
    return "/api/protocols/" not in url


def job_uuids(client: OntapClient, url: str, *, journal: Journal) -> list[str]:
    """Return the uuids of all jobs of changes to ``url`` that the filer still has."""
    return [job["uuid"] for job in _started_by(client, url, journal) or ()]


def _started_by(client: OntapClient, url: str, journal: Journal) -> list[dict[str, Any]] | None:
    query, fields = {"description": f"{url}*"}, ("uuid", "state", "description", "svm.name")
    try:
        candidates = all_records(client, "/cluster/jobs", query, fields, journal=journal)
    except StorageError as refusal:
        if (
            is_forbidden(refusal)
            or isinstance(refusal, InvalidRequest | NotFound | FieldsRefused)
            or is_no_operation(refusal)
        ):
            return None  # Jobs cannot be listed here, so nothing is known of them.
        raise
    return [job for job in candidates if _is_ours(client, url, job)]


def _is_ours(client: OntapClient, url: str, job: dict[str, Any]) -> bool:
    vserver = Fields(job).text("svm.name")
    description = str(job.get("description", ""))
    # A job that creates an object names the new one: one segment more than the URL of the POST.
    rest = description.removeprefix(url).partition("?")[0].strip("/")
    return description.startswith(url) and "/" not in rest and vserver in {None, client.vserver} and "uuid" in job
