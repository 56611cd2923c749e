"""The HTTP status of a success, the same for a client that waited and for one that fetches the result later."""

from __future__ import annotations

from http import HTTPStatus

from worker.catalog.operations import (
    CLONE_VOLUME,
    CREATE_LOCK,
    CREATE_POLICY,
    CREATE_SNAPSHOT,
    CREATE_VOLUME,
    DELETE_POLICY,
    DELETE_SNAPSHOT,
    ENSURE_POLICY_RULE_ABSENT,
    ENSURE_POLICY_RULE_PRESENT,
    REMOVE_LOCK,
    RESTRICT_VOLUME,
    ROLL_BACK_VOLUME,
    Operation,
)

#: Operations requested by POST: the response has a Location header.
RETURNS_LOCATION = frozenset(
    op.name for op in (CREATE_VOLUME, CLONE_VOLUME, ROLL_BACK_VOLUME, CREATE_SNAPSHOT, CREATE_POLICY)
)
_CREATED = RETURNS_LOCATION | {CREATE_LOCK.name, ENSURE_POLICY_RULE_PRESENT.name}
_WITHOUT_BODY = frozenset(
    op.name for op in (RESTRICT_VOLUME, DELETE_SNAPSHOT, REMOVE_LOCK, DELETE_POLICY, ENSURE_POLICY_RULE_ABSENT)
)


def success_status(operation: Operation) -> HTTPStatus:
    """Return the status of a success: 201 for a created object, 204 for a deleted one, 200 otherwise."""
    if operation.name in _CREATED:
        return HTTPStatus.CREATED
    return HTTPStatus.NO_CONTENT if operation.name in _WITHOUT_BODY else HTTPStatus.OK
