"""WSGI middleware that has requests wait for a permit of the concurrency limiter before anything else is done.

Nearly nothing runs before: when many requests arrive at once, each of its threads would otherwise compete for
the interpreter while it is routed and authenticated.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.http.buffering import Application, Environ, StartResponse
from api.limits.concurrency_limiter import ConcurrencyLimiter

#: Never limited.
_PROBES = frozenset({"/healthz", "/readyz"})


class ConcurrencyMiddleware:
    """The middleware."""

    def __init__(self, application: Application, limiter: ConcurrencyLimiter) -> None:
        self._application = application
        self._limiter = limiter

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in _PROBES:
            return self._application(environ, start_response)
        with self._limiter.permit(environ):
            return self._application(environ, start_response)
