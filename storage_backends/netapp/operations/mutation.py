"""The changes of one operation on the filer: each with an intent, sent once, and awaited until its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from storage_backends.errors import (
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

#: How long a later step of a change is retried when the filer is busy (seconds).
PATIENCE_S = 30.0
#: The pause between two attempts of a later step (seconds).
PAUSE_S = 1.0
#: How long a new object may take to become visible (seconds); and the first pause between two reads.
VISIBLE_S, FIRST_PAUSE_S = 30.0, 0.1
#: How much of the job's time must be left then, to record its end (seconds).
LEAST_LEFT_S = 5.0
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Query
    body: Json


class StepPending(Exception):
    """An earlier request of the step may still arrive: it must not be sent again yet."""


class Mutation:
    """One operation in progress.

    Before its first step took effect, a transient refusal is raised unchanged: the whole operation may be retried.
    Afterwards, the step is retried here, and if that fails, ``OutcomeUnclear`` is raised: reconciliation then
    completes or reports the change.
    """

    def __init__(self, client: OntapClient, journal: Journal, *, missing: type[NotFound] = NotFound) -> None:
        self.client = client
        self.journal = journal
        #: Has any step taken effect?
        self.partially_applied = False
        #: The step that another worker has sent, and whose request may still arrive.
        self.pending_step: str | None = None
        self._steps = 0
        #: The last step and its facts, where the filer's answer said that it is done, and no job of its own will.
        self._answered: tuple[str, dict[str, str]] | None = None
        #: The error for ONTAP's "entry doesn't exist".
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
        """Record the intent, send one change, wait for the filer's job if there is one, and return the response.

        ``is_absent`` makes the step cancellable: it returns, after a cancelled job, whether nothing of it was done.

        Raises:
            Cancelled: the filer's job was cancelled, and nothing of it was done.
            StepPending: an earlier request of the step may still arrive.
            OutcomeUnclear, StorageError, Interrupted: as in ``StorageBackend``.
        """
        if step == self.pending_step and method != "DELETE":  # What a DELETE names by its uuid never exists again.
            raise StepPending
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._send(step, _Request(method, path, query or {}, body or {}), is_absent, facts)
            except (BackendUnavailable, ResourceBusy) as refusal:
                if not self.partially_applied:
                    raise
                if not refusal.transient or time.monotonic() > until:
                    raise as_partial_change(refusal) from None
                self.journal.wait(PAUSE_S)
            except StorageError as refusal:
                raise self._annotate(refusal) from None
            else:
                self.partially_applied = True
                return answer

    def _send(
        self, step: str, request: _Request, is_absent: Callable[[], bool] | None, facts: dict[str, str]
    ) -> Answer:
        self.client.honour_retry_after(self.journal)  # Before the intent: what was never sent is not in doubt.
        url = f"{request.method} /api{request.path}"
        earlier = "yes" if self.partially_applied else ""
        facts = {"url": url, "earlier_steps": earlier, "answered": "", **facts}
        self.journal.record_intent(step, steps_done=self._steps, **facts)
        self._steps, self._answered = self._steps + 1, None
        answer = self.client.change(request.method, request.path, request.query, request.body, journal=self.journal)
        is_done = answer.status != HTTPStatus.ACCEPTED
        uuid = Fields(answer.body).text("job.uuid")
        if uuid:
            self.journal.backend_job(uuid, cancellable=is_absent is not None)
            self._await(uuid, is_absent, is_done=is_done)
        elif not is_done:
            raise OutcomeUnclear("The storage system took the change and did not name its job.")
        else:
            self._answered = (step, facts)
        return answer

    def _await(self, uuid: str, is_absent: Callable[[], bool] | None, *, is_done: bool) -> None:
        """Wait for the job's end; an unknown outcome is a success if the response said so (``is_done``)."""
        ended = JobFollower(self.client, uuid, self.journal, cancellable=is_absent is not None).follow()
        if ended.end is OntapJobState.SUCCESS or (is_done and ended.end is not OntapJobState.FAILURE):
            return
        if ended.end is not OntapJobState.FAILURE:
            raise OutcomeUnclear("The storage system does not tell what became of the change.")
        if ended.cancel_requested and is_absent is not None and not self.partially_applied and self._is_gone(is_absent):
            raise Cancelled
        raise ended.error or StorageError("The storage system's job failed.")

    def _is_gone(self, is_absent: Callable[[], bool]) -> bool:
        """Was certainly nothing done of a cancelled step?"""
        try:
            if not is_absent():
                return False
            require_svm(self.client, journal=self.journal)
        except StorageError as failure:
            raise _unseen("The change was cancelled", failure) from None
        return True

    def look(self, question: Callable[[], Value]) -> Value:
        """Read after a change; a failure of the read makes the outcome of the change unclear.

        Raises:
            NotFound: the object is not there.
            OutcomeUnclear: the filer does not answer, or refuses the read, which says nothing about the change.
        """
        try:
            return question()
        except NotFound:
            raise
        except StorageError as failure:
            if not self.partially_applied:
                raise
            self._record_answer()
            raise _unseen("The change was made", failure) from None

    def await_visible(self, question: Callable[[], Value], *, missing: type[NotFound] = NotFound) -> Value:
        """Read a new object after a change, with retries, since a filer may not show it at once.

        ``missing`` is the exception of ``question`` while it is not visible.

        Raises:
            OutcomeUnclear: it does not become visible, or the filer does not answer.
        """
        until = time.monotonic() + min(VISIBLE_S, max(0.0, self.journal.seconds_left - LEAST_LEFT_S))
        pause = FIRST_PAUSE_S
        while True:
            try:
                return self.look(question)
            except missing as reason:
                if time.monotonic() > until:
                    self._record_answer()
                    raise OutcomeUnclear(f"The change was made; {reason.detail}") from None
            self.journal.wait(pause)
            pause = min(PAUSE_S, pause * 2)

    def _record_answer(self) -> None:
        """Record that the filer said the last step is done: what does not show may still not count as not made."""
        if self._answered is not None:
            step, facts = self._answered
            self.journal.record_intent(step, steps_done=self._steps, **facts | {"answered": "yes"})

    def _annotate(self, refusal: StorageError) -> StorageError:
        """Return the refusal, with the missing object if ONTAP does not name it, and a note if a part was done."""
        if type(refusal) is NotFound:
            refusal = self._missing("It is not there (any more).", backend_error=refusal.backend_error)
        return as_partial_change(refusal) if self.partially_applied else refusal


def _unseen(what_happened: str, failure: StorageError) -> OutcomeUnclear:
    return OutcomeUnclear(f"{what_happened}; {failure.detail}", backend_error=failure.backend_error)


def as_partial_change(refusal: StorageError) -> StorageError:
    """Return the refusal of a step after others took effect: the whole change must not be sent again for it."""
    if isinstance(refusal, BackendUnavailable):
        return OutcomeUnclear(f"The change was made in part; {refusal.detail}")
    refusal.transient = refusal.retryable = False
    refusal.detail = f"The change was made in part; {refusal.detail}"
    return refusal
