"""WSGI middleware that has requests wait for their turn before anything else is done for them.

Nearly nothing runs before: where a crowd comes at once, each of its threads would otherwise want the interpreter for as
long as it takes to find out what is wanted, and nobody else would get it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.http.buffering import Application, Environ, StartResponse
from api.turns import Turns

#: What must be answered however much there is to do.
_PROBES = frozenset({"/healthz", "/readyz"})


class TurnMiddleware:
    """The middleware."""

    def __init__(self, application: Application, turns: Turns) -> None:
        self._application = application
        self._turns = turns

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in _PROBES:
            return self._application(environ, start_response)
        with self._turns.taken(environ):
            return self._application(environ, start_response)
