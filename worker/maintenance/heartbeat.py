"""Records that this worker is online while it consumes messages; restarts it when it does not any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from worker.maintenance.silent_consumer import SilentConsumer
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.scripts import JobScripts


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
        self._takes_writes = takes_writes
        self._consumer = SilentConsumer(silent_s, restart, now_s)

    def beat(self) -> bool:
        """Record that this worker is online if it consumes messages; return whether it does.

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        is_silent = self._consumer.is_silent
        try:
            # Without queues this is only a test whether Redis accepts writes.
            self._scripts.worker_heartbeat(self._node, {} if is_silent else self._slots)
        except REDIS_UNAVAILABLE:
            self._consumer.redis_failed()
            raise
        if is_silent and not self._takes_writes():
            self._consumer.redis_failed()
        else:
            self._consumer.check()
        return not is_silent

    def leave(self) -> None:
        """Record that this worker shuts down, so that it does not count as online any more.

        Raises what redis-py raises when Redis is unavailable or refuses writes.
        """
        self._scripts.worker_draining(self._node, *self._slots)
