"""The changes that one operation makes on the filer: each marked first, sent once, and followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from storage_backends.errors import (
    BackendTimeout,
    BackendUnavailable,
    NotFound,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import Cancelled, Journal
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.jobs import End, JobFollower
from storage_backends.netapp.ontap.queries import Query
from storage_backends.netapp.ontap.responses import Answer, Json

#: How long a later step of a change is tried again when it is refused for being busy, in seconds.
PATIENCE_S = 30.0
#: The pause between two attempts at a later step, in seconds.
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Query
    body: Json


class Change:
    """One operation under way.

    Before its first step took effect, a refusal that may pass is handed up as it is: the whole may be tried again.
    After that, the step is tried again here, and what cannot be finished becomes ``OutcomeUnclear``: the rest is then
    done, or told, by settling.
    """

    def __init__(self, filer: Filer, journal: Journal, *, missing: type[NotFound] = NotFound) -> None:
        self.filer = filer
        self.journal = journal
        #: Has any step taken effect?
        self.begun = False
        self._steps = 0
        #: What it means when ONTAP only says "entry doesn't exist".
        self._missing = missing

    def send(
        self,
        step: str,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json | None = None,
        undone: Callable[[], bool] | None = None,
        **facts: str,
    ) -> Answer:
        """Mark and send one change, wait for the filer's job if it makes one, and return the filer's answer.

        ``undone`` makes the step cancellable: it tells, after a cancelled job, whether nothing of it is there.

        Raises:
            Cancelled: the filer's job was cancelled, and nothing of it is there.
            OutcomeUnclear, StorageError, Stopped: as ``StorageBackend`` says.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._send(step, _Request(method, path, query or {}, body or {}), undone, facts)
            except (BackendUnavailable, ResourceBusy) as refusal:
                if not self.begun:
                    raise
                if not refusal.transient or time.monotonic() > until:
                    raise _half_way(refusal) from None
                self.journal.wait(PAUSE_S)
            except StorageError as refusal:
                raise self._told(refusal) from None
            else:
                self.begun = True
                return answer

    def _send(self, step: str, request: _Request, undone: Callable[[], bool] | None, facts: dict[str, str]) -> Answer:
        self.journal.progress(self._steps, None, "steps", step)
        self._steps += 1
        self.filer.leave_alone(self.journal)  # Before the mark: nothing is unclear about what was never sent.
        self.journal.record_intent(step, url=f"{request.method} /api{request.path}", **facts)
        answer = self.filer.change(request.method, request.path, request.query, request.body, journal=self.journal)
        is_done = answer.status != HTTPStatus.ACCEPTED
        uuid = (answer.body.get("job") or {}).get("uuid")
        if uuid:
            self.journal.backend_job(uuid, cancellable=undone is not None)
            self._await(uuid, undone, is_done=is_done)
        elif not is_done:
            raise OutcomeUnclear("The storage system took the change and did not name its job.")
        return answer

    def _await(self, uuid: str, undone: Callable[[], bool] | None, *, is_done: bool) -> None:
        """Wait for the job's end; one that the filer cannot tell is success where it said so before (``is_done``)."""
        ended = JobFollower(self.filer, uuid, self.journal, cancellable=undone is not None).follow()
        if ended.end is End.SUCCESS or (is_done and ended.end is not End.FAILURE):
            return
        if ended.end is not End.FAILURE:
            raise OutcomeUnclear("The storage system does not tell what became of the change.")
        if ended.cancel_asked and undone is not None and not self.begun and undone():
            raise Cancelled
        raise ended.error or StorageError("The storage system's job failed.")

    def look(self, question: Callable[[], Any]) -> Any:
        """Ask something after a change: what cannot be told then makes the change's outcome unclear."""
        try:
            return question()
        except (BackendUnavailable, BackendTimeout) as silence:
            if not self.begun:
                raise
            raise OutcomeUnclear(f"The change was made; {silence.detail}") from None

    def _told(self, refusal: StorageError) -> StorageError:
        """The refusal, with what is missing named where ONTAP did not, and saying so if a part was done."""
        if type(refusal) is NotFound:
            refusal = self._missing("It is not there (any more).", backend_error=refusal.backend_error)
        if self.begun:
            refusal.detail = f"The change was made in part; {refusal.detail}"
        return refusal


def _half_way(refusal: StorageError) -> StorageError:
    if isinstance(refusal, BackendUnavailable):
        return OutcomeUnclear(f"The change was made in part; {refusal.detail}")
    refusal.transient = False
    refusal.detail = f"The change was made in part; {refusal.detail}"
    return refusal
