"""Records that this worker is online, for as long as it takes messages; replaces it when it takes none any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

from worker.store.client import REDIS_UNAVAILABLE
from worker.store.scripts import JobScripts

log = structlog.get_logger(__name__)

#: A worker whose consumer has been silent for longer is not counted as online.
ONLINE_S = 10.0
#: A consumer that is silent for so long, while Redis takes writes, does not recover by itself.
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
            takes_writes: does Redis take jobs? A heartbeat is let through also when its memory is full.
            restart: called when the consumer does not recover, so that a supervisor starts the process again.
            now_s: a clock that only goes forward.
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
        """Record that this worker is online, if it takes messages; does it?

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        silent_s = self._silent_s()
        try:
            # Without queues it is only a write: does Redis take any?
            self._scripts.worker_heartbeat(self._node, self._slots if silent_s < ONLINE_S else {})
        except REDIS_UNAVAILABLE:
            self._well_since = None
            raise
        if silent_s < ONLINE_S:
            self._well_since = None
            return True
        if not self._takes_writes():
            # The consumer waits for that, and another one would, too.
            self._well_since = None
            return False
        if self._well_since is None:
            self._well_since = self._now_s()
        log.error("consumer.silent", seconds=round(silent_s), hint="this worker is not counted as online")
        if min(silent_s, self._now_s() - self._well_since) > RESTART_AFTER_S:
            self._restart()
        return False

    def leave(self) -> None:
        """Record that this worker shuts down: it is online for none of its queues any more.

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        self._scripts.worker_draining(self._node, *self._slots)
