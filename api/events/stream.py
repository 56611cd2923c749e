"""One client's stream: what the server takes piece by piece, in a thread of its own while the client listens."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.events.audience import Audience
from api.events.hub import EventHub
from worker.jobs.document import path_prefix
from worker.jobs.event_log import Position
from worker.jobs.query import JobFilter, JobScope
from worker.store.client import REDIS_UNAVAILABLE

_HEARTBEAT_S = 15.0
#: A session or a role that is gone ends the stream within this time.
_CHECK_EVERY_S = 5.0
_RETRY_S = 1.0
#: A generator of its own: the shared one belongs to the main thread's code, which may want to repeat its numbers.
_RANDOM = random.Random()  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins, whether events are missing before that, and whether its client was there before."""

    position: Position
    is_gap: bool
    resumed: bool


class EventStream:
    """An iterator over pieces of `text/event-stream`; ``close`` ends it from any thread."""

    def __init__(
        self,
        hub: EventHub,
        start: Start,
        job_filter: JobFilter,
        check: Callable[[], JobScope | None],
        *,
        max_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the stream.

        Args:
            hub: where events come from.
            start: where it begins.
            job_filter: what its client asked for.
            check: says whose jobs the client may see by now; None when their session or token is no longer valid.
                Raises what redis-py raises when nobody can tell.
            max_s: how long the stream lives.
            clock: seconds that never go back.
        """
        self._hub = hub
        self._position = start.position
        self._is_gap = start.is_gap
        self._job_filter = job_filter
        self._check = check
        self._prefix = path_prefix.get()
        self._clock = clock
        self._news = threading.Event()
        self._closed = False
        self._audience: Audience | None = None
        #: From where to where nothing was for this audience.
        self._skipped: tuple[Position, Position] | None = None
        self._ends_at = clock() + max_s
        self._check_at = float("-inf")
        self._sent_at = clock()
        self._first = b": the changes of your jobs\nretry: 2000\n"
        # The client of a new stream can go on from here, also when nothing happens before it breaks.
        self._first += b"\n" if start.resumed else b"id: %b\n\n" % str(start.position).encode()
        hub.register(self)

    # --- what the hub calls

    @property
    def audience(self) -> Audience | None:
        """Whose events it shows; None before that is known."""
        return self._audience

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    def skip(self, before: Position, after: Position) -> None:
        """Nothing between these positions is for its audience."""
        skipped = self._skipped
        self._skipped = (skipped[0] if skipped and skipped[1] == before else before, after)

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._hub.unregister(self)
        self._news.set()

    # --- what the server calls

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while not self._closed and not self._hub.closing and self._clock() < self._ends_at:
            self._news.clear()
            try:
                if not self._is_authorized():
                    break
                piece, more = self._next_piece()
            except REDIS_UNAVAILABLE:
                # Nothing may be shown that was not checked; the client stays for when Redis is back.
                piece, more = b"", False
                time.sleep(_RETRY_S)
            if piece or self._is_heartbeat_due():
                self._sent_at = self._clock()
                return piece or self._heartbeat()
            if not more:
                self._news.wait(self._idle_s())
        self.close()
        raise StopIteration

    def _is_authorized(self) -> bool:
        if self._clock() >= self._check_at:
            scope = self._check()
            self._audience = Audience(scope, self._job_filter, self._prefix) if scope else None
            # Streams that began together do not check together: requests come in between.
            self._check_at = self._clock() + _CHECK_EVERY_S * _RANDOM.uniform(0.5, 1)
        return self._audience is not None

    def _next_piece(self) -> tuple[bytes, bool]:
        """The next events to show, and whether there may be more at once."""
        assert self._audience is not None  # noqa: S101 - it was authorized just now
        skipped, self._skipped = self._skipped, None
        if skipped and skipped[0] == self._position:
            self._position = skipped[1]
        piece = self._hub.next_piece(self._audience, self._position, is_gap=self._is_gap)
        self._position, self._is_gap = piece.position, False
        return piece.data, piece.more

    def _is_heartbeat_due(self) -> bool:
        return self._clock() - self._sent_at >= _HEARTBEAT_S

    def _heartbeat(self) -> bytes:
        """A comment, and the position: where few events are for this client, theirs would soon be too old to go on."""
        return b": still here\nid: %b\n\n" % str(self._position).encode()

    def _idle_s(self) -> float:
        now = self._clock()
        next_at = min(self._sent_at + _HEARTBEAT_S, self._check_at, self._ends_at)
        return max(0.0, next_at - now)
