"""The session that ``/login`` of a development server gives to clients on the same machine."""

from __future__ import annotations

from storage_api_client.protocol.messages import Flow, Request, send

_REDIRECTS = range(300, 400)


def session_cookie() -> Flow[str | None]:
    """Return the Cookie header of a new session; None where ``/login`` gives none without asking."""
    response = yield from send(Request("GET", "/login"))
    if response.status not in _REDIRECTS or not response.headers.get("location", "").startswith("/"):
        return None
    pairs = [cookie.partition(";")[0] for cookie in response.cookies]
    return "; ".join(pair for pair in pairs if not pair.endswith("=")) or None
