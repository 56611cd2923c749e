"""Hands every answer to the server as a list: it sends that by itself, and asks Python for each part of all else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class BufferedResponseMiddleware:
    """Around the application; what that answers is in memory anyway."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        current_services = self._application(environ, start_response)
        if isinstance(current_services, list):
            return current_services
        try:
            return [b"".join(current_services)]
        finally:
            close = getattr(current_services, "close", None)
            if close is not None:
                close()
