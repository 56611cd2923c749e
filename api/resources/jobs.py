"""Jobs: what became of a request; cancelled, done again, or settled by hand."""

from __future__ import annotations

import orjson
from flask import Response, request
from flask.views import MethodView

from api import auth
from api.http.bodies import expect_none
from api.http.preferences import preferences
from api.http.problems import Problem
from api.jobs import listing as job_lists
from api.jobs import manual_resolution as settlements
from api.jobs.access import job_for, require_operator_of, shown_job
from api.jobs.long_polling import wait_for
from api.jobs.representation import job_document
from api.jobs.submit import resubmit
from api.openapi import operations as documentation
from api.openapi.blueprint import ANYONE, SIGNED_IN, Blueprint
from api.reads import job_results as results
from api.schemas.jobs import JobQuerySchema, JobSchema
from api.schemas.resources import SettlementSchema
from api.services import parts
from worker.catalog.operations import Role
from worker.jobs.record import State
from worker.jobs.status import ShownJob

blp = Blueprint("jobs", __name__, url_prefix="/v4/jobs", description="Jobs")

_JOB_HEADERS = (
    documentation.REQUEST_ID | documentation.RETRY_AFTER | {"ETag": documentation.header("The record's version")}
)
_ACTION = (404, 409, 410, 413, 415)


def job_response(shown: ShownJob, status: int = 200) -> Response:
    """Return the job, with its version and when to ask again."""
    response = Response(orjson.dumps(job_document(shown)), status, content_type="application/json")
    return _with_version(response, shown)


def _with_version(response: Response, shown: ShownJob) -> Response:
    response.set_etag(str(shown.job.version))
    response.headers["Cache-Control"] = "private, no-cache"
    if not shown.job.done:
        response.headers["Retry-After"] = str(shown.retry_after_s)
    return response


@blp.route("")
class JobsView(MethodView):
    """One's own jobs."""

    @blp.serves("list_jobs", access=SIGNED_IN, query=True)
    @blp.arguments(JobQuerySchema, location="query")
    @blp.response(
        200, JobSchema(many=True), headers=documentation.REQUEST_ID | {"Link": documentation.header("The next page")}
    )
    def get(self, query):
        """List your jobs

        Newest first.
        """
        return job_lists.own_jobs(query)


@blp.route("/<job_id>")
class JobView(MethodView):
    """One job."""

    @blp.serves("get_job", access=ANYONE, problems=(410,))
    @blp.doc(parameters=[documentation.PREFER, documentation.IF_NONE_MATCH])
    @blp.response(304, description="Not modified", headers=_JOB_HEADERS)
    @blp.response(200, JobSchema, headers=_JOB_HEADERS)
    def get(self, job_id):
        """Show a job

        With `Prefer: wait=N` the answer comes as soon as the job has ended; with `If-None-Match` besides, as soon as it
        has changed.
        """
        shown = shown_job(job_id)
        wanted = preferences(request, parts().config.max_wait)
        if wanted.wait_s and not _is_news(shown):
            shown = wait_for(parts(), job_id, wanted.wait_s, _is_news, end=not request.if_none_match) or shown
        response = _with_version(Response(status=304), shown) if _is_known(shown) else job_response(shown)
        if wanted.wait_s is not None:
            response.headers["Preference-Applied"] = wanted.applied()
        return response


def _is_news(shown: ShownJob) -> bool:
    """Is this what a client that waits is waiting for? One that has a version waits for another, else for the end."""
    return shown.job.done or (bool(request.if_none_match) and not _is_known(shown))


def _is_known(shown: ShownJob) -> bool:
    """Does the client have this version?"""
    return request.if_none_match.contains_weak(str(shown.job.version))


@blp.route("/<job_id>/result")
class ResultView(MethodView):
    """What a job led to."""

    @blp.serves("get_job_result", access=ANYONE, problems=(409, 410, 501, 502, 504), query=True)
    @blp.doc(parameters=documentation.PAGING)
    @blp.response(304, description="Not modified")
    @blp.response(204, description="As the call: there is nothing to show")
    @blp.response(201, {}, description="As the call: what is there now", headers=documentation.REQUEST_ID)
    @blp.response(200, {}, description="As the call: what was read or changed", headers=documentation.REQUEST_ID)
    def get(self, job_id):
        """Show what the synchronous call would have answered

        Its status, headers and body; of a listing also by page, with the query parameters of the collection.
        """
        return results.result_of(shown_job(job_id))


@blp.route("/<job_id>/cancel")
class CancelView(MethodView):
    """Asking a job to stop."""

    @blp.serves("cancel_job", access=SIGNED_IN, problems=_ACTION)
    @blp.response(202, JobSchema, description="Cancelling", headers=_JOB_HEADERS)
    @blp.response(200, JobSchema, description="Cancelled", headers=_JOB_HEADERS)
    def post(self, job_id):
        """Cancel a job

        A queued job never starts. A running change is cancelled only where that is safe.
        """
        job = shown_job(job_id).job
        expect_none()
        who = require_operator_of(job)
        word = parts().jobs.cancel(job_id, who.name)
        if word == "SHARED":
            raise Problem("job-shared", "Others wait for this read, too.")
        if word == "TOO_LATE":
            raise Problem("job-not-cancellable", "The job has ended, or its change has gone too far to be stopped.")
        shown = job_for(job_id)
        return job_response(shown, 200 if shown.job.state is State.CANCELLED else 202)


@blp.route("/<job_id>/retry")
class RetryView(MethodView):
    """Doing again what a job was to do."""

    @blp.serves("retry_job", access=ANYONE, problems=(*_ACTION, 501, 502, 504))
    @blp.response(202, JobSchema, description="Accepted: follow the new job", headers=documentation.ACCEPTED)
    def post(self, job_id):
        """Do a failed or cancelled job again

        By a new job, which names this one in `retry_of`.
        """
        job = shown_job(job_id).job
        expect_none()
        auth.require(job.operation.role, operation="retry_job", target=job.target)
        if not job.done:
            headers = {"Retry-After": str(job_for(job_id).retry_after_s)}
            raise Problem("job-not-finished", "The job has not ended yet.", headers=headers)
        if job.state is State.SUCCEEDED:
            raise Problem("job-not-retryable", "The job succeeded: there is nothing to do again.")
        return resubmit(job)


@blp.route("/<job_id>/settle")
class SettleView(MethodView):
    """An operator's word on a change whose outcome is unknown."""

    @blp.serves("settle_job", access=Role.UBER_ADMIN, problems=_ACTION)
    @blp.arguments(SettlementSchema)
    @blp.response(200, JobSchema, headers=_JOB_HEADERS)
    def post(self, body, job_id):
        """Say what became of a change that is being looked for

        For when looking at the storage system cannot tell and its volume must not be held any longer.
        """
        settlements.settle(shown_job(job_id).job, body["outcome"])
        return job_response(job_for(job_id))
