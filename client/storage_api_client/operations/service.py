"""The service itself: what is configured, who one is, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from storage_api_client.errors import Unavailable, error_of
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import ConnectionLost, Flow, Request, Response, send
from storage_api_client.protocol.reads import Read
from storage_api_client.protocol.retries import Context, checked, problem_of, send_with_retries, unreachable


def list_subsystems() -> Read[tuple[str, ...]]:
    """The configured subsystems."""
    return Read("/conf/subsystems", tuple)


def list_roles() -> Read[tuple[str, ...]]:
    """The roles that there are."""
    return Read("/conf/roles", tuple)


def list_my_roles() -> Read[tuple[str, ...]]:
    """The roles of the one who asks."""
    return Read("/conf/me/roles", tuple)


def list_groups(role: str) -> Read[tuple[str, ...]]:
    """The groups whose members have a role."""
    return Read(f"/conf/roles/{quote(role, safe='')}/egroups", tuple)


def has_role(role: str) -> Read[bool]:
    """Has the one who asks a role?"""
    return Read(f"/conf/roles/{quote(role, safe='')}/am_i_a", bool)


def end_sessions(context: Context, user: str, timeout: float | None) -> Flow[int]:
    """End all sessions of a user; how many there were."""
    request = Request("POST", f"/conf/sessions/{quote(user, safe='')}/end")
    response = yield from send_with_retries(context, request, Deadline(timeout))
    ended: int = checked(response, request)["ended"]
    return ended


def openapi() -> Read[dict[str, Any]]:
    """The OpenAPI document."""
    return Read("/openapi.json", dict)


def metrics(context: Context) -> Flow[str]:
    """Return the metrics, in Prometheus's text format.

    Raises:
        StorageApiError: there are none.
    """
    response = yield from _probe(context, "/metrics")
    if response.status >= 300:  # noqa: PLR2004 - no success
        raise error_of(problem_of(response, Request("GET", "/metrics")))
    return response.body.decode()


def _probe(context: Context, path: str) -> Flow[Response]:
    headers = yield from context.credentials.headers()
    try:
        return (yield from send(Request("GET", path, headers=headers)))
    except ConnectionLost as lost:
        raise Unavailable(unreachable(lost, None)) from None


def readiness(context: Context) -> Flow[tuple[bool, Any]]:
    """Return whether the service is ready, and what it says of itself; without trying again.

    Where something else answers in its place (a gateway, a page to sign in), it is not ready and says nothing.

    Raises:
        Unavailable: it cannot be reached.
    """
    response = yield from _probe(context, "/readyz")
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, Mapping):
        return False, None
    return response.status < 300, document  # noqa: PLR2004 - a success


def is_alive(context: Context) -> Flow[bool]:
    """Return whether the service's process lives; without trying again.

    Raises:
        Unavailable: it cannot be reached.
    """
    return (yield from _probe(context, "/healthz")).status < 300  # noqa: PLR2004 - a success
