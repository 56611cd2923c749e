"""The status of every problem, and whether its request may work later: by which clients decide."""

from __future__ import annotations

from worker.catalog.problem_types import PROBLEM_TYPES, STATUS, code_of_status

_STATUSES = {
    400: "invalid-request",
    401: "unauthenticated",
    403: "missing-role cross-site-request",
    404: "not-found no-such-subsystem no-such-volume no-such-snapshot no-such-policy no-such-job",
    405: "method-not-allowed",
    409: "already-exists lock-held policy-in-use resource-busy not-a-data-volume too-many-snapshots batch-failed"
    " job-not-finished job-cancelled job-not-cancellable job-shared job-not-retryable job-not-settling",
    410: "job-expired result-expired page-token-expired",
    412: "precondition-failed",
    413: "body-too-large",
    414: "url-too-long",
    415: "unsupported-media-type",
    422: "validation-failed idempotency-key-reused",
    429: "queue-full rate-limited",
    431: "headers-too-large",
    500: "internal-error worker-lost outcome-unknown",
    501: "not-supported",
    502: "backend-error",
    503: "queue-unavailable sign-in-unavailable too-many-streams backend-unavailable",
    504: "not-cached backend-timeout timed-out",
}
_RETRYABLE = {
    "resource-busy", "job-not-finished", "queue-full", "rate-limited", "worker-lost", "queue-unavailable",
    "sign-in-unavailable", "too-many-streams", "backend-unavailable", "backend-timeout", "timed-out",
}  # fmt: skip
#: Which problem an error of the framework is; the others of its class are 400 or 500.
_OF_FRAMEWORK = {
    400: "invalid-request", 401: "unauthenticated", 403: "missing-role", 404: "not-found", 405: "method-not-allowed",
    412: "precondition-failed", 413: "body-too-large", 414: "url-too-long", 415: "unsupported-media-type",
    418: "invalid-request", 422: "validation-failed", 429: "rate-limited", 431: "headers-too-large",
    499: "invalid-request", 500: "internal-error", 501: "not-supported", 502: "internal-error",
    503: "queue-unavailable", 599: "internal-error",
}  # fmt: skip


def test_the_status_of_every_problem() -> None:
    expected = {code: status for status, codes in _STATUSES.items() for code in codes.split()}
    assert {code: kind.status for code, kind in PROBLEM_TYPES.items()} == STATUS == expected


def test_retryable_problems() -> None:
    assert {code for code, kind in PROBLEM_TYPES.items() if kind.retryable} == _RETRYABLE


def test_problems_of_framework_errors() -> None:
    assert {status: code_of_status(status) for status in _OF_FRAMEWORK} == _OF_FRAMEWORK
