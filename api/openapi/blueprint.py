"""Declarative routes: ``performs`` connects a view with an operation, its role, its responses and their documentation.

Each view has an ``access`` (a role, or another condition) and the operations that it performs; tests iterate over
the routes and check both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

import flask_smorest
from flask import g

from api import auth
from api.http.arguments_parser import StrictParser, reject_query_parameters
from api.http.preconditions import check_preconditions
from api.http.problems import Problem
from api.openapi import operations as documentation
from api.openapi.path_parameters import parameters_of
from api.schemas import names
from api.services import current_services
from worker.catalog.operations import Operation, Role

ANYONE = "anyone"
SIGNED_IN = "signed in"
#: Any role but that of reading.
MAY_CHANGE = "a role for changes"

View = TypeVar("View", bound=Callable[..., Any])

#: Problems of any request: malformed, not authorized, not found, a failed precondition, too many, queue unavailable.
_ALWAYS = (400, 401, 403, 404, 412, 414, 422, 429, 431, 500, 503)
#: Problems of jobs of every operation.
_OF_JOBS = (409, 410, 501, 502, 504)
_OF_CHANGES = (413, 415)


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose views enforce what they document."""

    ARGUMENTS_PARSER = StrictParser()

    def add_url_rule(self, rule: str, *args: Any, parameters: list[Any] | None = None, **options: Any) -> None:
        documented = [*parameters_of(f"{self.url_prefix or ''}{rule}"), *(parameters or [])]
        super().add_url_rule(rule, *args, parameters=documented, **options)

    def performs(self, operation: Operation, *others: Operation) -> Callable[[View], View]:
        """Connect a view with its operation (or one of several with the same role)."""
        assert all(other.role is operation.role for other in others)  # noqa: S101 - a mistake in the code
        changes = operation.is_change
        is_list = operation.reads is not None and not operation.reads.single

        def decorate(view: View) -> View:
            if changes:
                documented = documentation.document_change(self, operation)(view)
            else:
                documented = documentation.document_read(self, operation)(view)
            facts = {"x-operations": [op.name for op in (operation, *others)], "x-role": operation.role.value}
            served: View = self._serve(
                documented,
                operation_id=operation.name,
                access=operation.role,
                problems=_OF_JOBS + (_OF_CHANGES if changes else ()),
                query=is_list,
                operations=(operation, *others),
                **facts,
            )
            return served

        return decorate

    def exposes(
        self, operation_id: str, *, access: str, problems: Iterable[int] = (), query: bool = False, **facts: Any
    ) -> Callable[[View], View]:
        """Declare a view without an operation: who may use it, and its problems beside those of every request."""
        return lambda view: self._serve(view, operation_id, access, problems, query=query, **facts)

    def _serve(
        self,
        view: View,
        operation_id: str,
        access: str,
        problems: Iterable[int],
        *,
        query: bool,
        operations: tuple[Operation, ...] = (),
        **facts: Any,
    ) -> View:
        check = _checks(operation_id, access, query=query, subsystem=bool(operations))

        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            return check_preconditions(view(*args, **kwargs))

        responses = {status: HTTPStatus(status).name for status in sorted({*_ALWAYS, *problems})}
        documented = self.doc(
            operationId=operation_id, security=documentation.security(access), responses=responses, **facts
        )(checked)
        documented.access = access
        documented.operations = operations
        return documented  # type: ignore[no-any-return]


def require_subsystem(name: str) -> None:
    """Raise the problem `no-such-subsystem` unless a storage system of this name is configured."""
    if name not in current_services().subsystems:
        raise Problem("no-such-subsystem", "No storage system of this name is configured; see /conf/subsystems.")


def _checks(operation_id: str, access: str, *, query: bool, subsystem: bool) -> Callable[[dict[str, str]], None]:
    """The checks before a view is called, in this order."""

    def check(path: dict[str, str]) -> None:
        if access in frozenset(Role):
            auth.require(Role(access), operation=operation_id)
        elif access == SIGNED_IN:
            auth.require_signed_in()
        elif access == MAY_CHANGE:
            auth.require_role_for_changes()
        if "principal" in g:
            current_services().concurrency_limiter.identified()
        if subsystem:
            require_subsystem(path["subsystem"])
            names.check_path(path)
        if not query:
            reject_query_parameters()

    return check
