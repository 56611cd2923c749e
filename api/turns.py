"""Lets few requests of ordinary users be worked on at a time in a process: the others wait for their turn.

Python runs one thread at a time. Beside many that want to run, a request that asks Redis some times would wait some
times until it is on again, however little it has to do. Requests of users who may do changes, and probes, wait for
nobody. A request that waits for something else (its job, its body) gives its turn back meanwhile. The others take turns
by sender: a crowd that has not signed in delays nobody who has.
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

from api.slots import requester_of_request
from api.turn_queue import TurnQueue

#: In the WSGI environment of a request that came by the port for administrators.
ON_ADMIN_PORT = "sapi.on_admin_port"
#: In that of one whose turn did not come, and how long each waited (seconds).
NO_TURN = "sapi.no_turn"
_WAITED_S = "sapi.waited_for_turn_s"
#: Whose turn has not come by then is refused: if all went on, each would delay all the others (seconds).
_LONGEST_S = 20.0
#: Who was worked on already goes on without a turn then.
_LONGEST_AGAIN_S = 5.0
#: For how long nobody waits after Redis failed: each request then lasts as long as the time limit for Redis.
_OPEN_S = 5.0
#: Who was seen is believed to be the same for so long; that decides about waiting alone, and never about rights.
_BELIEVED_S = 60.0
_MOST_KNOWN = 1000
#: Who may do changes is believed to be there for so long after each request. Meanwhile each turn is followed by a rest
#: of so many times the computing time that it took, so that processors are left for them.
_URGENT_S = 5.0
_REST = 9.0
_LONGEST_REST_S = 0.25
#: Clients without credentials, and those with some that were not seen lately, as senders.
_STRANGERS, _NEWCOMERS = "", "?"
#: What a thread has: nothing, a turn, one that it gave back for a while, or leave to go on without one.
_NONE, _HELD, _PAUSED, _FREE = "none", "held", "paused", "free"


def waited_for_turn_s() -> float:
    """How long the request at hand has waited until it was worked on (seconds)."""
    return float(request.environ.get(_WAITED_S, 0.0)) if has_request_context() else 0.0


class Turns:
    """The turns of one process."""

    def __init__(
        self,
        at_a_time: int,
        most_waiting: int,
        longest_s: float = _LONGEST_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare them.

        Args:
            at_a_time: how many requests are worked on.
            most_waiting: how many may wait for that; each holds a thread.
            longest_s: how long each may (seconds).
            sleep: waits for some seconds.
        """
        self._longest_s = longest_s
        self._queue = TurnQueue(at_a_time, sleep)
        self._places = threading.BoundedSemaphore(most_waiting)
        self._open_until_s = float("-inf")
        #: Until when users who may do changes are believed to be there.
        self._urgent_until_s = float("-inf")
        #: Of each thread: does it have a turn, and has it given one back for a while?
        self._mine = threading.local()
        #: Whose credentials were seen, by digest: of users who may do changes, and of others, who cannot push them out.
        self._known: dict[bool, TTLCache[bytes, str]] = {
            may_change: TTLCache(_MOST_KNOWN, _BELIEVED_S) for may_change in (True, False)
        }
        self._known_lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._queue.waiting

    @contextmanager
    def taken(self, environ: dict[str, Any]) -> Iterator[None]:
        """Work on a request inside the block, in its turn; ``NO_TURN`` is in its environment when that did not come.

        A request that another one makes in its own thread, as pages of the console do, is part of that.
        """
        if getattr(self._mine, "is_inside", False):
            yield
            return
        self._mine.is_inside = True
        try:
            if not self.begin(environ):
                environ[NO_TURN] = True
            yield
        finally:
            self.end()
            self._mine.is_inside = False

    def begin(self, environ: dict[str, Any]) -> bool:
        """Wait until it is the turn of a request, of which nothing is known but its head.

        False when too many wait already, or when its turn does not come.

        Who may do changes, and was seen a while ago with what is sent now, waits for nobody.
        """
        if self._state != _NONE or ON_ADMIN_PORT in environ:
            return True
        sender, may_change = self._seen(environ)
        if may_change:
            self._urgent_until_s = time.monotonic() + _URGENT_S
            return True
        if not self._places.acquire(blocking=False):
            return False
        began_s = time.monotonic()
        state = self._wait(sender, self._longest_s)
        environ[_WAITED_S] = time.monotonic() - began_s
        # Those that wait for something else later are counted with that.
        self._places.release()
        if state == _NONE:
            return False
        self._mine.state = state
        return True

    def identified(self) -> None:
        """Now it is known who sends the request at hand: who may do changes needs no turn, others do."""
        owner, may_change = requester_of_request()
        if owner:
            self._remember(owner, may_change=may_change)
        if may_change:
            self._urgent_until_s = time.monotonic() + _URGENT_S
            self.end()
        else:
            self.begin(request.environ)

    def pause(self) -> None:
        """Give back the turn of this thread, which waits for something else."""
        if self._state == _HELD:
            self._mine.state = _PAUSED
            self._hand_on()

    def resume(self) -> None:
        """Wait for another turn, after ``pause``."""
        if self._state == _PAUSED:
            state = self._wait(_STRANGERS, _LONGEST_AGAIN_S, again=True)
            self._mine.state = _FREE if state == _NONE else state

    def end(self) -> None:
        """Give the turn of this thread back, if it has one."""
        if self._state == _HELD:
            self._hand_on()
        self._mine.state = _NONE

    def open(self) -> None:
        """Let everybody through for some seconds."""
        self._open_until_s = time.monotonic() + _OPEN_S
        self._queue.dismiss()

    def _seen(self, environ: dict[str, Any]) -> tuple[str, bool]:
        """Whose a request is, as far as its credentials were seen, and whether they may do changes."""
        digest = self._digest(environ)
        if digest is None:
            return _STRANGERS, False
        with self._known_lock:
            for may_change, known in self._known.items():
                if owner := known.get(digest):
                    return owner, may_change
        return _NEWCOMERS, False

    def _remember(self, owner: str, *, may_change: bool) -> None:
        digest = self._digest(request.environ)
        if digest is not None:
            with self._known_lock:
                self._known[may_change][digest] = owner
                self._known[not may_change].pop(digest, None)

    def _digest(self, environ: dict[str, Any]) -> bytes | None:
        """Of the credentials of a request; keyed, so that no password or cookie stays in memory."""
        sent = str(environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE") or "")
        return hashlib.blake2b(sent.encode("utf-8", "replace"), key=self._secret).digest() if sent else None

    @property
    def _state(self) -> str:
        return getattr(self._mine, "state", _NONE)

    def _hand_on(self) -> None:
        """Hand on the turn of this thread. While users who may do changes are there, turns rest in between."""
        used_s = time.thread_time() - self._mine.cpu_s
        is_urgent = time.monotonic() < self._urgent_until_s
        self._queue.release(min(_LONGEST_REST_S, _REST * used_s) if is_urgent else 0.0)

    def _wait(self, sender: str, longest_s: float, *, again: bool = False) -> str:
        if not self._is_open() and self._queue.acquire(sender, longest_s, again=again):
            self._mine.cpu_s = time.thread_time()
            return _HELD
        return _FREE if self._is_open() else _NONE

    def _is_open(self) -> bool:
        return time.monotonic() < self._open_until_s
