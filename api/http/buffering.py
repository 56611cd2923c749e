"""Passes every response to the server as a list, which it sends without calling Python for each part.

Only responses made by `stream_response` are passed on as iterators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Response, request

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_IS_STREAM = "sapi.is_stream"


def stream_response(pieces: Iterator[bytes]) -> Response:
    """Return a response to the current request whose parts are sent as they are made."""
    request.environ[_IS_STREAM] = True
    return Response(pieces)


class BufferedResponseMiddleware:
    """The middleware; responses of the application are in memory anyway."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = self._application(environ, start_response)
        if isinstance(body, list) or environ.get(_IS_STREAM):
            return body
        try:
            return [b"".join(body)]
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
