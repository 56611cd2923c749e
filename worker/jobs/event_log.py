"""The event log: a Redis stream of every visible change of a job, written by the script that makes the change.

Entries are numbered without gaps, so that a reader sees by the number of the next entry whether it missed any: the
log is bounded in length (by the scripts) and in time (by ``trim``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from worker.jobs.record import parse_record
from worker.jobs.status import JobStatus
from worker.store.keys import Keys

_TRIM_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the log: the entry that was read last. ``number`` is None where the next entry may have any."""

    stream_id: str
    number: int | None

    def __str__(self) -> str:
        return f"{self.stream_id}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Read what ``str`` wrote; None when it is something else."""
        parts = text.split("-")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):  # noqa: PLR2004
            return None
        return cls(f"{parts[0]}-{parts[1]}", int(parts[2]))


#: Before the first entry that is kept.
BEGINNING = Position("0-0", None)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a job: the job as it was then. Times are Unix milliseconds on Redis's clock."""

    position: Position
    number: int
    #: None when this version does not know the job's operation.
    status: JobStatus | None = field(repr=False)


class EventLog:
    """Reads the log. Every method raises what redis-py raises when Redis is unavailable."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis = client
        self._keys = Keys(prefix)

    def tail(self) -> Position:
        """Return the position of the newest entry."""
        pipe = self._redis.pipeline()
        pipe.get(self._keys.event_seq)
        pipe.xrevrange(self._keys.event_log, count=1)
        number, last = pipe.execute()
        return Position(last[0][0].decode() if last else "0-0", int(number or 0))

    def read(self, after: Position, count: int) -> list[Event]:
        """Return at most ``count`` entries after a position."""
        entries: Any = self._redis.xrange(self._keys.event_log, f"({after.stream_id}", count=count)
        return self._events(entries)

    def wait(self, after: Position, count: int, timeout_ms: int) -> list[Event]:
        """As ``read``, but wait for entries; the time limit of the Redis client must be longer than ``timeout_ms``."""
        streams: Any = self._redis.xread({self._keys.event_log: after.stream_id}, count=count, block=timeout_ms)
        return self._events(streams[0][1] if streams else [])

    def trim(self, keep_s: float) -> None:
        """Delete entries older than ``keep_s`` seconds by Redis's clock."""
        seconds, _ = self._redis.time()
        oldest_ms = int((int(seconds) - keep_s) * 1000)
        self._redis.xtrim(self._keys.event_log, minid=str(max(0, oldest_ms)), approximate=False)

    def _events(self, entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Event]:
        decoded = [(stream_id.decode(), _texts(fields)) for stream_id, fields in entries]
        self._add_requests([fields for _, fields in decoded if not fields["request"]])
        return [_event(stream_id, fields) for stream_id, fields in decoded]

    def _add_requests(self, entries: list[dict[str, str]]) -> None:
        """Add the requests that were too long for the log, from the jobs' records where these still exist."""
        if not entries:
            return
        pipe = self._redis.pipeline(transaction=False)
        for fields in entries:
            pipe.hget(self._keys.job(fields["id"]), "request")
        for fields, request in zip(entries, pipe.execute(), strict=True):
            fields["request"] = request.decode() if request else "{}"


class EventLogTrimming:
    """A task of the maintenance loop."""

    def __init__(self, log: EventLog, keep_s: float) -> None:
        self._log = log
        self._keep_s = keep_s
        self._next_at = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _TRIM_EVERY_S
            self._log.trim(self._keep_s)


def _texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _event(stream_id: str, fields: Mapping[str, str]) -> Event:
    number, position = int(fields["n"]), int(fields["position"])
    job = parse_record({**fields, "arguments": "{}"})
    workers = int(fields["workers"])
    status = None if job is None else JobStatus(job, job.updated_ms, position, workers, behind=position > 0)
    return Event(Position(stream_id, number), number, status)
