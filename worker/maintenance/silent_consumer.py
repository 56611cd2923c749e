"""Restarts a worker process whose consumer takes no messages any more."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

#: Seconds without activity of the consumer after which it counts as silent, and its worker not as online.
ONLINE_S = 10.0
#: Seconds without activity of the consumer, while Redis accepts writes, after which the process is restarted.
RESTART_AFTER_S = 30.0


class SilentConsumer:
    """Tells whether the consumer of this process is silent, which is no reason to restart while Redis does not work."""

    def __init__(
        self, silent_s: Callable[[], float], restart: Callable[[], None], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare.

        Args:
            silent_s: how many seconds ago the consumer was last seen to take messages.
            restart: called when it does not recover; ends the process for its supervisor to start again.
            now_s: a monotonic clock.
        """
        self._silent_s = silent_s
        self._restart = restart
        self._now_s = now_s
        #: Since when Redis works, while the consumer is silent.
        self._well_since: float | None = None

    @property
    def is_silent(self) -> bool:
        """Does it take no messages?"""
        return self._silent_s() >= ONLINE_S

    def redis_failed(self) -> None:
        """Note that Redis does not work: the consumer may wait for it, and a restart would not help."""
        self._well_since = None

    def check(self) -> None:
        """Log that it is silent although Redis works; restart the process when that lasts."""
        silent_s = self._silent_s()
        if silent_s < ONLINE_S:
            self._well_since = None
            return
        if self._well_since is None:
            self._well_since = self._now_s()
        log.error("consumer.silent", seconds=round(silent_s), hint="it is restarted when this lasts")
        if min(silent_s, self._now_s() - self._well_since) > RESTART_AFTER_S:
            self._restart()
