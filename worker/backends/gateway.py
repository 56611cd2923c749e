"""A storage system that this worker serves: opened on first use, behind a circuit breaker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pybreaker
import structlog

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, StorageError
from worker.listings.repository import Listings
from worker.store.client import REDIS_UNAVAILABLE

log = structlog.get_logger(__name__)

#: The circuit breaker opens after this many failures in a row to reach a filer, for this long (seconds).
_FAILURES = 5
_BREAKER_RESET_S = 10


class BackendGateway:
    """One subsystem's back-end, behind a circuit breaker."""

    def __init__(
        self,
        name: str,
        open_backend: Callable[[], StorageBackend],
        listings: Listings,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """``count`` gets the outcome of each use: ok, an error's code, breaker-open, or interrupted."""
        self.name = name
        self._count = count
        self._open = open_backend
        self._listings = listings
        self._backend: StorageBackend | None = None
        self._lock = threading.Lock()
        self._unavailable = False
        #: Why the last attempt to reach it failed.
        self._cause = "The storage system could not be reached."
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=_FAILURES,
            reset_timeout=_BREAKER_RESET_S,
            exclude=[lambda exc: not isinstance(exc, BackendUnavailable)],
            # The call that opens it fails for its own reason.
            throw_new_error_on_trip=False,
        )

    @contextmanager
    def session(self) -> Iterator[StorageBackend]:
        """Use the back-end inside the block.

        Raises:
            BackendUnavailable: at once, while the circuit breaker is open.
        """
        try:
            with self._breaker.calling():
                yield self._opened()
        except pybreaker.CircuitBreakerError:
            self._count("breaker-open")
            self._publish_availability(unavailable=True)
            pause = f"After several failures in a row it is not asked for {_BREAKER_RESET_S} s at a time."
            raise BackendUnavailable(f"{self._cause.rstrip('.')}. {pause}") from None
        except BackendUnavailable as exc:
            self._cause = exc.detail
            self._count(exc.code)
            self._publish_availability(unavailable=True)
            raise
        except Exception as exc:
            self._count(exc.code if isinstance(exc, StorageError) else "interrupted")
            raise
        self._count("ok")
        self._publish_availability(unavailable=False)

    @property
    def breaker_state(self) -> str:
        """closed, open or half-open."""
        return str(self._breaker.current_state)

    def check(self) -> dict[str, str]:
        """Check whether the storage system can be used: its status, and why not."""
        try:
            notes = self._opened().check()
        except StorageError as exc:
            return _health("unavailable", exc.code, exc.detail)
        except Exception as exc:
            log.exception("filer.check-failed", subsystem=self.name)
            return _health("unavailable", "backend-error", f"The check itself failed ({type(exc).__name__}).")
        return _health("available", "", " ".join(notes))

    def close(self) -> None:
        """Close the connections."""
        if self._backend is not None:
            self._backend.close()

    def _opened(self) -> StorageBackend:
        with self._lock:
            if self._backend is None:
                self._backend = self._open()
            return self._backend

    def _publish_availability(self, *, unavailable: bool) -> None:
        if not unavailable and not self._unavailable:
            return
        try:
            self._listings.set_unavailable(self.name, unavailable=unavailable)
        except REDIS_UNAVAILABLE as exc:
            # The filer has done or refused the request by now: an error of publishing must not hide that.
            log.info(
                "filer.state-not-published", subsystem=self.name, unavailable=unavailable, error=type(exc).__name__
            )
        else:
            self._unavailable = unavailable


def _health(status: str, code: str, detail: str) -> dict[str, str]:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"status": status, "code": code, "detail": detail, "at": at}
