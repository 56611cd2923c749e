"""Which errors the service, or its client, may answer by trying again."""

from __future__ import annotations

from storage_backends import errors
from storage_backends.errors import StorageError

#: May the client send the request again, and may the service?
RETRYABLE = {
    "backend-error": (False, False),
    "validation-failed": (False, False),
    "not-found": (False, False),
    "no-such-volume": (False, False),
    "no-such-snapshot": (False, False),
    "no-such-policy": (False, False),
    "already-exists": (False, False),
    "lock-held": (False, False),
    "policy-in-use": (False, False),
    "not-a-data-volume": (False, False),
    "too-many-snapshots": (False, False),
    "not-supported": (False, False),
    "outcome-unknown": (False, False),
    "resource-busy": (True, True),
    "backend-unavailable": (True, True),
    "backend-timeout": (True, False),
}


def test_only_errors_of_unchanged_state_are_retried_by_the_service() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        # A conflict in general is never raised; its kinds are.
        if isinstance(kind, type) and issubclass(kind, StorageError) and kind is not errors.Conflict
    ]
    assert {kind.code: (kind.retryable, kind.transient) for kind in kinds} == RETRYABLE
    assert RETRYABLE.keys() == errors.CODES


def test_an_error_may_override_its_defaults() -> None:
    assert not errors.ResourceBusy("no", transient=False, retryable=False).transient
    assert not errors.ResourceBusy("no", transient=False, retryable=False).retryable
    assert errors.NotFound("no", transient=True, retryable=True).transient
    assert errors.NotFound("no", transient=True, retryable=True).retryable
