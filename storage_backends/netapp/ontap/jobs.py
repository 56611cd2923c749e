"""ONTAP's jobs: followed to their true end by prompt polls, with the error code that ends them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storage_backends.errors import InvalidRequest, NotFound, OutcomeUnclear, StorageError
from storage_backends.journal import Journal
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.error_codes import is_forbidden, is_no_operation
from storage_backends.netapp.ontap.lookups import all_records

#: The first pause between two looks at a job, how it grows, and the longest, in seconds.
FIRST_PAUSE_S, GROWTH, LONGEST_PAUSE_S = 0.05, 1.5, 2.0
#: How long the filer may be away while a job of it is followed.
PATIENCE_S = 60.0

_SUCCEEDED = frozenset({"success"})
_UNDER_WAY = frozenset({"queued", "running", "paused", "pausing", "quitting", "cancelling", "waiting"})


class End(StrEnum):
    """How an ONTAP job ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    #: The filer does not know it (any more), or not how it ended: it forgets jobs 300 s after their end.
    GONE = "gone"
    #: The account may not look at jobs.
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of an ONTAP job; ``error`` says why it failed."""

    end: End
    error: StorageError | None = None
    #: Was it asked to stop before it ended?
    cancel_asked: bool = False


class JobFollower:
    """Follows one job; passes on a wish to cancel, where that is safe."""

    def __init__(self, filer: Filer, uuid: str, journal: Journal, *, cancellable: bool = False) -> None:
        self._filer, self._uuid, self._journal, self._cancellable = filer, uuid, journal, cancellable
        self._cancel_asked = False
        self._silent_since: float | None = None

    def follow(self) -> JobEnd:
        """Wait for the end.

        Raises:
            OutcomeUnclear: the filer was away for too long.
            Stopped: this worker must not go on.
        """
        pause = FIRST_PAUSE_S
        while True:
            self._journal.wait(pause)
            pause = min(LONGEST_PAUSE_S, pause * GROWTH)
            if end := self._look():
                return end
            self._pass_cancel_on()

    def _look(self) -> JobEnd | None:
        try:
            job = self._filer.get(f"/cluster/jobs/{self._uuid}", {"fields": "*"}, journal=self._journal)
        except NotFound:
            return JobEnd(End.GONE, cancel_asked=self._cancel_asked)
        except StorageError as refusal:
            if is_forbidden(refusal):
                return JobEnd(End.HIDDEN, refusal, self._cancel_asked)
            self._bear_silence()
            return None
        self._silent_since = None
        state = job.get("state")
        if state in _UNDER_WAY or state is None:
            return None
        if state in _SUCCEEDED:
            return JobEnd(End.SUCCESS, cancel_asked=self._cancel_asked)
        failure = self._failure(job)
        # Some codes only say that the filer lost track of the change itself.
        end = End.GONE if isinstance(failure, OutcomeUnclear) else End.FAILURE
        return JobEnd(end, failure, self._cancel_asked)

    def _failure(self, job: dict[str, Any]) -> StorageError:
        """The code stands in ``error`` (9.9.1 and later) or in ``code``; either may be missing."""
        error = job.get("error") or {}
        code = str(error.get("code") or job.get("code") or "")
        message = error.get("message") or job.get("message") or "The storage system's job failed."
        return self._filer.translator.error(int(code) if code.isdigit() else None, message)

    def _bear_silence(self) -> None:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > PATIENCE_S:
            raise OutcomeUnclear("The storage system does not tell what became of the change.")

    def _pass_cancel_on(self) -> None:
        if not self._cancellable or self._cancel_asked or not self._journal.cancel_requested:
            return
        try:
            self._filer.change("PATCH", f"/cluster/jobs/{self._uuid}", {"action": "cancel"}, {}, journal=self._journal)
        except StorageError:
            # It cannot be cancelled, has ended, or the filer is away: its true end will tell.
            self._cancellable = False
        else:
            self._cancel_asked = True


def unfinished(filer: Filer, url: str, *, journal: Journal) -> list[str]:
    """The uuids of jobs under way that a change to ``url`` (``PATCH /api/storage/volumes/…``) may have started."""
    return [job["uuid"] for job in _started_by(filer, url, journal) if job.get("state") in _UNDER_WAY]


def known(filer: Filer, url: str, *, journal: Journal) -> list[str]:
    """The uuids of all jobs that the filer remembers of changes to ``url``."""
    return [job["uuid"] for job in _started_by(filer, url, journal)]


def _started_by(filer: Filer, url: str, journal: Journal) -> list[dict[str, Any]]:
    query, fields = {"description": f"{url}*"}, ("uuid", "state", "description", "svm.name")
    try:
        found = all_records(filer, "/cluster/jobs", query, fields, journal=journal)
    except StorageError as refusal:
        if is_forbidden(refusal) or isinstance(refusal, InvalidRequest | NotFound) or is_no_operation(refusal):
            return []  # Jobs cannot be listed here: then they tell nothing.
        raise
    return [job for job in found if _is_ours(filer, url, job)]


def _is_ours(filer: Filer, url: str, job: dict[str, Any]) -> bool:
    vserver = (job.get("svm") or {}).get("name")
    description = str(job.get("description", ""))
    # A job that makes an object names the new one: one segment more than where it was posted.
    rest = description.removeprefix(url).partition("?")[0].strip("/")
    return description.startswith(url) and "/" not in rest and vserver in {None, filer.vserver} and "uuid" in job
