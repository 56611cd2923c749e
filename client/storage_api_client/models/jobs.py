"""Jobs: each change is one, and so is each read that asks a storage system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage_api_client.models.base import Model, moment, nested, nested_list
from storage_api_client.models.problems import Problem


@dataclass(frozen=True)
class Queue(Model):
    """Where a job waits, and why."""

    name: str = ""
    position: int = 0
    workers_online: int = 0
    waiting_reason: str | None = None


@dataclass(frozen=True)
class Progress(Model):
    """How far a job is."""

    percent: int | None = None
    current: int | None = None
    total: int | None = None
    unit: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Attempt(Model):
    """A time at which a job was put off, and why."""

    at: datetime | None = moment()
    code: str = ""
    detail: str = ""
    retry_in_s: float = 0


@dataclass(frozen=True)
class Result(Model):
    """What a job led to; ``value`` is there only when it is small."""

    href: str = ""
    status: int = 0
    value: Any = None


@dataclass(frozen=True)
class Links(Model):
    """Where more about a job is."""

    self: str = ""
    result: str = ""
    cancel: str = ""


@dataclass(frozen=True)
class Children(Model):
    """The members of a batch, counted by state."""

    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True)
class JobRecord(Model):
    """A job as it was when it was asked for.

    Attributes:
        state: queued, running, cancelling, succeeded, failed or cancelled.
        done: is the state one of the last three?
        error: why it failed.
        batch: the id of the batch that it belongs to.
        children: of a batch, its members.
    """

    id: str = ""
    operation: str = ""
    state: str = ""
    done: bool = False
    subsystem: str | None = None
    target: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    requested_by: str | None = None
    request_id: str | None = None
    created_at: datetime | None = moment()
    started_at: datetime | None = moment()
    updated_at: datetime | None = moment()
    finished_at: datetime | None = moment()
    expires_at: datetime | None = moment()
    cancel_requested_at: datetime | None = moment()
    queue: Queue | None = nested(Queue)
    progress: Progress | None = nested(Progress)
    attempt: int = 0
    attempts: tuple[Attempt, ...] = nested_list(Attempt)
    cancellable: bool = False
    retry_of: str | None = None
    trace_id: str | None = None
    backend_job: str | None = None
    result: Result | None = nested(Result)
    error: Problem | None = nested(Problem)
    links: Links | None = nested(Links)
    batch: str | None = None
    children: Children | None = nested(Children)
