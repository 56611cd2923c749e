"""Waits for jobs without asking again and again: one subscription per process, however many clients wait."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from worker.redis_access import RedisAway

log = structlog.get_logger(__name__)

#: Somebody who waits looks for himself this often, so that a lost word delays him but never strands him.
_LOOK_AGAIN_S = 2.0


class Watch:
    """One client's wait for one job."""

    def __init__(self) -> None:
        self._heard = threading.Event()

    def wait(self, seconds: float) -> None:
        """Return when the job has changed, or after ``seconds``, or when it is time to look for oneself."""
        self._heard.wait(min(seconds, _LOOK_AGAIN_S))
        self._heard.clear()

    def hear(self) -> None:
        """The job has changed."""
        self._heard.set()


class Events:
    """What the scripts announce of jobs, handed to those who watch them."""

    def __init__(self, client: redis.Redis, prefix: str, *, most_watches: int) -> None:
        self._redis = client
        self._channel = f"{prefix}events"
        self._watches: dict[str, list[Watch]] = defaultdict(list)
        self._room = threading.BoundedSemaphore(most_watches)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Watch | None]:
        """Hear of a job's changes inside the block; None when too many clients wait already."""
        if not self._room.acquire(blocking=False):
            yield None
            return
        self._start()
        watch = Watch()
        try:
            with self._lock:
                self._watches[job_id].append(watch)
            yield watch
        finally:
            self._room.release()
            with self._lock:
                self._watches[job_id].remove(watch)
                if not self._watches[job_id]:
                    del self._watches[job_id]

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
                    self._thread.start()
        self._subscribed.wait(1.0)

    def _listen(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self._listen_once()
            except RedisAway:
                self._subscribed.clear()
                pause.wait(0.5)
            except Exception:
                log.exception("events.failed")
                pause.wait(0.5)

    def _listen_once(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=False) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(self._channel)
            asked = False
            while True:
                message = subscription.get_message(timeout=5.0)
                if message is None and asked:
                    # A host that vanished closes nothing: only its silence tells.
                    raise redis.TimeoutError("the subscription is dead")
                asked = message is None
                if message is None:
                    subscription.ping()
                elif message["type"] == "subscribe":
                    self._subscribed.set()
                elif message["type"] == "message":
                    self._tell(message["data"].split(b" ", 1)[0].decode())

    def _tell(self, job_id: str) -> None:
        with self._lock:
            for watch in self._watches.get(job_id, ()):
                watch.hear()
