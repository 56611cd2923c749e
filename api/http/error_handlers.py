"""Flask error handlers: every error becomes a problem document; unexpected exceptions are logged and not shown."""

from __future__ import annotations

import errno
from http import HTTPStatus

import redis
import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from api.http.methods import SAFE_METHODS
from api.http.preconditions import failed_precondition
from api.http.problems import Problem, problem_response
from api.services import current_services
from worker.catalog.problem_types import code_of_status
from worker.store.client import NotReplicated, ReplyLost, explain, refuses_writes

log = structlog.get_logger(__name__)

#: Retry-After (seconds) while Redis is unavailable.
_AWAY_RETRY_AFTER_S = 2

_REFUSED = "Nothing was accepted."
_LOST = (
    "It went away while it was asked, so that this may have been accepted all the same. Repeat the request with the "
    "same Idempotency-Key; without one, look at /v4/jobs first."
)
_DETAILS = {
    "not-found": "There is nothing at this address; / lists what there is.",
    "body-too-large": "The request's body is larger than this service takes.",
}


def init_app(app: Flask) -> None:
    """Register the handlers; after flask-smorest's own, which they replace."""
    app.after_request(_of_precondition)
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _of_framework)
    app.register_error_handler(redis.RedisError, _of_redis)
    app.register_error_handler(OSError, _of_system)
    app.register_error_handler(Exception, _of_mistake)


def _of_precondition(response: Response) -> Response:
    """A document or file that does not match If-Match, which Werkzeug would send nevertheless."""
    # Errors have no entity tag.
    if response.status_code != HTTPStatus.PRECONDITION_FAILED or response.get_etag()[0] is None:
        return response
    if request.if_match.star_tag:
        # Any representation will do; Werkzeug compares the asterisk as a tag.
        response.status_code = HTTPStatus.OK
        return response
    # The file that it would have sent is open.
    response.close()
    return problem_response(failed_precondition())


def _of_framework(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400 and error.response is not None:  # noqa: PLR2004 - no error: a redirect
        return error.get_response()  # type: ignore[return-value]
    code = code_of_status(status)
    limit = "SAPI_MAX_BODY_BYTES" if isinstance(error, RequestEntityTooLarge) else ""
    return problem_response(
        Problem(code, _detail(error, code), status=status, headers=_kept_headers(error), limit=limit)
    )


def _detail(error: HTTPException, code: str) -> str:
    if isinstance(error, MethodNotAllowed):
        # The response to HEAD has the length of that to GET.
        method = "GET" if request.method == "HEAD" else request.method
        return f"{method} is not possible here; possible are {', '.join(sorted(error.valid_methods or ()))}."
    if isinstance(error, RequestEntityTooLarge):
        return _DETAILS["body-too-large"]
    return _DETAILS.get(code) or error.description or error.name


def _kept_headers(error: HTTPException) -> dict[str, str]:
    names = ("Allow", "Retry-After", "WWW-Authenticate")
    return {name: value for name, value in error.get_headers() if name in names}


def _of_redis(error: redis.RedisError) -> Response:
    # The message is not logged: it may contain host names.
    current_services().concurrency_limiter.bypass()
    log.warning("redis.unavailable", error=type(error).__name__, detail=explain(error))
    may_be_done = isinstance(error, ReplyLost | NotReplicated) and request.method not in SAFE_METHODS
    return problem_response(
        Problem(
            "queue-unavailable",
            f"{_consequence(error)} Redis: {explain(error)}. {_LOST if may_be_done else _REFUSED}",
            # A POST without an Idempotency-Key that is repeated may be executed twice.
            retryable=not may_be_done or request.method != "POST" or "Idempotency-Key" in request.headers,
            headers={"Retry-After": str(_AWAY_RETRY_AFTER_S)},
        )
    )


def _consequence(error: redis.RedisError) -> str:
    if refuses_writes(error):
        return "Jobs cannot be recorded now."
    return "Jobs can neither be recorded nor read now, because Redis is away."


def _of_system(error: OSError) -> Response:
    """The process has reached its limit of open files and connections, which is temporary."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return _of_mistake(error)
    log.error("request.no-files-left", detail=error.strerror)
    detail = "This process has as many connections and files open as it may. Nothing was accepted."
    headers = {"Retry-After": str(_AWAY_RETRY_AFTER_S)}
    return problem_response(Problem("queue-unavailable", detail, headers=headers))


def _of_mistake(error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.path, exc_info=error)
    return problem_response(Problem("internal-error", "The service made a mistake. Report it with this request_id."))
