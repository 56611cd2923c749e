"""Reads the event log once for all streams of a process, and wakes those for which there is news."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol

import structlog

from api.events.audience import Audience, LiveEvent, Piece
from api.limits.slots import Slots
from worker.jobs.event_log import BEGINNING, Event, EventLog, Position
from worker.store.client import REDIS_UNAVAILABLE
from worker.telemetry import tracing

log = structlog.get_logger(__name__)

#: Events that are kept at hand; a stream that is further behind reads them from Redis.
_MAX_RECENT = 5000
#: So many events are read and written in a row, then the threads of requests come in between.
_READ_AT_ONCE, _READ_APART_S = 20, 0.003
#: So many are read before streams are woken.
_READ_BEFORE_WAKING = 500
#: How many events a stream takes at once.
_MAX_EVENTS_PER_PIECE = 200
#: What was sent and may be sent again: many streams at the same position need few, and readers that catch up none.
_MOST_PIECES = 64
_WAIT_MS = 2000
_RETRY_S = 0.5
#: Of many streams each is woken so much later than the one before: the threads of requests come in between.
_WAKE_APART_S = 0.003
#: The same between audiences, for each of which all new events are looked at.
_LOOK_APART_S = 0.0002
_MANY_READERS = 10


class Reader(Protocol):
    """A stream, as the hub sees it."""

    @property
    def audience(self) -> Audience | None:
        """Whose events it shows; None before that is known."""

    def wake(self) -> None:
        """There is news."""

    def skip(self, before: Position, after: Position) -> None:
        """Nothing between these positions is for its audience."""

    def close(self) -> None:
        """The process ends."""


class EventHub:
    """The event streams of one process."""

    def __init__(self, log_: EventLog, waiting: EventLog, *, slots: Slots, keep_s: float) -> None:
        """Prepare the hub.

        Args:
            log_: for reads that return at once.
            waiting: for the read that waits for the next entry, over a connection with a longer time limit.
            slots: the places for streams.
            keep_s: how long events are kept (seconds).
        """
        self._log = log_
        self._waiting = waiting
        self._keep_s = keep_s
        self.slots = slots
        self._lock = threading.Lock()
        self._readers: set[Reader] = set()
        self._thread: threading.Thread | None = None
        self._recent: deque[LiveEvent] = deque()
        #: The position before the first event at hand.
        self._before: Position | None = None
        #: What streams at the same position were sent since events were last read.
        self._pieces: dict[tuple[Position, Audience], Piece] = {}
        self.closing = False

    # --- streams

    def locate(self, last_event_id: str | None) -> tuple[Position, bool]:
        """Return where a stream begins, and whether events are missing before it.

        Without ``last_event_id`` it begins now. Raises what redis-py raises when Redis is away.
        """
        self._log.trim(self._keep_s)
        tail = self._log.tail()
        if last_event_id is None:
            return tail, False
        position = Position.parse(last_event_id)
        if position is None or position.number is None or tail.number is None or position.number > tail.number:
            # Not of this log: it was lost, or the client made it up. With an empty log the client goes on from here.
            return (tail if tail.stream_id == BEGINNING.stream_id else BEGINNING), True
        if position.number < tail.number and not self._log.read(position, 1):
            return Position(position.stream_id, tail.number), True
        return position, False

    def register(self, reader: Reader) -> None:
        """Wake the reader when there is news, until ``unregister``."""
        with self._lock:
            self._readers.add(reader)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="event-hub", daemon=True)
                self._thread.start()

    def unregister(self, reader: Reader) -> None:
        """Forget the reader."""
        with self._lock:
            self._readers.discard(reader)

    def next_piece(self, audience: Audience, position: Position, *, is_gap: bool) -> Piece:
        """Return what an audience is sent after a position; ``is_gap``: events are missing after it.

        Raises what redis-py raises when it is not at hand and Redis is away.
        """
        # Every log has the same beginning: what came after it may have been another one's, which was lost since.
        is_shared = not is_gap and position.stream_id != BEGINNING.stream_id
        pieces, key = self._pieces, (position, audience)
        piece = pieces.get(key) if is_shared else None
        if piece is None:
            piece = Piece.of(self.after(position, _MAX_EVENTS_PER_PIECE), audience, position, is_gap=is_gap)
            if is_shared and piece.more and len(pieces) < _MOST_PIECES:
                pieces[key] = piece
        return piece

    def after(self, position: Position, count: int) -> list[LiveEvent]:
        """Return at most ``count`` events after a position: from memory where they are at hand, else from Redis."""
        with self._lock:
            start = self._index_after(position)
            if start is not None:
                return [self._recent[index] for index in range(start, min(start + count, len(self._recent)))]
        return [LiveEvent(event) for event in self._log.read(position, count)]

    def _index_after(self, position: Position) -> int | None:
        """Where in memory the events after a position begin; None when they are not there."""
        if not self._recent or position.number is None or position.stream_id == BEGINNING.stream_id:
            return None
        start = position.number + 1 - self._recent[0].event.number
        if not 0 <= start <= len(self._recent):
            return None
        # The same number in a log that was lost meanwhile is another event.
        before = self._recent[start - 1].event.position if start else self._before
        return start if before == position else None

    def close(self) -> None:
        """End all streams: the process is about to end."""
        self.closing = True
        with self._lock:
            readers = list(self._readers)
        for reader in readers:
            reader.close()

    # --- the thread that reads the log

    @tracing.quiet()
    def _run(self) -> None:
        position: Position | None = None
        while self._is_needed():
            try:
                position = self._read_next(position or self._log.tail())
            except REDIS_UNAVAILABLE:
                time.sleep(_RETRY_S)
            except Exception:
                log.exception("event-hub.failed")
                time.sleep(_RETRY_S)

    def _is_needed(self) -> bool:
        with self._lock:
            if self._readers and not self.closing:
                return True
            self._thread = None
            self._recent.clear()
            return False

    def _read_next(self, position: Position) -> Position:
        """Wait for events after ``position``, hand them on, and return the new position."""
        written = self._read_in_steps(position)
        if not written:
            return position
        before = position
        with self._lock:
            for live in written:
                self._remember(live, position)
                position = live.event.position
            readers = list(self._readers)
        self._pieces = {}
        self._notify(readers, [live.event for live in written], before)
        return position

    def _read_in_steps(self, position: Position) -> list[LiveEvent]:
        """Wait for events, and write them as they are sent, a few at a time: threads of requests come in between."""
        events = self._waiting.wait(position, _READ_AT_ONCE, _WAIT_MS)
        written = []
        while events:
            written += [LiveEvent(event) for event in events]
            prefixes = self._prefixes()
            for live in written[-len(events) :]:
                for prefix in prefixes:
                    live.text(prefix)
            if len(events) < _READ_AT_ONCE or len(written) >= _READ_BEFORE_WAKING:
                break
            time.sleep(_READ_APART_S)
            events = self._log.read(events[-1].position, _READ_AT_ONCE)
        return written

    def _prefixes(self) -> set[str]:
        """The address prefixes of present streams: events are written for each in advance, streams only copy them."""
        with self._lock:
            audiences = [reader.audience for reader in self._readers]
        return {audience.prefix for audience in audiences if audience is not None}

    def _remember(self, live: LiveEvent, before: Position) -> None:
        # Numbers that do not follow one another are of a log that was trimmed, or lost, meanwhile.
        if live.event.number - 1 != before.number:
            self._recent.clear()
        if not self._recent:
            self._before = before
        self._recent.append(live)
        if len(self._recent) > _MAX_RECENT:
            self._before = self._recent.popleft().event.position

    def _notify(self, readers: list[Reader], events: list[Event], before: Position) -> None:
        """Wake the readers whose audience sees one of the new events; the others are taken past them."""
        are_many, after = len(readers) > _MANY_READERS, events[-1].position
        sees: dict[Audience, bool] = {}
        for reader in readers:
            audience = reader.audience
            if audience is not None and audience not in sees:
                sees[audience] = any(map(audience.sees, events))
                time.sleep(_LOOK_APART_S if are_many else 0)
            if audience is not None and not sees[audience]:
                reader.skip(before, after)
                continue
            reader.wake()
            if are_many:
                time.sleep(_WAKE_APART_S)
