"""Routes of the v3 API: ``serves`` connects a view with its operation, its role, its checks and its documentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from flask import g, request

from api.http.preconditions import check_preconditions
from api.http.problems import Problem
from api.openapi import operations as documentation
from api.openapi.blueprint import Blueprint
from api.services import current_services
from api.v3 import access, masks, names
from api.v3.bodies import LenientParser
from api.v3.schemas import V3ErrorSchema
from worker.catalog.operations import Operation

View = TypeVar("View", bound=Callable[..., Any])

#: Statuses of all requests, and of changes only.
_ALWAYS = (400, 403, 404, 412, 414, 429, 431, 500, 501, 503)
_OF_CHANGES = (409, 413, 504)
_X_FIELDS = {
    "in": "header",
    "name": masks.HEADER,
    "description": "Keys that are wanted, comma-separated",
    "schema": {"type": "string"},
}


_HEADERS = {name: name for name in documentation.OF_V3}
_OF_READS = _HEADERS | {
    name: documentation.RESULT[200][name] for name in ("Age", "Cache-Control", "Cache-Status", "ETag", "Last-Modified")
}
_OF_ERRORS = _HEADERS | {"Retry-After": "Retry-After"}


class V3Blueprint(Blueprint):
    """A blueprint of the predecessor's routes."""

    ARGUMENTS_PARSER = LenientParser()

    def response(self, status_code: int, *schema: Any, **options: Any) -> Callable[[View], View]:
        """Document a success, with the headers of all of them."""
        headers = _OF_READS if status_code == HTTPStatus.OK else _HEADERS
        documented: Callable[[View], View] = super().response(status_code, *schema, headers=headers, **options)
        return documented

    def serves(
        self, operation_id: str, operation: Operation, *others: Operation, takes_mask: bool = False
    ) -> Callable[[View], View]:
        """Connect a view with its operation (or one of several with the same role).

        Args:
            operation_id: the predecessor's operationId, from which clients were generated, with the prefix ``v3_``.
            operation: the operation.
            others: further operations of the view.
            takes_mask: does X-Fields select the keys of the response?
        """
        check = _checks(operation_id, operation, takes_mask=takes_mask)

        def decorate(view: View) -> View:
            @wraps(view)
            def checked(*args: Any, **kwargs: Any) -> Any:
                check(kwargs)
                return check_preconditions(view(*args, **kwargs))

            served = self._documented(checked, operation_id, operation, takes_mask=takes_mask)
            served.access = operation.role
            served.operations = (operation, *others)
            served.operation_id = operation_id
            return served  # type: ignore[no-any-return]

        return decorate

    def _documented(self, view: Any, operation_id: str, operation: Operation, *, takes_mask: bool) -> Any:
        for status in (*_ALWAYS, *(_OF_CHANGES if operation.is_change else ())):
            view = self.alt_response(status, schema=V3ErrorSchema, content_type="application/json", headers=_OF_ERRORS)(
                view
            )
        parameters = [_X_FIELDS] if takes_mask else []
        if operation.reads is not None:
            view = self.alt_response(304, description="Not modified", headers=_OF_READS)(view)
            parameters.append(documentation.IF_NONE_MATCH)
        return self.doc(
            operationId=operation_id,
            deprecated=True,
            security=documentation.security(operation.role),
            parameters=parameters,
        )(view)


def _checks(operation_id: str, operation: Operation, *, takes_mask: bool) -> Callable[[dict[str, str]], None]:
    """The checks before a view is called, in this order."""

    def check(path: dict[str, str]) -> None:
        access.require(operation.role, operation_id)
        current_services().concurrency_limiter.identified()
        if path["subsystem"] not in current_services().subsystems:
            raise Problem("no-such-subsystem", "No such subsystem.")
        names.check_path(path, request.method)
        g.v3_mask = masks.parse(request.headers.get(masks.HEADER)) if takes_mask else None

    return check


blp = V3Blueprint(
    "v3",
    __name__,
    url_prefix="/v3/<subsystem>",
    description="Deprecated: the predecessor's API",
)
