"""Limits how many requests of ordinary users a process works on at a time; the others wait in a fair queue.

Python runs one thread at a time. Among many runnable threads, a request that sends several commands to Redis would wait
for the interpreter after each of them. Requests of users who may do changes, and probes, are not limited. A request
that waits for something else (its job, its body) releases its permit meanwhile. The queue is fair by sender: many
anonymous clients do not delay users who have signed in.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cachetools import TTLCache
from flask import has_request_context, request

from api.limits.fair_queue import FairQueue
from api.limits.slots import requester_of_request

#: In the WSGI environment of a request that came by the port for administrators.
ON_ADMIN_PORT = "sapi.on_admin_port"
#: In that of a request that must be refused: the setting whose limit is reached; and how long each waited (seconds).
REFUSED_BY = "sapi.refused_by"
_WAITED_S = "sapi.waited_for_permit_s"
#: A request that has no permit by then is refused: if all continued, each would delay all the others (seconds).
_MAX_WAIT_S = 20.0
#: A request that had a permit before continues without one then.
_MAX_WAIT_AGAIN_S = 5.0
#: How long the limit is off after Redis failed: each request then lasts as long as the time limit for Redis (seconds).
_BYPASS_S = 5.0
#: How long credentials are remembered (seconds); that decides about waiting alone, and never about rights.
_REMEMBERED_S = 60.0
_MAX_REMEMBERED = 1000
#: How long users who may do changes count as active after a request (seconds). Meanwhile each permit is followed by a
#: cool-down of so many times the CPU time that was used with it, so that processors are left for them.
_ACTIVE_S = 5.0
_COOLDOWN_FACTOR = 9.0
_MAX_COOLDOWN_S = 0.25
#: Senders: clients without credentials, and clients with credentials that are not remembered.
_ANONYMOUS, _UNKNOWN = "", "?"
#: The state of a thread: no permit, a permit, a permit that it released for a while, or leave to run without one.
_NONE, _HELD, _PAUSED, _UNLIMITED = "none", "held", "paused", "unlimited"


def waited_for_permit_s() -> float:
    """Return how long the current request has waited for its permit (seconds)."""
    return float(request.environ.get(_WAITED_S, 0.0)) if has_request_context() else 0.0


class ConcurrencyLimiter:
    """The limiter of one process."""

    def __init__(
        self,
        permits: int,
        max_waiting: int,
        max_wait_s: float = _MAX_WAIT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare the limiter.

        Args:
            permits: how many requests are worked on at a time.
            max_waiting: how many may wait for a permit; each holds a thread.
            max_wait_s: how long each may wait (seconds).
            sleep: sleeps for some seconds.
        """
        self._max_wait_s = max_wait_s
        self._queue = FairQueue(permits, sleep)
        self._waiting_slots = threading.BoundedSemaphore(max_waiting)
        self._bypassed_until_s = float("-inf")
        #: Until when users who may do changes count as active.
        self._active_until_s = float("-inf")
        #: The state of each thread.
        self._local = threading.local()
        #: Owners of remembered credentials: of users who may do changes, and of others, who cannot evict those.
        self._remembered: dict[bool, TTLCache[bytes, str]] = {
            may_change: TTLCache(_MAX_REMEMBERED, _REMEMBERED_S) for may_change in (True, False)
        }
        self._remembered_lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    @property
    def waiting(self) -> int:
        """How many requests wait for a permit."""
        return self._queue.waiting

    @contextmanager
    def permit(self, environ: dict[str, Any]) -> Iterator[None]:
        """Hold a permit inside the block; ``REFUSED_BY`` is set in the environment if there was none in time.

        A request that another one makes in its own thread, as pages of the console do, belongs to that one.
        """
        if getattr(self._local, "is_inside", False):
            yield
            return
        self._local.is_inside = True
        try:
            if not self.acquire(environ):
                environ[REFUSED_BY] = "SAPI_MAX_QUEUED"
            yield
        finally:
            self.release()
            self._local.is_inside = False

    def acquire(self, environ: dict[str, Any]) -> bool:
        """Wait for a permit for a request of which only the head is known.

        A user who may do changes, with remembered credentials, needs none.

        Returns:
            False when too many wait already, or when there is no permit in time.
        """
        if self._state != _NONE or ON_ADMIN_PORT in environ:
            return True
        sender, may_change = self.sender_of(environ)
        if may_change:
            self._active_until_s = time.monotonic() + _ACTIVE_S
            return True
        if not self._waiting_slots.acquire(blocking=False):
            return False
        began_s = time.monotonic()
        state = self._wait(sender, self._max_wait_s)
        environ[_WAITED_S] = time.monotonic() - began_s
        # Requests that wait for something else later are counted with that.
        self._waiting_slots.release()
        if state == _NONE:
            return False
        self._local.state = state
        return True

    def identified(self) -> None:
        """Note who sent the current request: a user who may do changes needs no permit, others do."""
        owner, may_change = requester_of_request()
        if owner:
            self._remember(owner, may_change=may_change)
        if may_change:
            self._active_until_s = time.monotonic() + _ACTIVE_S
            self.release()
        else:
            self.acquire(request.environ)

    def pause(self) -> None:
        """Release the permit of this thread while it waits for something else."""
        if self._state == _HELD:
            self._local.state = _PAUSED
            self._hand_on()

    def resume(self) -> None:
        """Wait for another permit, after ``pause``."""
        if self._state == _PAUSED:
            state = self._wait(_ANONYMOUS, _MAX_WAIT_AGAIN_S, again=True)
            self._local.state = _UNLIMITED if state == _NONE else state

    def release(self) -> None:
        """Release the permit of this thread, if it has one."""
        if self._state == _HELD:
            self._hand_on()
        self._local.state = _NONE

    def bypass(self) -> None:
        """Limit nobody for some seconds."""
        self._bypassed_until_s = time.monotonic() + _BYPASS_S
        self._queue.dismiss()

    def sender_of(self, environ: dict[str, Any]) -> tuple[str, bool]:
        """Return the sender of a request as far as its credentials are remembered, and whether they may do changes."""
        digest = self._digest(environ)
        if digest is None:
            return _ANONYMOUS, False
        with self._remembered_lock:
            for may_change, remembered in self._remembered.items():
                if owner := remembered.get(digest):
                    return owner, may_change
        return _UNKNOWN, False

    def _remember(self, owner: str, *, may_change: bool) -> None:
        digest = self._digest(request.environ)
        if digest is not None:
            with self._remembered_lock:
                self._remembered[may_change][digest] = owner
                self._remembered[not may_change].pop(digest, None)

    def _digest(self, environ: dict[str, Any]) -> bytes | None:
        """The digest of a request's credentials; keyed, so that no password or cookie stays in memory.

        Of both headers: clients of /v3 send the same Authorization, which means nothing, beside their sessions.
        """
        sent = [str(environ.get(name) or "") for name in ("HTTP_AUTHORIZATION", "HTTP_COOKIE")]
        if not any(sent):
            return None
        return hashlib.blake2b("\n".join(sent).encode("utf-8", "replace"), key=self._secret).digest()

    @property
    def _state(self) -> str:
        return getattr(self._local, "state", _NONE)

    def _hand_on(self) -> None:
        """Hand on the permit of this thread, with a cool-down while users who may do changes are active."""
        used_s = time.thread_time() - self._local.cpu_s
        is_active = time.monotonic() < self._active_until_s
        self._queue.release(min(_MAX_COOLDOWN_S, _COOLDOWN_FACTOR * used_s) if is_active else 0.0)

    def _wait(self, sender: str, max_wait_s: float, *, again: bool = False) -> str:
        if not self._is_bypassed() and self._queue.acquire(sender, max_wait_s, again=again):
            self._local.cpu_s = time.thread_time()
            return _HELD
        return _UNLIMITED if self._is_bypassed() else _NONE

    def _is_bypassed(self) -> bool:
        return time.monotonic() < self._bypassed_until_s
