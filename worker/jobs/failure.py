"""The failure of a job, and the cause of an in-doubt change, as the record holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

#: Codes of failures caused by the request itself. `lua/job_functions.lua` has the same.
REQUEST_FAULTS = frozenset(
    {
        "already-exists",
        "batch-failed",
        "lock-held",
        "no-such-policy",
        "no-such-snapshot",
        "no-such-volume",
        "not-a-data-volume",
        "not-found",
        "not-supported",
        "policy-in-use",
        "resource-busy",
        "too-many-snapshots",
        "validation-failed",
    }
)


#: Details of failures that a script recorded with nothing but their code.
FAILURE_DETAILS = {
    "worker-lost": "The worker that had this job was lost before anything was changed. Submit it again.",
    "timed-out": "The job took longer than its operation may take, and was stopped before anything was changed.",
    "outcome-unknown": "The change may or may not have happened: look at the storage system before repeating it.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, in a form that may be shown to its client."""

    code: str
    detail: str
    retryable: bool = False
    backend_error: Mapping[str, str] | None = None
    errors: tuple[Mapping[str, str], ...] = ()

    @property
    def is_request_fault(self) -> bool:
        """Was it caused by the request, rather than by the service or the storage system?"""
        return self.code in REQUEST_FAULTS

    def to_fields(self) -> dict[str, str]:
        """The fields of the record that hold it."""
        more = {"backend_error": self.backend_error, "errors": list(self.errors), "retryable": self.retryable}
        return {"error_code": self.code, "error_detail": self.detail, "error_more": json.dumps(more)}


@dataclass(frozen=True, slots=True)
class InDoubtCause:
    """Why the outcome of a change is not known: the driver's explanation and the storage system's own error."""

    detail: str
    backend_error: Mapping[str, str] | None = None

    def to_json(self) -> str:
        """The field of the record that holds it."""
        return json.dumps({"detail": self.detail, "backend_error": self.backend_error})

    @classmethod
    def parse(cls, text: str | None) -> InDoubtCause | None:
        """Read what ``to_json`` wrote; None where the field is empty."""
        return cls(**json.loads(text)) if text else None


def parse_failure(record: Mapping[str, str]) -> Failure | None:
    """Read the failure of the record of a failed job; None where there is none."""
    code = record.get("error_code")
    if not code:
        return None
    if code == "batch-failed":
        return _batch_failure(record)
    more = json.loads(record.get("error_more") or "{}")
    return Failure(
        code,
        record.get("error_detail") or FAILURE_DETAILS.get(code, code),
        bool(more.get("retryable", code in ("worker-lost", "timed-out"))),
        more.get("backend_error"),
        tuple(more.get("errors", ())),
    )


def _batch_failure(record: Mapping[str, str]) -> Failure:
    """How many members did not succeed, and the first that failed."""
    total, succeeded = int(record["total"]), int(record["members_succeeded"])
    missed = total - succeeded
    errors = [
        {
            "pointer": f"/requests/{member['member']}",
            "detail": f"{member['code']}: {member['detail'] or FAILURE_DETAILS.get(member['code'], 'it failed')}",
        }
        for member in json.loads(record.get("failures") or "[]")
    ]
    detail = f"{missed} of {total} members did not succeed; the result says what became of each."
    return Failure("batch-failed", detail, retryable=True, errors=tuple(errors))
