"""Records that this worker is online while it consumes messages; restarts it when it does not any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

from worker.store.client import REDIS_UNAVAILABLE
from worker.store.scripts import JobScripts

log = structlog.get_logger(__name__)

#: Seconds without activity of the consumer after which the worker does not count as online.
ONLINE_S = 10.0
#: Seconds without activity of the consumer, while Redis accepts writes, after which the process is restarted.
RESTART_AFTER_S = 30.0


class Heartbeat:
    """The heartbeat of one worker process."""

    def __init__(
        self,
        scripts: JobScripts,
        node: str,
        slots: Mapping[str, int],
        *,
        silent_s: Callable[[], float],
        takes_writes: Callable[[], bool],
        restart: Callable[[], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; writes nothing yet.

        Args:
            scripts: the job scripts.
            node: name of this worker.
            slots: how many jobs it can carry out at a time, of each queue that it serves.
            silent_s: how many seconds ago its consumer was last seen to take messages.
            takes_writes: does Redis accept jobs? It accepts heartbeats also when its memory is full.
            restart: called when the consumer does not recover; ends the process for its supervisor to start again.
            now_s: a monotonic clock.
        """
        self._scripts = scripts
        self._node = node
        self._slots = slots
        self._silent_s = silent_s
        self._takes_writes = takes_writes
        self._restart = restart
        self._now_s = now_s
        self._well_since: float | None = None

    def beat(self) -> bool:
        """Record that this worker is online if it consumes messages; return whether it does.

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        silent_s = self._silent_s()
        try:
            # Without queues this is only a test whether Redis accepts writes.
            self._scripts.worker_heartbeat(self._node, self._slots if silent_s < ONLINE_S else {})
        except REDIS_UNAVAILABLE:
            self._well_since = None
            raise
        if silent_s < ONLINE_S:
            self._well_since = None
            return True
        if not self._takes_writes():
            # The consumer is waiting for Redis; a restart would not help.
            self._well_since = None
            return False
        if self._well_since is None:
            self._well_since = self._now_s()
        log.error("consumer.silent", seconds=round(silent_s), hint="this worker is not counted as online")
        if min(silent_s, self._now_s() - self._well_since) > RESTART_AFTER_S:
            self._restart()
        return False

    def leave(self) -> None:
        """Record that this worker shuts down, so that it does not count as online any more.

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        self._scripts.worker_draining(self._node, *self._slots)
