"""What the flow of events requests, when, and how it parses the pieces; without a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from storage_api_client.models.batches import Event
from storage_api_client.protocol.events import events
from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
    OpenStream,
    Pause,
    ReadChunk,
    Response,
    advance,
    fail,
)
from storage_api_client.protocol.retries import Context

OPEN = Response(200, {})
LOST = ConnectionLost("The connection was lost", sent=True)
JOB = b'id: %d\nevent: job\ndata: {"id": "j%d"}\n\n'


class Listening:
    """Replies to the commands of a flow of events in turn; notes what it waits, emits, sends and says."""

    def __init__(self, *replies: Any) -> None:
        self.pauses_s: list[float] = []
        self.emitted: list[Event] = []
        self.last_ids: list[str | None] = []
        self.notices: list[str] = []
        self._replies: Iterator[Any] = iter(replies)
        self._run()

    def _run(self) -> None:
        flow = events(Context(notify=self.notices.append), (), after="0")
        command = advance(flow)
        while command is not None:
            command = self._next(flow, command)
        flow.close()

    def _next(self, flow: Any, command: Any) -> Any:
        """Execute one command; return the next one, None when there are no more replies."""
        if isinstance(command, Emit):
            self.emitted.append(command.value)
            return advance(flow)
        if isinstance(command, Pause):
            self.pauses_s.append(command.seconds)
            return advance(flow)
        assert isinstance(command, OpenStream | ReadChunk)
        reply = next(self._replies, None)
        if reply is not None and isinstance(command, OpenStream):
            self.last_ids.append(command.request.headers.get("Last-Event-ID"))
        return None if reply is None else fail(flow, reply) if reply is LOST else advance(flow, reply)


def test_the_retry_delay_is_reset_after_an_event() -> None:
    outage = (LOST, LOST, LOST, LOST, LOST)
    listening = Listening(OPEN, JOB % (1, 1), *outage, OPEN, JOB % (2, 2), *outage)
    first, second = listening.pauses_s[:5], listening.pauses_s[5:]
    assert len(first) == len(second) == 5
    assert max(first[0], second[0]) <= 0.2
    assert min(first[4], second[4]) > 2
    assert listening.notices == ["The connection was lost. Trying again."] * 2


def test_a_stream_resumes_after_the_last_complete_event() -> None:
    whole = JOB % (7, 7)
    listening = Listening(OPEN, JOB % (5, 5), whole[:-9], LOST, OPEN, whole, b"id: 9\n\n", LOST, OPEN)
    assert [(event.id, event.job and event.job.id) for event in listening.emitted] == [("5", "j5"), ("7", "j7")]
    assert listening.last_ids == ["0", "5", "9"]


def test_invalid_utf_8_is_replaced() -> None:
    """A name on a storage system may have them."""
    listening = Listening(OPEN, b'id: 1\nevent: job\ndata: {"id": "j", "target": "\xff"}\n\n')
    assert [event.job and event.job.target for event in listening.emitted] == ["\N{REPLACEMENT CHARACTER}"]


def test_a_stream_with_recent_events_is_resumed_however_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is for outages of the service, not for the stream."""
    monkeypatch.setattr("storage_api_client.protocol.deadlines.time.monotonic", count(0, 100).__next__)
    listening = Listening(OPEN, JOB % (1, 1), LOST, OPEN)
    assert listening.last_ids == ["0", "1"]
