"""Lets few requests of ordinary users be worked on at a time in a process: the others wait for their turn.

Python runs one thread at a time. Beside hundreds that want to run, a request that asks Redis some times would wait some
times until it is on again, however little it has to do. Requests of users who may do changes, and probes, wait for
nobody. A request that waits for something else (its job, its body) gives its turn back meanwhile.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict

from flask import g, request

from api.slots import requester_of_request

#: In the WSGI environment of a request that came by the port for administrators.
ON_ADMIN_PORT = "sapi.on_admin_port"
#: How often a request that waits looks whether turns are still kept (seconds).
_LOOK_EVERY_S = 0.5
#: Whose turn has not come by then goes on without: those before are slow because Redis is, not because they work.
_LONGEST_S = 5.0
#: For how long none are after Redis failed: each request then lasts as long as the time limit for Redis.
_OPEN_S = 5.0
#: Who was seen is believed to be the same for so long; that decides about waiting alone, and never about rights.
_BELIEVED_S = 60.0
_MOST_KNOWN = 1000
#: What a thread has: nothing, a turn, one that it gave back for a while, or leave to go on without one.
_NONE, _HELD, _PAUSED, _FREE = "none", "held", "paused", "free"


class Turns:
    """The turns of one process."""

    def __init__(self, at_a_time: int, most_waiting: int) -> None:
        """Prepare them.

        Args:
            at_a_time: how many requests are worked on.
            most_waiting: how many may wait for that; each holds a thread.
        """
        self._semaphore = threading.Semaphore(at_a_time)
        self._places = threading.BoundedSemaphore(most_waiting)
        self._open_until_s = float("-inf")
        #: Of each thread: does it have a turn, and has it given one back for a while?
        self._mine = threading.local()
        #: Of credentials of users who may do changes, digests, and until when (monotonic seconds) they are believed.
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._known_lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    def begin(self) -> bool:
        """Wait until it is the turn of the request at hand, of which nothing is known but its head.

        False, at once, when too many wait already.

        Who may do changes, and was seen a while ago with what is sent now, waits for nobody. A request that another one
        makes in its own thread, as pages of the console do, is part of that.
        """
        if self._state != _NONE or ON_ADMIN_PORT in request.environ or self._is_known():
            return True
        if not self._places.acquire(blocking=False):
            return False
        g.took_turn = True
        self._wait(_LONGEST_S)
        # Those that wait for something else later are counted with that.
        self._places.release()
        return True

    def identified(self) -> None:
        """Now it is known who sends the request at hand: who may do changes needs no turn, others do."""
        if requester_of_request()[1]:
            self._remember()
            self.end()
        else:
            self.begin()

    def pause(self) -> None:
        """Give back the turn of this thread, which waits for something else."""
        if self._state == _HELD:
            self._mine.state = _PAUSED
            self._semaphore.release()

    def resume(self) -> None:
        """Wait for another turn, after ``pause``."""
        if self._state == _PAUSED:
            self._wait(_LOOK_EVERY_S)

    def end(self) -> None:
        """Give the turn back, if the request at hand took one."""
        if not g.pop("took_turn", False):
            return
        if self._state == _HELD:
            self._semaphore.release()
        self._mine.state = _NONE

    def open(self) -> None:
        """Let everybody through for some seconds."""
        self._open_until_s = time.monotonic() + _OPEN_S

    def _is_known(self) -> bool:
        digest = self._digest()
        return digest is not None and self._known.get(digest, 0.0) > time.monotonic()

    def _remember(self) -> None:
        digest = self._digest()
        if digest is not None:
            with self._known_lock:
                self._known[digest] = time.monotonic() + _BELIEVED_S
                self._known.move_to_end(digest)
                while len(self._known) > _MOST_KNOWN:
                    self._known.popitem(last=False)

    def _digest(self) -> bytes | None:
        """Of what says who sends the request; keyed, so that no password or cookie stays in memory."""
        told = request.headers.get("Authorization") or request.headers.get("Cookie")
        return hashlib.blake2b(told.encode("utf-8", "replace"), key=self._secret).digest() if told else None

    @property
    def _state(self) -> str:
        return getattr(self._mine, "state", _NONE)

    def _wait(self, longest_s: float) -> None:
        self._mine.state = _FREE
        until_s = time.monotonic() + longest_s
        while self._open_until_s <= time.monotonic() < until_s:
            if self._semaphore.acquire(timeout=_LOOK_EVERY_S):
                self._mine.state = _HELD
                return
