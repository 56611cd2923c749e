"""How an operation that succeeded is answered: the status, the same whether its client waited or fetched the result."""

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

#: Asked for by POST: the answer says where the object is.
RETURNS_LOCATION = frozenset(
    op.name for op in (CREATE_VOLUME, CLONE_VOLUME, ROLL_BACK_VOLUME, CREATE_SNAPSHOT, CREATE_POLICY)
)
_CREATED = RETURNS_LOCATION | {CREATE_LOCK.name, ENSURE_POLICY_RULE_PRESENT.name}
_WITHOUT_BODY = frozenset(
    op.name for op in (RESTRICT_VOLUME, DELETE_SNAPSHOT, REMOVE_LOCK, DELETE_POLICY, ENSURE_POLICY_RULE_ABSENT)
)


def success_status(operation: Operation) -> HTTPStatus:
    """Return the status of a success: 201 for what is there now, 204 for what is gone, 200 otherwise."""
    if operation.name in _CREATED:
        return HTTPStatus.CREATED
    return HTTPStatus.NO_CONTENT if operation.name in _WITHOUT_BODY else HTTPStatus.OK
