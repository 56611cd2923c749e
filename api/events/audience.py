"""Whose events a stream shows, and what streams of the same audience are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import orjson

from worker.jobs.document import job_document, links_below
from worker.jobs.event_log import Event, Position
from worker.jobs.query import JobFilter, JobScope

#: How much is handed to the server at once; it asks for more when the client has taken that.
_PIECE_BYTES = 64 * 1024
_GAP = b'event: gap\nid: %b\ndata: {"detail": "Events are missing here, since they are kept no longer."}\n\n'


class LiveEvent:
    """An event as it is sent: written once for each address prefix, however many streams show it."""

    __slots__ = ("_texts", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._texts: dict[str, bytes] = {}

    def text(self, prefix: str = "") -> bytes:
        """The event in the format of Server-Sent Events; empty when this version cannot show it.

        ``prefix``: the path below which clients reach the service.
        """
        text = self._texts.get(prefix)
        if text is None:
            text = self._texts[prefix] = self._written(prefix)
        return text

    def _written(self, prefix: str) -> bytes:
        if self.event.status is None:
            return b""
        with links_below(prefix):
            data = orjson.dumps(job_document(self.event.status))
        return b"event: job\nid: %b\ndata: %b\n\n" % (str(self.event.position).encode(), data)


@dataclass(frozen=True, slots=True)
class Audience:
    """Whose jobs are shown, and which of them: streams for which both are the same show the same."""

    scope: JobScope
    job_filter: JobFilter
    #: The path below which they reach the service.
    prefix: str = ""

    def sees(self, event: Event) -> bool:
        """Is this event for them?"""
        if event.status is None:
            return False
        job = event.status.job
        return self.scope.includes(job) and self.job_filter.matches(job)


@dataclass(frozen=True, slots=True)
class Piece:
    """What is sent next, the position after that, and whether there may be more at once."""

    data: bytes
    position: Position
    more: bool

    @classmethod
    def of(cls, events: Sequence[LiveEvent], audience: Audience, position: Position, *, is_gap: bool) -> Self:
        """Return what an audience sees of the events after a position; ``is_gap``: some are missing before them."""
        parts, size = [], 0
        for live in events:
            number = position.number
            if is_gap or (number is not None and live.event.number != number + 1):
                is_gap = False
                parts.append(_GAP % str(Position(position.stream_id, live.event.number - 1)).encode())
            position = live.event.position
            if audience.sees(live.event):
                parts.append(live.text(audience.prefix))
                size += len(parts[-1])
                if size >= _PIECE_BYTES:
                    break
        if is_gap:
            parts.append(_GAP % str(position).encode())
        return cls(b"".join(parts), position, bool(events))
