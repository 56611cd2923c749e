"""WSGI middleware that sends large bodies in parts, and not more of them at a time than fit into memory.

The server copies a body that it gets as a whole, and keeps the copy until its client has read it. Of one that comes in
parts it takes the next one when the client has read; a thread of the server waits meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from api.http.buffering import Application, Environ, StartResponse
from api.limits.bodies_in_flight import BodiesInFlight
from api.limits.concurrency_limiter import ON_ADMIN_PORT, REFUSED_BY, ConcurrencyLimiter

#: Larger bodies are sent in parts, of this many bytes.
_LARGE_BYTES = 1 << 20
_PART_BYTES = 1 << 18
#: The setting that bounds them.
LIMIT = "SAPI_LISTING_CACHE_BYTES"


class LargeResponseMiddleware:
    """The middleware."""

    def __init__(
        self,
        application: Application,
        refusing: Application,
        limiter: ConcurrencyLimiter,
        in_flight: BodiesInFlight,
    ) -> None:
        """Wrap ``application``.

        Args:
            application: answers requests.
            refusing: refuses them, by ``REFUSED_BY`` in the environment.
            limiter: knows the senders.
            in_flight: counts what is being sent to users without a role for changes.
        """
        self._application = application
        self._refusing = refusing
        self._limiter = limiter
        self._in_flight = in_flight

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started: list[tuple[Any, ...]] = []
        parts = self._application(environ, lambda *about: started.append(about))
        if not (isinstance(parts, list) and len(parts) == 1 and len(parts[0]) > _LARGE_BYTES):
            start_response(*started[-1])
            return parts
        release = self._hold(environ, parts[0])
        if release is None:
            environ[REFUSED_BY] = LIMIT
            return self._refusing(environ, start_response)
        start_response(*started[-1])
        return _Parts(parts[0], release)

    def _hold(self, environ: Environ, body: bytes) -> Callable[[], None] | None:
        """Count a body that is going to be sent; return what ends that, None if it does not fit."""
        sender, may_change = self._limiter.sender_of(environ)
        if may_change or ON_ADMIN_PORT in environ:
            return _nothing
        return partial(self._in_flight.release, sender, body) if self._in_flight.hold(sender, body) else None


def _nothing() -> None:
    """Release nothing: the body was not counted."""


class _Parts:
    """The parts of a body; released at the end, also where the server drops it before the first one."""

    def __init__(self, body: bytes, release: Callable[[], None]) -> None:
        self._view = memoryview(body)
        self._at = 0
        self._release = release

    def __iter__(self) -> _Parts:
        return self

    def __next__(self) -> bytes:
        part = bytes(self._view[self._at : self._at + _PART_BYTES])
        if not part:
            self.close()
            raise StopIteration
        self._at += len(part)
        return part

    def close(self) -> None:
        """Release the body, once."""
        release, self._release = self._release, _nothing
        release()

    def __del__(self) -> None:
        self.close()
