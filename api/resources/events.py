"""The changes of jobs as they happen, as a stream of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, copy_current_request_context, request
from flask.views import MethodView
from redis import ConnectionError as RedisConnectionError

from api.auth import principal
from api.events import event_hub
from api.events.stream import EventStream, Start
from api.http.buffering import stream_response
from api.http.problems import Problem
from api.jobs.listing import job_filter, scope_of
from api.limits.slots import requester_of_request
from api.openapi import operations as documentation
from api.openapi.blueprint import SIGNED_IN, Blueprint
from api.schemas.events import EventQuerySchema
from api.services import current_services
from worker.jobs.query import JobScope

blp = Blueprint("events", __name__, url_prefix="/v4/events", description="Jobs")

_MEDIA_TYPE = "text/event-stream"
_RETRY_AFTER_S = 15
_LAST_EVENT_ID = {
    "in": "header",
    "name": "Last-Event-ID",
    "description": "The id of the last event that was received: go on after it",
    "schema": {"type": "string"},
}


@blp.route("")
class EventsView(MethodView):
    """Jobs as they change."""

    @blp.exposes("list_events", access=SIGNED_IN, query=True)
    @blp.doc(parameters=[_LAST_EVENT_ID])
    @blp.arguments(EventQuerySchema, location="query")
    @blp.response(
        200,
        {"type": "string", "description": "`event: job` with the job (without its result) as `data`; `event: gap`"},
        content_type=_MEDIA_TYPE,
        headers=documentation.REQUEST_ID,
    )
    def get(self, query):
        """Follow your jobs as they change

        Server-Sent Events: each change of a job that you may see, with an `id` from which a broken stream goes on
        (`Last-Event-ID`). `event: gap` says that events are missing, because they are kept no longer.
        """
        filter_ = job_filter(query)
        if request.method == "HEAD":
            return _without_length(Response(content_type=_MEDIA_TYPE))
        hub = event_hub()
        requester = requester_of_request()
        if not hub.slots.acquire(requester):
            raise Problem(
                "too-many-streams",
                "This process serves as many event streams as it may, of all users or of you (SAPI_MAX_STREAMS).",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
                limit="SAPI_MAX_STREAMS",
            )
        try:
            # Empty: of a client that has had no event yet.
            last_event_id = request.headers.get("Last-Event-ID") or None
            position, is_gap = hub.locate(last_event_id)
            start = Start(position, is_gap, resumed=last_event_id is not None)
            stream = EventStream(hub, start, filter_, _scope_check(query), max_s=current_services().config.events_max)
        except BaseException:
            hub.slots.release(requester)
            raise
        return _response(stream, lambda: hub.slots.release(requester))


def _without_length(response: Response) -> Response:
    """Leave out Content-Length, which the response to GET does not have, either (RFC 9110, section 8.6)."""
    response.automatically_set_content_length = False
    return response


def _response(stream: EventStream, release_slot: Callable[[], None]) -> Response:
    response = stream_response(stream)
    response.content_type = _MEDIA_TYPE
    # A proxy that collects the answer would hold events back.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(release_slot)
    return response


def _scope_check(query: Mapping[str, Any]) -> Callable[[], JobScope | None]:
    """Return what says whose jobs this request's client may see by then; None when the sign-in knows them no longer."""

    def check() -> JobScope | None:
        try:
            who = principal()
        except Problem as problem:
            if problem.code in ("queue-unavailable", "sign-in-unavailable"):
                raise RedisConnectionError("nobody can tell who this is") from problem
            return None
        return scope_of(who, query) if who.signed_in else None

    # The request's own context is gone by the time that its answer is sent. Each call has a new `g`, so that the user
    # is looked up again.
    in_context: Callable[[], JobScope | None] = copy_current_request_context(check)
    return in_context
