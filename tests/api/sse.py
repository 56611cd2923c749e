"""Reads Server-Sent Events as the specification says (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event that was dispatched, with the last event id by then."""

    kind: str
    data: Any
    last_id: str


class EventParser:
    """Takes pieces of a stream; ``last_id`` and ``comments`` are what it has seen so far."""

    def __init__(self) -> None:
        self.last_id = ""
        self.comments = 0
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that this piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.decode()
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                self._fields[name] = value
            else:
                yield from self._dispatch()

    def _dispatch(self) -> Iterator[ServerEvent]:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            yield ServerEvent(fields.get("event", "message"), json.loads(fields["data"]), self.last_id)


def events(pieces: Iterable[bytes], parser: EventParser | None = None) -> Iterator[ServerEvent]:
    """The events of a whole stream."""
    parser = parser or EventParser()
    for piece in pieces:
        yield from parser.feed(piece)
