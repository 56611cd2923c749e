"""Checks the storage systems of a worker periodically, for readiness and the log."""

from __future__ import annotations

import json
import threading
import time

import redis
import structlog

from worker.backends.gateway import BackendGateway
from worker.store.keys import Keys
from worker.telemetry import tracing

log = structlog.get_logger(__name__)


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
