"""Waits for changes of jobs without polling: one pub/sub subscription per process, however many clients wait."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import redis
import structlog

from worker.jobs.waiter_slots import WaiterSlots
from worker.store.client import REDIS_UNAVAILABLE
from worker.store.keys import Keys
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: A waiting client reads the job itself this often (seconds). Notifications are lost only with the subscription, and
#: once that is restored all waiting clients are woken.
_LOOK_AGAIN_S = 10.0
#: After this silence (seconds) a PING is sent; without an answer after another one the connection counts as dead.
_SILENCE_S = 5.0
#: A subscription ends when it has not been needed for this long (seconds).
_UNNEEDED_S = 10.0
#: Clients that wait for the same job are woken one after another at this interval (seconds), so that others
#: are served in between; for progress of a job the interval is longer than for its end.
_CHANGES_APART_S, _ENDS_APART_S = 0.01, 0.002


class Subscription:
    """One client's wait for one job."""

    def __init__(self) -> None:
        self._notified = threading.Event()
        self._late_s = 0.0

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``; return True after a notification, False if it is time to read the job."""
        until = time.monotonic() + seconds
        notified = self._notified.wait(min(seconds, _LOOK_AGAIN_S))
        if notified:
            time.sleep(max(0.0, min(self._late_s, until - time.monotonic())))
        self._notified.clear()
        return notified

    def notify(self, late_s: float) -> None:
        """Wake the client, ``late_s`` seconds from now: the job has changed, or a notification may have been lost."""
        self._late_s = late_s
        self._notified.set()


class JobNotifications:
    """Passes the notifications that scripts publish to the clients that wait."""

    def __init__(self, client: redis.Redis, prefix: str, waiter_slots: WaiterSlots) -> None:
        """``waiter_slots``: limits how many wait at a time."""
        self._changes = _Channel(client, Keys(prefix).changes_channel, _CHANGES_APART_S)
        self._ends = _Channel(client, Keys(prefix).ends_channel, _ENDS_APART_S)
        self._waiter_slots = waiter_slots

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """Hold a waiter slot inside the block; False when too many clients wait already."""
        acquired = self._waiter_slots.acquire(blocking=False)
        try:
            yield acquired
        finally:
            if acquired:
                self._waiter_slots.release()

    @contextmanager
    def watch(self, job_id: str, *, end: bool, has_slot: bool = False) -> Iterator[Subscription | None]:
        """Subscribe to a job's changes (or only its end) inside the block; None when too many clients wait already.

        ``has_slot``: the caller holds a waiter slot already.
        """
        with nullcontext(True) if has_slot else self.slot() as acquired:
            if not acquired:
                yield None
                return
            with (self._ends if end else self._changes).subscribed(job_id) as watch:
                yield watch

    def wake_all(self) -> None:
        """Wake all waiting clients."""
        self._changes.notify_all()
        self._ends.notify_all()


class _Channel:
    """One pub/sub channel, read by a thread of its own while there are subscriptions."""

    def __init__(self, client: redis.Redis, name: str, apart_s: float) -> None:
        self._redis = client
        self._apart_s = apart_s
        self._name = name
        self._watches: dict[str, list[Subscription]] = defaultdict(list)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()

    @contextmanager
    def subscribed(self, job_id: str) -> Iterator[Subscription]:
        """Receive the notifications of a job inside the block."""
        watch = Subscription()
        with self._lock:
            self._watches[job_id].append(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name=self._name, daemon=True)
                self._thread.start()
        try:
            # Earlier changes are not missed: callers read the job after this.
            self._subscribed.wait(1.0)
            yield watch
        finally:
            with self._lock:
                self._watches[job_id].remove(watch)
                if not self._watches[job_id]:
                    del self._watches[job_id]

    @tracing.quiet()
    def _listen(self) -> None:
        pause = threading.Event()
        while not self._is_idle():
            try:
                self._listen_once()
            except REDIS_UNAVAILABLE:
                pause.wait(0.5)
            except Exception:
                log.exception("notifications.failed")
                pause.wait(0.5)
            finally:
                self._subscribed.clear()

    def _is_idle(self) -> bool:
        """Are there no subscriptions? Then this thread ends, and the next subscription starts another."""
        with self._lock:
            if self._watches:
                return False
            self._thread = None
            return True

    def _listen_once(self) -> None:
        """Read the channel for as long as the connection lives and is needed."""
        with self._redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(self._name)
            ping_sent = False
            needed_at = time.monotonic()
            while True:
                if self._watches:
                    needed_at = time.monotonic()
                elif time.monotonic() - needed_at > _UNNEEDED_S:
                    return
                message = subscription.get_message(timeout=_SILENCE_S)
                if message is None and ping_sent:
                    # A host that disappeared does not close the connection: only the missing answer shows it.
                    raise redis.TimeoutError("the subscription is dead")
                ping_sent = message is None
                if message is None:
                    subscription.ping()
                elif message["type"] == "subscribe":
                    self.notify_all()
                    self._subscribed.set()
                elif message["type"] == "message":
                    self._notify_watchers(message["data"].partition(b" ")[0].decode())
                elif message["type"] == "pong" and not self._watches:
                    return

    def _notify_watchers(self, job_id: str) -> None:
        with self._lock:
            for place, watch in enumerate(self._watches.get(job_id, ())):
                watch.notify(place * self._apart_s)

    def notify_all(self) -> None:
        """Wake all clients, since notifications may have been lost."""
        with self._lock:
            for watches in self._watches.values():
                for place, watch in enumerate(watches):
                    watch.notify(place * self._apart_s)
