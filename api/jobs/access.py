"""Who may see a job, and who may stop it; for other users it does not exist."""

from __future__ import annotations

from api.auth import Principal, audit, principal, require
from api.http.problems import Problem
from api.services import current_services
from worker.catalog.operations import Role
from worker.jobs.ids import is_uuid7
from worker.jobs.query import key_of
from worker.jobs.record import Job
from worker.jobs.status import JobStatus


def visible_job(job_id: str) -> JobStatus:
    """Return a job that the user may see.

    Raises:
        Problem: `no-such-job` (also for those who may not see it) or `job-expired`.
    """
    job_status = job_for(job_id)
    who, job = principal(), job_status.job
    may = is_requester(who, job) or job.roles <= who.roles or Role.UBER_ADMIN in who.roles
    roles = ", ".join(sorted(job.roles))
    audit.decide(who=who.name, auth_method=who.method, role=roles, target=job.target, job_id=job.id, allowed=may)
    if may:
        return job_status
    audit.decide(reason="not-their-job")
    raise _no_such_job()


def job_for(job_id: str) -> JobStatus:
    """Return a job, without a check of rights.

    Raises:
        Problem: `no-such-job` or `job-expired`.
    """
    jobs, job_id = current_services().jobs, job_id.lower()
    # Where Redis has lost its data, or is another one, processes sign ids with different secrets: the record counts.
    job_status = jobs.get(job_id) if is_uuid7(job_id) else None
    if job_status is not None:
        return job_status
    if jobs.was_issued(job_id):
        raise Problem("job-expired", "The job was there; its record is kept no longer.")
    raise _no_such_job()


def is_requester(who: Principal, job: Job) -> bool:
    """Did this user request it? False for anonymous clients, which cannot be distinguished."""
    return who.signed_in and job.is_of(key_of(who.owner))


def require_operator_of(job: Job) -> Principal:
    """Return the user if they may stop the job: its requester, or UBER_ADMIN.

    Raises:
        Problem: `missing-role`.
    """
    who = principal()
    return who if is_requester(who, job) else require(Role.UBER_ADMIN, operation="cancel_job", target=job.target)


def may_stop(job: Job) -> bool:
    """May the user stop the job, as its requester or with UBER_ADMIN?"""
    who = principal()
    return is_requester(who, job) or Role.UBER_ADMIN in who.roles


def _no_such_job() -> Problem:
    return Problem("no-such-job", "There was never a job of this id, or you may not see it.")
