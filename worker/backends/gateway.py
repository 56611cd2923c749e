"""The storage systems that this worker serves: opened on first use, monitored, not called while unavailable."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pybreaker
import redis
import structlog

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, StorageError
from worker.listings.repository import Listings
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.keys import Keys
from worker.telemetry import tracing

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


class HealthMonitor:
    """Checks every filer periodically, and publishes the result for readiness and the log.

    Each is checked by a thread of its own, so that one that does not answer keeps no other from being checked in time.
    """

    def __init__(
        self, gateways: dict[str, BackendGateway], client: redis.Redis, prefix: str, *, every_s: float = 30.0
    ) -> None:
        self._gateways = gateways
        self._redis = client
        self._keys = Keys(prefix)
        self._every_s = every_s
        self._over = threading.Event()
        self._last: dict[str, str] = {}

    def start(self) -> None:
        """Start the threads."""
        for name, gateway in self._gateways.items():
            threading.Thread(target=self._watch, args=(gateway,), name=f"health-monitor {name}", daemon=True).start()

    def stop(self) -> None:
        """End the threads."""
        self._over.set()

    @tracing.quiet()
    def _watch(self, gateway: BackendGateway) -> None:
        while not self._over.is_set():
            started = time.monotonic()
            self._check(gateway)
            self._over.wait(max(1.0, self._every_s - (time.monotonic() - started)))

    def _check(self, gateway: BackendGateway) -> None:
        health = gateway.check()
        if health["status"] != self._last.get(gateway.name):
            report = log.info if health["status"] == "available" else log.error
            report("filer." + health["status"], subsystem=gateway.name, code=health["code"], detail=health["detail"])
            self._last[gateway.name] = health["status"]
        try:
            self._redis.set(self._keys.health(gateway.name), json.dumps(health), ex=int(self._every_s * 4))
        except redis.RedisError as exc:
            log.info("filer.health-not-published", subsystem=gateway.name, error=type(exc).__name__)
