"""Server-Sent Events, resumed after a lost connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from storage_api_client.errors import Unavailable, error_of
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import Event
from storage_api_client.protocol.deadlines import Deadline, backoff_s
from storage_api_client.protocol.messages import (
    ConnectionLost,
    Emit,
    Flow,
    OpenStream,
    Pause,
    ReadChunk,
    Request,
    Response,
)
from storage_api_client.protocol.retries import Context, problem_of

#: The service says something every 15 s; silence for so long is a lost connection.
_SILENCE_S = 45.0
_OK = 200
_UNAUTHORISED = 401


class EventParser:
    """Takes bytes as they come, and gives events (as the standard says, as far as the service uses it).

    Attributes:
        last: the id to go on after; the service tells it also where there is no event.
    """

    def __init__(self, last: str) -> None:
        self.last = last
        self._buffer = b""
        self._lines: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that are complete with these bytes."""
        self._buffer += chunk
        *lines, self._buffer = self._buffer.replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line:
                self._lines.append(line.decode("utf-8", "replace"))
            else:
                fields, self._lines = _fields(self._lines), []
                self.last = fields.get("id", self.last)
                if "data" in fields:
                    yield _event(fields)


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
    return fields


def _event(fields: Mapping[str, str]) -> Event:
    kind = fields.get("event", "message")
    try:
        body = json.loads(fields["data"])
    except ValueError:
        body = None
    job = JobRecord.of(body) if kind == "job" and isinstance(body, Mapping) else None
    return Event(fields.get("id", ""), kind, job)


def events(
    context: Context, query: tuple[tuple[str, str], ...], *, after: str | None = None, timeout: float | None = None
) -> Flow[None]:
    """Emit events, from now on or from after the event ``after``, until the caller stops.

    Raises:
        Unavailable: the service cannot be reached for ``timeout`` seconds.
    """
    parser, attempt, deadline = EventParser(after or ""), 0, Deadline(timeout)
    while True:
        try:
            parser = EventParser(parser.last)
            response = yield from _opened(context, query, parser.last)
            delay_s = _delay_s(response)
            if response.status == _OK:
                while chunk := (yield ReadChunk()):
                    attempt, deadline = 0, Deadline(timeout)
                    for event in parser.feed(chunk):
                        yield Emit(event)
        except ConnectionLost as lost:
            delay_s = backoff_s(attempt)
            if lost.permanent or not deadline.allows_reconnect(delay_s):
                problem = Problem(title="Unavailable", code="service-unavailable", detail=f"{lost.detail}.")
                raise Unavailable(problem) from None
            if not attempt:
                context.notify(f"{lost.detail}. Trying again.")
        yield Pause(max(delay_s, backoff_s(attempt)))
        attempt += 1


def _opened(context: Context, query: tuple[tuple[str, str], ...], last: str) -> Flow[Response]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    request = Request("GET", "/v4/events", query, headers, limit_s=30)
    for _ in range(2):
        signed = replace(request, headers={**headers, **(yield from context.credentials.headers())})
        response: Response = yield OpenStream(signed, _SILENCE_S)
        if response.status != _UNAUTHORISED or not (yield from context.credentials.renew()):
            break
    return response


def _delay_s(response: Response) -> float:
    """The delay before the next attempt (seconds); 0 if the stream is open."""
    if response.status == _OK:
        return 0
    if response.status in (429, 503) and response.retry_after_s is not None:
        return response.retry_after_s
    if response.status in (502, 503, 504) and not response.is_problem:
        raise ConnectionLost(f"A gateway answers {response.status} in the service's place", sent=True)
    raise error_of(problem_of(response, Request("GET", "/v4/events")))
