"""The changes that one operation makes on the filer: each marked first, sent once, and followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from storage_backends.errors import (
    BackendTimeout,
    BackendUnavailable,
    NotFound,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import Cancelled, Journal
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.fields import Fields
from storage_backends.netapp.ontap.jobs import JobFollower, OntapJobState
from storage_backends.netapp.ontap.lookups import require_svm
from storage_backends.netapp.ontap.queries import Query
from storage_backends.netapp.ontap.responses import Answer, Json

#: How long a later step of a change is tried again when it is refused for being busy, in seconds.
PATIENCE_S = 30.0
#: The pause between two attempts at a later step, in seconds.
PAUSE_S = 1.0
#: How long what was made may take to show, in seconds; and the first pause between two looks.
VISIBLE_S, FIRST_PAUSE_S = 30.0, 0.1
#: What is left of the job's time by then, so that its end can be told, in seconds.
LEAST_LEFT_S = 5.0
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Query
    body: Json


class Mutation:
    """One operation under way.

    Before its first step took effect, a refusal that may pass is handed up as it is: the whole may be tried again.
    After that, the step is tried again here, and what cannot be finished becomes ``OutcomeUnclear``: the rest is then
    done, or told, by settling.
    """

    def __init__(self, client: OntapClient, journal: Journal, *, missing: type[NotFound] = NotFound) -> None:
        self.client = client
        self.journal = journal
        #: Has any step taken effect?
        self.partially_applied = False
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
        is_absent: Callable[[], bool] | None = None,
        **facts: str,
    ) -> Answer:
        """Mark and send one change, wait for the filer's job if it makes one, and return the filer's answer.

        ``is_absent`` makes the step cancellable: it tells, after a cancelled job, whether nothing of it is there.

        Raises:
            Cancelled: the filer's job was cancelled, and nothing of it is there.
            OutcomeUnclear, StorageError, Stopped: as ``StorageBackend`` says.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._send(step, _Request(method, path, query or {}, body or {}), is_absent, facts)
            except (BackendUnavailable, ResourceBusy) as refusal:
                if not self.partially_applied:
                    raise
                if not refusal.transient or time.monotonic() > until:
                    raise _half_way(refusal) from None
                self.journal.wait(PAUSE_S)
            except StorageError as refusal:
                raise self._annotate(refusal) from None
            else:
                self.partially_applied = True
                return answer

    def _send(
        self, step: str, request: _Request, is_absent: Callable[[], bool] | None, facts: dict[str, str]
    ) -> Answer:
        self.client.honour_retry_after(self.journal)  # Before the mark: nothing is unclear about what was never sent.
        url = f"{request.method} /api{request.path}"
        self.journal.record_intent(step, steps_done=self._steps, url=url, **facts)
        self._steps += 1
        answer = self.client.change(request.method, request.path, request.query, request.body, journal=self.journal)
        is_done = answer.status != HTTPStatus.ACCEPTED
        uuid = Fields(answer.body).text("job.uuid")
        if uuid:
            self.journal.backend_job(uuid, cancellable=is_absent is not None)
            self._await(uuid, is_absent, is_done=is_done)
        elif not is_done:
            raise OutcomeUnclear("The storage system took the change and did not name its job.")
        return answer

    def _await(self, uuid: str, is_absent: Callable[[], bool] | None, *, is_done: bool) -> None:
        """Wait for the job's end; one that the filer cannot tell is success where it said so before (``is_done``)."""
        ended = JobFollower(self.client, uuid, self.journal, cancellable=is_absent is not None).follow()
        if ended.end is OntapJobState.SUCCESS or (is_done and ended.end is not OntapJobState.FAILURE):
            return
        if ended.end is not OntapJobState.FAILURE:
            raise OutcomeUnclear("The storage system does not tell what became of the change.")
        if ended.cancel_asked and is_absent is not None and not self.partially_applied and self._is_gone(is_absent):
            raise Cancelled
        raise ended.error or StorageError("The storage system's job failed.")

    def _is_gone(self, is_absent: Callable[[], bool]) -> bool:
        """Is certainly nothing there of a step that was cancelled?"""
        try:
            if not is_absent():
                return False
            require_svm(self.client, journal=self.journal)
        except (BackendUnavailable, BackendTimeout) as silence:
            raise OutcomeUnclear(f"The change was cancelled; {silence.detail}") from None
        return True

    def look(self, question: Callable[[], Value]) -> Value:
        """Ask something after a change: what cannot be told then makes the change's outcome unclear."""
        try:
            return question()
        except (BackendUnavailable, BackendTimeout) as silence:
            if not self.partially_applied:
                raise
            raise OutcomeUnclear(f"The change was made; {silence.detail}") from None

    def await_visible(self, question: Callable[[], Value], *, missing: type[NotFound] = NotFound) -> Value:
        """Ask, after a change, for what it made; a filer may not show that at once, so it is asked again for a while.

        ``missing`` is what ``question`` raises until it shows.

        Raises:
            OutcomeUnclear: it does not show, or the filer does not answer.
        """
        until = time.monotonic() + min(VISIBLE_S, max(0.0, self.journal.seconds_left - LEAST_LEFT_S))
        pause = FIRST_PAUSE_S
        while True:
            try:
                return self.look(question)
            except missing as reason:
                if not self.partially_applied:
                    raise
                if time.monotonic() > until:
                    raise OutcomeUnclear(f"The change was made; {reason.detail}") from None
            self.journal.wait(pause)
            pause = min(PAUSE_S, pause * 2)

    def _annotate(self, refusal: StorageError) -> StorageError:
        """The refusal, with what is missing named where ONTAP did not, and saying so if a part was done."""
        if type(refusal) is NotFound:
            refusal = self._missing("It is not there (any more).", backend_error=refusal.backend_error)
        if self.partially_applied:
            refusal.detail = f"The change was made in part; {refusal.detail}"
        return refusal


def _half_way(refusal: StorageError) -> StorageError:
    if isinstance(refusal, BackendUnavailable):
        return OutcomeUnclear(f"The change was made in part; {refusal.detail}")
    refusal.transient = refusal.retryable = False
    refusal.detail = f"The change was made in part; {refusal.detail}"
    return refusal
