"""Every problem type (RFC 9457): its HTTP status, title and meaning."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

#: How many errors one response lists at most.
MOST_ERRORS = 20


class ProblemType(NamedTuple):
    """One problem type, with the same status and title wherever it occurs."""

    status: int
    title: str
    meaning: str
    #: May the same request work later, unchanged? (A problem at hand may know better.)
    retryable: bool = False


PROBLEM_TYPES: dict[str, ProblemType] = {
    "invalid-request": ProblemType(
        400,
        "Invalid request",
        "The request is malformed: its JSON or one of its headers. Mend it before sending it again.",
    ),
    "unauthenticated": ProblemType(401, "Not signed in", "Sign in at /login, or send a bearer token."),
    "missing-role": ProblemType(
        403,
        "Missing role",
        "The operation asks for a role that you do not have. Roles are distinct: none contains another.",
    ),
    "cross-site-request": ProblemType(
        403, "Cross-site request", "A page of another site tried to change something in your name. It was refused."
    ),
    "not-found": ProblemType(404, "Not found", "There is nothing at this address."),
    "no-such-subsystem": ProblemType(
        404, "No such subsystem", "No storage system of this name is configured; see /conf/subsystems."
    ),
    "no-such-volume": ProblemType(404, "No such volume", "There is no such volume, or it was restricted."),
    "no-such-snapshot": ProblemType(404, "No such snapshot", "The volume has no snapshot of this name."),
    "no-such-policy": ProblemType(404, "No such export policy", "There is no export policy of this name."),
    "no-such-job": ProblemType(404, "No such job", "There was never a job of this id, or you may not see it."),
    "method-not-allowed": ProblemType(
        405, "Method not allowed", "This address does not take this method; the Allow header lists those that it takes."
    ),
    "already-exists": ProblemType(409, "Already exists", "The name or the junction path is taken."),
    "lock-held": ProblemType(409, "Lock held", "Another host holds the lock."),
    "policy-in-use": ProblemType(409, "Export policy in use", "A volume still uses the export policy."),
    "resource-busy": ProblemType(
        409, "Resource busy", "Another operation is under way on the object; nothing was changed.", retryable=True
    ),
    "not-a-data-volume": ProblemType(
        409,
        "Not a data volume",
        "The volume is a copy that the storage system keeps, or the root of its namespace: it is shown, never changed.",
    ),
    "too-many-snapshots": ProblemType(
        409, "Too many snapshots", "The storage system's limit is reached. Delete one, or ask with purge_old_if_needed."
    ),
    "batch-failed": ProblemType(
        409,
        "Batch failed",
        "Not all members succeeded. The batch's result says what became of each; retry it for those.",
    ),
    "job-not-finished": ProblemType(
        409, "Job not finished", "Ask again after the time in Retry-After.", retryable=True
    ),
    "job-cancelled": ProblemType(409, "Job cancelled", "The job was cancelled, and has no result."),
    "job-not-cancellable": ProblemType(
        409, "Job not cancellable", "The job has ended, or its change has gone too far to be stopped."
    ),
    "job-shared": ProblemType(409, "Job shared", "Others wait for this read, too."),
    "job-not-retryable": ProblemType(409, "Job not retryable", "The job succeeded: there is nothing to do again."),
    "job-not-settling": ProblemType(
        409, "Job not in doubt", "Only a change whose outcome is in doubt can be resolved by hand."
    ),
    "job-expired": ProblemType(410, "Job expired", "The job was there; its record is kept no longer."),
    "result-expired": ProblemType(410, "Result expired", "The job's result is kept no longer."),
    "page-token-expired": ProblemType(
        410, "Page token expired", "The listing that the token pages through is kept no longer. Begin again without it."
    ),
    "precondition-failed": ProblemType(
        412, "Precondition failed", "Changes cannot be made conditional. Send the request without If-Match."
    ),
    "body-too-large": ProblemType(413, "Body too large", "The request's body is larger than the service takes."),
    "url-too-long": ProblemType(414, "URL too long", "The request's URL is longer than the service takes."),
    "unsupported-media-type": ProblemType(
        415, "Unsupported media type", "Bodies are JSON: send Content-Type: application/json."
    ),
    "validation-failed": ProblemType(
        422, "Validation failed", "The request is well-formed, but not possible; see errors for what to mend."
    ),
    "idempotency-key-reused": ProblemType(
        422, "Idempotency key reused", "The key was used for another request. Choose a new one."
    ),
    "queue-full": ProblemType(
        429, "Queue full", "Too many jobs wait already. Come back after the time in Retry-After.", retryable=True
    ),
    "rate-limited": ProblemType(
        429, "Too many requests", "You ask too often. Come back after the time in Retry-After.", retryable=True
    ),
    "headers-too-large": ProblemType(
        431, "Headers too large", "The request's headers are larger than the service takes."
    ),
    "internal-error": ProblemType(500, "Internal error", "The service made a mistake. Report it with the request id."),
    "worker-lost": ProblemType(
        500, "Worker lost", "The worker was lost before anything was changed. Submit the job again.", retryable=True
    ),
    "outcome-unknown": ProblemType(
        500, "Outcome unknown", "The change may or may not have happened: look before repeating it."
    ),
    "not-supported": ProblemType(501, "Not supported", "This storage system cannot do it."),
    "backend-error": ProblemType(
        502, "Storage system error", "The storage system refused; see backend_error for its own words."
    ),
    "queue-unavailable": ProblemType(
        503,
        "Queue unavailable",
        "Jobs can neither be recorded nor read now. The detail says whether this request may have been accepted.",
        retryable=True,
    ),
    "sign-in-unavailable": ProblemType(
        503,
        "Sign-in unavailable",
        "The sign-in provider cannot be reached, so your identity cannot be checked.",
        retryable=True,
    ),
    "too-many-streams": ProblemType(
        503,
        "Too many streams",
        "This process serves as many event streams as it may. Come back after the time in Retry-After.",
        retryable=True,
    ),
    "backend-unavailable": ProblemType(
        503, "Storage system unavailable", "The storage system cannot be reached. Nothing was changed.", retryable=True
    ),
    "not-cached": ProblemType(
        504, "Not cached", "There is no copy that is fresh enough, and the request asked for nothing else."
    ),
    "backend-timeout": ProblemType(
        504, "Storage system timeout", "The storage system did not answer in time.", retryable=True
    ),
    "timed-out": ProblemType(
        504, "Timed out", "The job took longer than its operation may take, and was stopped.", retryable=True
    ),
}

#: The HTTP status of each code.
STATUS: dict[str, int] = {code: kind.status for code, kind in PROBLEM_TYPES.items()}

_OF_FRAMEWORK = {
    400: "invalid-request",
    401: "unauthenticated",
    403: "missing-role",
    404: "not-found",
    405: "method-not-allowed",
    412: "precondition-failed",
    413: "body-too-large",
    414: "url-too-long",
    415: "unsupported-media-type",
    422: "validation-failed",
    429: "rate-limited",
    431: "headers-too-large",
    501: "not-supported",
    503: "queue-unavailable",
}


def code_of_status(status: int) -> str:
    """Return the code of an error that Flask or Werkzeug raised."""
    if status in _OF_FRAMEWORK:
        return _OF_FRAMEWORK[status]
    return "internal-error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid-request"
