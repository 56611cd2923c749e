"""Jobs: shown, listed, cancelled, retried, or resolved by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import orjson
from flask import Response, request
from flask.views import MethodView

from api import auth
from api.batches.results import batch_result
from api.batches.submit import accept_batch_retry, retry_batch
from api.http.bodies import require_empty_body
from api.http.preconditions import reject_preconditions
from api.http.preferences import preferences
from api.http.problems import Problem
from api.jobs import bulk, manual_resolution
from api.jobs import listing as job_lists
from api.jobs.access import job_for, require_operator_of, visible_job
from api.jobs.long_polling import wait_for
from api.jobs.submit import resubmit
from api.openapi import operations as documentation
from api.openapi.blueprint import ANYONE, SIGNED_IN, Blueprint, View
from api.reads import job_results as results
from api.schemas.jobs import (
    CancelledJobsSchema,
    JobFilterSchema,
    JobQuerySchema,
    JobSchema,
    RetriedJobsSchema,
)
from api.schemas.resources import SettlementSchema
from api.services import current_services
from worker.catalog.operations import Role
from worker.jobs.document import job_document
from worker.jobs.record import State
from worker.jobs.status import JobStatus

blp = Blueprint("jobs", __name__, url_prefix="/v4/jobs", description="Jobs")

_JOB_HEADERS = (
    documentation.REQUEST_ID | documentation.RETRY_AFTER | {"ETag": documentation.header("The record's version")}
)
_ACTION = (404, 409, 410, 413, 415)


def job_response(job_status: JobStatus, status: int = 200) -> Response:
    """Return the job, with its version and when to ask again."""
    response = Response(orjson.dumps(job_document(job_status)), status, content_type="application/json")
    return _with_version(response, job_status)


def _with_version(response: Response, job_status: JobStatus) -> Response:
    response.set_etag(str(job_status.job.version))
    response.headers["Cache-Control"] = "private, no-cache"
    if not job_status.job.done:
        response.headers["Retry-After"] = str(job_status.retry_after_s)
    return response


@blp.route("")
class JobsView(MethodView):
    """Jobs: one's own, or all that one may see."""

    @blp.exposes("list_jobs", access=SIGNED_IN, query=True)
    @blp.arguments(JobQuerySchema, location="query")
    @blp.doc(responses=documentation.PAGE)
    @blp.response(
        200, JobSchema(many=True), headers=documentation.REQUEST_ID | {"Link": documentation.header("The next page")}
    )
    def get(self, query):
        """List jobs

        Your own, or with `all=true` all that you may see; newest first.
        """
        return job_lists.list_jobs(query)


@blp.route("/cancel")
class CancelJobsView(MethodView):
    """Asking many jobs to stop."""

    @blp.exposes("cancel_jobs", access=SIGNED_IN, problems=(413, 415))
    @blp.arguments(JobFilterSchema, example={"volume": "dbvol01", "state": "queued"})
    @blp.response(200, CancelledJobsSchema, headers=documentation.REQUEST_ID)
    def post(self, query):
        """Cancel all jobs that a filter names

        At most 1,000, unfinished ones first. `refused` has those that cannot be cancelled, with the reason for each.
        """
        reject_preconditions()
        return bulk.cancel_jobs(query)


@blp.route("/retry")
class RetryJobsView(MethodView):
    """Doing many jobs again."""

    @blp.exposes("retry_jobs", access=SIGNED_IN, problems=(413, 415))
    @blp.arguments(JobFilterSchema, example={"volume": "dbvol01", "state": "failed,cancelled"})
    @blp.doc(parameters=[documentation.IDEMPOTENCY])
    @blp.response(200, RetriedJobsSchema, headers=documentation.REQUEST_ID)
    def post(self, query):
        """Do all failed or cancelled jobs again that a filter names

        At most 1,000. `retried` has the new jobs; each names the old one in `retry_of`.
        """
        reject_preconditions()
        return bulk.retry_jobs(query, accept_batch_retry)


@blp.route("/<job_id>")
class JobView(MethodView):
    """One job."""

    @blp.exposes("get_job", access=ANYONE, problems=(410,))
    @blp.doc(parameters=[documentation.PREFER, documentation.IF_NONE_MATCH], responses=documentation.PAGE)
    @blp.response(304, description="Not modified", headers=_JOB_HEADERS | documentation.APPLIED)
    @blp.response(200, JobSchema, headers=_JOB_HEADERS | documentation.APPLIED)
    def get(self, job_id):
        """Show a job

        With `Prefer: wait=N` the answer comes as soon as the job has ended; with `If-None-Match` besides, as soon as it
        has changed.
        """
        job_status = visible_job(job_id)
        job_id = job_status.job.id
        preference = preferences(request, current_services().config.max_wait)
        if preference.wait_s and not _has_changed(job_status):
            job_status = (
                wait_for(current_services(), job_id, preference.wait_s, _has_changed, end=not request.if_none_match)
                or job_status
            )
        response = (
            _with_version(Response(status=304), job_status)
            if _is_client_version(job_status)
            else job_response(job_status)
        )
        if preference.wait_s is not None:
            response.headers["Preference-Applied"] = preference.applied()
        return response


def _has_changed(job_status: JobStatus) -> bool:
    """Is this what a client that waits is waiting for? One that has a version waits for another, else for the end."""
    return job_status.job.done or (bool(request.if_none_match) and not _is_client_version(job_status))


def _is_client_version(job_status: JobStatus) -> bool:
    """Does the client have this version?"""
    return request.if_none_match.contains_weak(str(job_status.job.version))


@blp.route("/<job_id>/result")
class ResultView(MethodView):
    """What a job led to."""

    @blp.exposes("get_job_result", access=ANYONE, problems=(409, 410, 501, 502, 504), query=True)
    @blp.doc(parameters=documentation.PAGING)
    @blp.response(304, description="Not modified", headers=documentation.RESULT[304])
    @blp.response(204, description="As the call: there is nothing to show", headers=documentation.RESULT[204])
    @blp.response(201, {}, description="As the call: what is there now", headers=documentation.RESULT[201])
    @blp.response(200, {}, description="As the call: what was read or changed", headers=documentation.RESULT[200])
    def get(self, job_id):
        """Show what the synchronous call would have answered

        Its status, headers and body; of a listing also by page, with the query parameters of the collection.
        """
        job_status = visible_job(job_id)
        return batch_result(job_status) if job_status.job.is_batch else results.result_of(job_status)


@blp.route("/<job_id>/cancel")
class CancelView(MethodView):
    """Asking a job to stop."""

    @blp.exposes("cancel_job", access=SIGNED_IN, problems=_ACTION)
    @blp.response(202, JobSchema, description="Cancelling", headers=_JOB_HEADERS)
    @blp.response(200, JobSchema, description="Cancelled", headers=_JOB_HEADERS)
    def post(self, job_id):
        """Cancel a job

        A queued job never starts. A running change is cancelled only where that is safe.
        """
        job = visible_job(job_id).job
        who = require_operator_of(job)
        require_empty_body()
        reject_preconditions()
        services = current_services()
        word = (services.batches if job.is_batch else services.jobs).cancel(job.id, who.name)
        if word == "SHARED":
            raise Problem("job-shared", "Others wait for this read, too.")
        if word == "TOO_LATE":
            raise Problem("job-not-cancellable", "The job has ended, or its change has gone too far to be stopped.")
        job_status = job_for(job.id)
        return job_response(job_status, 200 if job_status.job.state is State.CANCELLED else 202)


@blp.route("/<job_id>/retry")
class RetryView(MethodView):
    """Doing again what a job was to do."""

    @blp.exposes("retry_job", access=ANYONE, problems=(*_ACTION, 501, 502, 504))
    @blp.doc(parameters=[documentation.PREFER, documentation.IDEMPOTENCY, documentation.CALLBACK])
    @blp.response(
        204, description="As the call, with `Prefer: wait`: nothing to show", headers=documentation.RESULT[204]
    )
    @blp.response(201, {}, description="As the call, with `Prefer: wait`", headers=documentation.RESULT[201])
    @blp.response(200, {}, description="As the call, with `Prefer: wait`", headers=documentation.RESULT[200])
    @blp.response(202, JobSchema, description="Accepted: follow the new job", headers=documentation.ACCEPTED)
    def post(self, job_id):
        """Do a failed or cancelled job again

        By a new job, which names this one in `retry_of`.
        """
        job = visible_job(job_id).job
        for role in sorted(job.roles):
            auth.require(role, operation="retry_job", target=job.target)
        require_empty_body()
        reject_preconditions()
        if not job.done:
            headers = {"Retry-After": str(job_for(job.id).retry_after_s)}
            raise Problem("job-not-finished", "The job has not ended yet.", headers=headers)
        if job.state is State.SUCCEEDED:
            raise Problem("job-not-retryable", "The job succeeded: there is nothing to do again.")
        return retry_batch(job) if job.is_batch else resubmit(job)


def _only_with(role: Role) -> Callable[[View], View]:
    """Let only those call a view of a job who have the role; to those who may not see it there is no such job."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(self: MethodView, job_id: str) -> Any:
            auth.require(role, operation="settle_job", target=visible_job(job_id).job.target)
            return view(self, job_id=job_id)

        return checked  # type: ignore[return-value]

    return decorate


@blp.route("/<job_id>/settle")
class SettleView(MethodView):
    """An operator's word on a change whose outcome is unknown."""

    @blp.exposes("settle_job", access=SIGNED_IN, problems=_ACTION)
    @_only_with(Role.UBER_ADMIN)
    @blp.arguments(SettlementSchema, example={"outcome": "failed"})
    @blp.response(200, JobSchema, headers=_JOB_HEADERS)
    def post(self, body, job_id):
        """Say what became of a change that is being looked for

        Needs UBER_ADMIN. For a change that reconciliation cannot resolve, whose volume must not stay blocked.
        """
        reject_preconditions()
        manual_resolution.force_outcome(visible_job(job_id).job, body["outcome"])
        return job_response(job_for(job_id))
