"""Changes below /v3: each is a job; its request is held open until the end, and a repetition finds the same job."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import orjson
import redis
import structlog
from flask import Response, g, request

from api.http.preconditions import reject_preconditions
from api.http.problems import Problem
from api.jobs.long_polling import wait_for_end
from api.jobs.new_job import new_job
from api.jobs.submit import Submitted, job_headers, problem_of_job, result_expired, to_submitted
from api.services import Services, current_services
from api.v3.fields import as_json
from api.v3.headers import successor_path
from api.v3.settings import v3
from worker.catalog.operations import Operation
from worker.jobs.document import job_path
from worker.jobs.repeated_requests import Repeat
from worker.jobs.service import NewJob
from worker.jobs.status import JobStatus
from worker.store.client import NotReplicated, ReplyLost
from worker.store.results import SubmitOutcome

log = structlog.get_logger(__name__)

#: Retry-After (seconds) when no waiter slot is free.
_NO_PLACE_RETRY_AFTER = "5"
_MAYBE_ACCEPTED_RETRY_AFTER = "2"
_LOOK_EVERY_S = 0.2
#: How much later than the wait a response may be sent (seconds).
_ANSWER_WITHIN_S = 1.0

#: Makes the body of a success from the job's result (JSON).
Body = Callable[[bytes], bytes]


def no_body(_result: bytes) -> bytes:
    """Return an empty body, for 204."""
    return b""


def empty_text(_result: bytes) -> bytes:
    """Return the predecessor's body of most creations."""
    return as_json("")


def null(_result: bytes) -> bytes:
    """Return the predecessor's body of a change of a volume."""
    return as_json(None)


#: Bodies that do not depend on the result.
_FIXED_BODIES: tuple[Body, ...] = (no_body, empty_text, null)


def change(
    operation: Operation,
    subsystem: str,
    arguments: Mapping[str, Any],
    *,
    volume: str = "",
    fields: Mapping[str, Any] | None = None,
    status: int = HTTPStatus.CREATED,
    body: Body = empty_text,
) -> Response:
    """Submit a change, wait for its end, and answer with the outcome.

    Args:
        operation: the operation.
        subsystem: the storage system.
        arguments: the operation's arguments.
        volume: the volume as the client named it (empty: as in the arguments).
        fields: the known fields of the request's body.
        status: the status of a success.
        body: makes the body of a success.

    Raises:
        Problem: nothing was accepted, it failed, or it has not ended yet (504).
    """
    operation.check(arguments)
    reject_preconditions()
    g.held_open = True
    held_change = _HeldChange(current_services())
    new = new_job(operation, subsystem, arguments, volume=volume, keyed=True)
    repeat = None if new.idempotency_key else Repeat(_digest(new.owner_key, fields or {}), v3().settings.v3_repeat)
    with held_change.services.events.slot() as has_place:
        if not has_place:
            detail = "Too many requests are held open already. Nothing was accepted; send this again."
            raise Problem("queue-unavailable", detail, headers={"Retry-After": _NO_PLACE_RETRY_AFTER})
        return held_change.outcome(replace(new, target=successor_path(new.target), repeat=repeat), status, body)


class _HeldChange:
    """One request that is held open, for at most ``SAPI_V3_WAIT``."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._ends_at = time.monotonic() + v3().settings.v3_wait
        self._is_redis_silent = False

    def outcome(self, new: NewJob, status: int, body: Body) -> Response:
        """Submit the job, wait, and return the response of a success; otherwise raise the problem."""
        accepted, is_mine = self._submit(new)
        job_id = accepted.job_status.job.id
        holding = self.services.held_requests.holding(job_id, lambda: self._is_redis_silent)
        with holding if is_mine else nullcontext():
            ended = self._await_end(job_id)
            if ended is not None:
                response = _answer(ended, status, body)
                response.headers.update(accepted.headers)
                if new.repeat is not None and not self._is_late():
                    # As the last step: a client that gets no response may repeat the request.
                    self.services.held_requests.forget(new.repeat.digest, job_id)
                if isinstance(response, Problem):
                    raise response
                return response
        raise _under_way(job_id, accepted.headers)

    def _submit(self, new: NewJob) -> tuple[Submitted, bool]:
        """Return the job of this request, and whether it was made now."""
        held_requests, jobs = self.services.held_requests, self.services.jobs
        while True:
            try:
                outcome, job_id, job_status = jobs.accept(new)
            except (ReplyLost, NotReplicated) as lost:
                raise _maybe_accepted() from lost
            if outcome is SubmitOutcome.HELD and new.repeat is not None:
                if held_requests.is_held_open(job_id, self._is_over):
                    new = replace(new, repeat=replace(new.repeat, beside=job_id))
            elif outcome is SubmitOutcome.UNSETTLED:
                time.sleep(_LOOK_EVERY_S)
            else:
                return to_submitted(new, outcome, job_id, job_status), outcome is SubmitOutcome.NEW
            if self._is_over():
                raise _under_way(job_id)

    def _await_end(self, job_id: str) -> tuple[JobStatus, bytes | None] | None:
        """Wait for the end; return the job and its result, which is None when it is kept no longer.

        None if the wait is over before, or Redis is unavailable.
        """
        try:
            job_status = wait_for_end(self.services, job_id, self._remaining_s(), has_slot=True)
            if job_status is None or not job_status.job.done:
                self._is_redis_silent = job_status is None
                return None
            return job_status, job_status.result or self.services.jobs.result(job_id)
        except redis.RedisError as error:
            log.warning("held-request.redis-unavailable", job_id=job_id, error=type(error).__name__)
            self._is_redis_silent = True
            return None

    def _remaining_s(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def _is_late(self) -> bool:
        """Is the response so late (the process was paused) that a proxy may have closed the connection?"""
        return time.monotonic() > self._ends_at + _ANSWER_WITHIN_S

    def _is_over(self) -> bool:
        return not self._remaining_s() or self.services.stopping.is_set()


def _answer(ended: tuple[JobStatus, bytes | None], status: int, body: Body) -> Response | Problem:
    job_status, result = ended
    problem = problem_of_job(job_status.job)
    if problem is not None:
        return problem
    if result is None and body not in _FIXED_BODIES:
        return result_expired(job_status.job.id)
    response = Response(body(result or b""), status, content_type="application/json")
    if status == HTTPStatus.NO_CONTENT:
        del response.headers["Content-Type"]
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(job_headers(job_status.job.id))
    return response


def _maybe_accepted() -> Problem:
    return Problem(
        "queue-unavailable",
        "Redis went away while this was recorded, so that it may have been accepted all the same. Send the same "
        "request again: it finds its job, and nothing is done twice.",
        headers={"Retry-After": _MAYBE_ACCEPTED_RETRY_AFTER},
    )


def _under_way(job_id: str, headers: Mapping[str, str] | None = None) -> Problem:
    path = job_path(job_id)
    return Problem(
        "job-not-finished",
        f"The request was accepted, and is still under way. See {path}, or send the same request again to wait for it.",
        status=504,
        headers={**job_headers(job_id), **(headers or {})},
        extra={"job": path},
    )


def _digest(requester_id: str, fields: Mapping[str, Any]) -> str:
    """Return the digest that identifies a request: caller, method, path and fields."""
    parts = [requester_id, request.method, request.path, fields]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
