"""The record of a job: an immutable value, read from the hash that the scripts write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storage_backends.journal import JournalState
from worker.catalog.operations import BATCH, Operation, Role, operation_named
from worker.jobs.failure import Failure, InDoubtCause, parse_failure


class State(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt after which the job was requeued: when (Unix ms), why, and the delay (ms)."""

    at_ms: int
    code: str
    detail: str
    retry_in_ms: int


@dataclass(frozen=True, slots=True)
class ListingVersion:
    """One version of a listing: a base and the changes applied to it up to ``seq``."""

    cache_key: str
    base: str
    base_seq: int
    seq: int
    #: The time of its last change (Unix ms, as text; empty: none since the base). Where Redis was restored from an
    #: older copy, other changes may have the same numbers.
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One job; times are Unix milliseconds on Redis's clock, None when not reached yet."""

    id: str
    operation: Operation
    state: State
    subsystem: str
    target: str
    request: Mapping[str, Any]
    arguments: Mapping[str, Any]
    requester: str
    request_id: str
    queue: str
    version: int
    attempt: int
    seq: int
    created_ms: int
    updated_ms: int
    cancellable: bool
    started_ms: int | None = None
    finished_ms: int | None = None
    expires_ms: int | None = None
    cancel_requested_ms: int | None = None
    first_failure_ms: int | None = None
    in_doubt_since_ms: int | None = None
    marked_ms: int | None = None
    #: The fencing token of the worker that holds it.
    token: str | None = None
    #: The owner: a digest of the user's id, which does not change with their name.
    requester_key: str = ""
    #: The roles that allow others to see it; all of them are needed.
    roles: frozenset[Role] = frozenset()
    #: The volume as its client named it; empty when it has none.
    volume: str = ""
    #: The id of the batch that it belongs to; empty when it belongs to none.
    batch: str = ""
    waiting_reason: str | None = None
    retry_of: str | None = None
    backend_job: str | None = None
    step: str | None = None
    in_doubt_reason: str | None = None
    in_doubt_cause: InDoubtCause | None = None
    current: int | None = None
    total: int | None = None
    unit: str | None = None
    message: str | None = None
    #: For a read: the query of the request that it was made for (filters, sort, fields, limit), as it was sent.
    query: str = ""
    #: For a succeeded read whose answer is a listing: the state of the listing that it made.
    listing_version: ListingVersion | None = None
    #: Of a batch: its members counted by state, and their total.
    children: Mapping[str, int] | None = None
    failure: Failure | None = None
    #: Where its client wants to be notified of its end.
    callback: str = ""
    #: The trace that its request belongs to, in hexadecimal.
    trace_id: str = ""
    #: The context of that request's span (W3C Trace Context).
    traceparent: str = ""
    #: The last ten failed attempts after which it was requeued.
    attempts: tuple[Attempt, ...] = ()
    references: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.state.done

    @property
    def is_batch(self) -> bool:
        return self.operation is BATCH

    def is_of(self, requester_key: str) -> bool:
        """Is it the requester's own job?"""
        return bool(self.requester_key) and self.requester_key == requester_key

    def journal_state(self, now_ms: int) -> JournalState:
        """What the journal holds, for a worker that reconciles the job."""
        age_s = (now_ms - (self.marked_ms or now_ms)) / 1000
        return JournalState(self.id, self.step, self.backend_job, dict(self.facts), age_s)


def parse_job(flat: Sequence[bytes]) -> Job | None:
    """Read a record (names and values in turn); None when there is none, or none that this version knows."""
    texts = [text.decode() for text in flat]
    return parse_record(dict(zip(texts[::2], texts[1::2], strict=True)))


def parse_record(record: Mapping[str, str]) -> Job | None:
    """Read a record's fields; None as for ``parse_job``."""
    operation = operation_named(record.get("operation", ""))
    if operation is None or "state" not in record:
        return None
    state = State(record["state"])
    values: dict[str, Any] = {name: record[name] for name in _TEXTS}
    values |= {name: record.get(name) or None for name in _OPTIONAL_TEXTS}
    values |= {name: int(record[name]) for name in ("version", "attempt", "seq")}
    values |= {name: _number(record, name) for name in ("current", "total")}
    values |= {f"{name}_ms": _number(record, name) for name in _TIMES}
    return Job(
        operation=operation,
        state=state,
        request=json.loads(record["request"]),
        arguments=json.loads(record["arguments"]),
        facts={name[5:]: value for name, value in record.items() if name.startswith("fact:")},
        references=tuple(json.loads(record["references"])) if record.get("references") else (),
        cancellable=_cancellable(record, state),
        listing_version=_listing_version(record),
        failure=parse_failure(record) if state is State.FAILED else None,
        attempts=_attempts(record),
        children=_children(record) if operation is BATCH else None,
        query=record.get("query", ""),
        callback=record.get("callback", ""),
        trace_id=record.get("trace_id", ""),
        traceparent=record.get("traceparent", ""),
        volume=record.get("volume", ""),
        batch=record.get("batch", ""),
        roles=_roles(record, operation),
        requester_key=record.get("requester_key", ""),
        in_doubt_cause=InDoubtCause.parse(record.get("in_doubt_cause")),
        **values,
    )


_TEXTS = ("id", "subsystem", "target", "requester", "request_id", "queue")
_OPTIONAL_TEXTS = (
    "token", "retry_of", "backend_job", "step", "waiting_reason", "in_doubt_reason", "unit", "message",
)  # fmt: skip
_TIMES = (
    "created", "updated", "started", "finished", "expires",
    "cancel_requested", "first_failure", "in_doubt_since", "marked",
)  # fmt: skip


def _roles(record: Mapping[str, str], operation: Operation) -> frozenset[Role]:
    role_names = record.get("roles")
    return frozenset(Role(role) for role in role_names.split("+")) if role_names else frozenset({operation.role})


def _number(record: Mapping[str, str], name: str) -> int | None:
    value = record.get(name)
    return int(value) if value else None


def _cancellable(record: Mapping[str, str], state: State) -> bool:
    if state in (State.QUEUED, State.RUNNING):
        shared = record.get("kind") == "read" and int(record.get("waiters", "0")) > 0
        return not shared and (state is State.QUEUED or record.get("cancellable", "1") == "1")
    return False


def _listing_version(record: Mapping[str, str]) -> ListingVersion | None:
    if not record.get("result_base"):
        return None
    return ListingVersion(
        record["result_cache_key"],
        record["result_base"],
        int(record["result_base_seq"]),
        int(record["result_seq"]),
        record.get("result_changed", ""),
    )


def _attempts(record: Mapping[str, str]) -> tuple[Attempt, ...]:
    attempts = record.get("attempts")
    if not attempts:
        return ()
    return tuple(
        Attempt(int(attempt["at"]), attempt["code"], attempt["detail"], int(attempt["retry_in_ms"]))
        for attempt in json.loads(attempts)
    )


def _children(record: Mapping[str, str]) -> dict[str, int]:
    states = ("queued", "running", "succeeded", "failed", "cancelled")
    return {"total": int(record["total"]), **{state: int(record[f"members_{state}"]) for state in states}}
