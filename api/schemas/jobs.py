"""Schemas of jobs and problems, for the OpenAPI document, and of the query of the job list, for validation."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from api.schemas.base import Schema
from api.schemas.fields import Digits, StrictBoolean
from api.schemas.times import Moment
from worker.catalog.operations import BATCH, OPERATIONS
from worker.jobs.record import State

#: What a job can be of.
JOB_OPERATIONS = [*OPERATIONS, BATCH.name]
_NULLABLE: Any = {"allow_none": True, "required": True}
_MOMENT = {"format": "date-time"}


class FieldErrorSchema(Schema):
    """One error of a request."""

    pointer = ma.fields.String(required=True, metadata={"description": "JSON pointer", "example": "/size_total"})
    detail = ma.fields.String(required=True, metadata={"example": "must be an integer"})


class BackendErrorSchema(Schema):
    """The storage system's own words."""

    code = ma.fields.String(required=True, metadata={"example": "917526"})
    message = ma.fields.String(required=True)


class ProblemSchema(Schema):
    """Why a request or a job failed (RFC 9457)."""

    type = ma.fields.String(required=True, metadata={"format": "uri-reference", "example": "/problems/no-such-volume"})
    title = ma.fields.String(required=True, metadata={"example": "No such volume"})
    status = ma.fields.Integer(required=True, metadata={"example": 404})
    detail = ma.fields.String(required=True)
    instance = ma.fields.String(metadata={"format": "uri-reference"})
    code = ma.fields.String(required=True, metadata={"example": "no-such-volume"})
    retryable = ma.fields.Boolean(required=True, metadata={"description": "May the same work later, unchanged?"})
    request_id = ma.fields.String()
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema))
    backend_error = ma.fields.Nested(BackendErrorSchema)
    limit = ma.fields.String(
        metadata={"description": "The setting whose limit was reached", "example": "SAPI_QUEUE_LIMIT"}
    )


class QueueSchema(Schema):
    """Where a job waits."""

    name = ma.fields.String(required=True, metadata={"example": "netapp.write"})
    position = ma.fields.Integer(required=True, metadata={"description": "Jobs before it", "example": 0})
    workers_online = ma.fields.Integer(required=True, metadata={"example": 2})
    waiting_reason = ma.fields.String(
        **_NULLABLE,
        validate=ma.validate.OneOf(["behind-jobs", "no-worker-online", "backend-unavailable", "retrying", None]),
    )


class ProgressSchema(Schema):
    """How far a job is, as far as that is known."""

    percent = ma.fields.Integer(**_NULLABLE, validate=ma.validate.Range(0, 100), metadata={"example": 40})
    current = ma.fields.Integer(**_NULLABLE, metadata={"example": 2})
    total = ma.fields.Integer(**_NULLABLE, metadata={"example": 5})
    unit = ma.fields.String(**_NULLABLE, metadata={"example": "steps"})
    message = ma.fields.String(**_NULLABLE, metadata={"example": "mounting"})


class ResultSchema(Schema):
    """What a job that succeeded leads to."""

    href = ma.fields.String(required=True, metadata={"format": "uri-reference"})
    status = ma.fields.Integer(required=True, metadata={"description": "Status of that answer", "example": 201})
    value = ma.fields.Raw(metadata={"description": "The answer's body, when it is small"})


class LinksSchema(Schema):
    """Where to go from here."""

    self = ma.fields.String(required=True, metadata={"format": "uri-reference"})
    result = ma.fields.String(required=True, metadata={"format": "uri-reference"})
    cancel = ma.fields.String(required=True, metadata={"format": "uri-reference"})


class ChildrenSchema(Schema):
    """The members of a batch, counted by state."""

    total = ma.fields.Integer(required=True, metadata={"example": 40})
    queued = ma.fields.Integer(required=True)
    running = ma.fields.Integer(required=True)
    succeeded = ma.fields.Integer(required=True)
    failed = ma.fields.Integer(required=True)
    cancelled = ma.fields.Integer(required=True)


class AttemptSchema(Schema):
    """One time that a job was put off."""

    at = ma.fields.String(required=True, metadata=_MOMENT)
    code = ma.fields.String(required=True, metadata={"example": "backend-unavailable"})
    detail = ma.fields.String(required=True)
    retry_in_s = ma.fields.Float(
        required=True, metadata={"description": "After which it may start again", "example": 2}
    )


class JobSchema(Schema):
    """A job: one call to a storage system, from its acceptance to its end."""

    id = ma.fields.String(required=True, metadata={"format": "uuid", "example": "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"})
    operation = ma.fields.String(required=True, validate=ma.validate.OneOf(JOB_OPERATIONS))
    state = ma.fields.String(required=True, validate=ma.validate.OneOf([state.value for state in State]))
    done = ma.fields.Boolean(required=True)
    subsystem = ma.fields.String(
        **_NULLABLE, metadata={"description": "null for a batch on several", "example": "netapp"}
    )
    target = ma.fields.String(required=True, metadata={"example": "/v4/netapp/volumes/dbvol01"})
    request = ma.fields.Dict(required=True, metadata={"example": {"volume": "dbvol01", "size_total": 107374182400}})
    requested_by = ma.fields.String(**_NULLABLE, metadata={"example": "jdoe"})
    request_id = ma.fields.String(required=True)
    created_at = ma.fields.String(required=True, metadata=_MOMENT)
    started_at = ma.fields.String(**_NULLABLE, metadata=_MOMENT)
    updated_at = ma.fields.String(required=True, metadata=_MOMENT)
    finished_at = ma.fields.String(**_NULLABLE, metadata=_MOMENT)
    expires_at = ma.fields.String(**_NULLABLE, metadata=_MOMENT)
    cancel_requested_at = ma.fields.String(**_NULLABLE, metadata=_MOMENT)
    queue = ma.fields.Nested(QueueSchema, required=True)
    progress = ma.fields.Nested(ProgressSchema, required=True)
    attempt = ma.fields.Integer(required=True)
    attempts = ma.fields.List(
        ma.fields.Nested(AttemptSchema),
        required=True,
        metadata={"description": "Why it was put off, the last ten times"},
    )
    cancellable = ma.fields.Boolean(required=True)
    retry_of = ma.fields.String(**_NULLABLE)
    batch = ma.fields.String(**_NULLABLE, metadata={"description": "The batch that it belongs to"})
    children = ma.fields.Nested(ChildrenSchema, metadata={"description": "Of a batch: its members by state"})
    backend_job = ma.fields.String(**_NULLABLE)
    trace_id = ma.fields.String(metadata={"description": "The trace of its request, where there is one"})
    result = ma.fields.Nested(ResultSchema, **_NULLABLE)
    error = ma.fields.Nested(ProblemSchema, **_NULLABLE)
    links = ma.fields.Nested(LinksSchema, required=True)


class ChoicesField(ma.fields.Field):
    """Words separated by commas; in JSON also a list. Deserialised to a tuple without duplicates."""

    default_error_messages = {"invalid": "must be text, with commas between several"}  # noqa: RUF012 - marshmallow's way

    def __init__(
        self, *, most: int, choices: frozenset[str] | None = None, lower: bool = False, **options: Any
    ) -> None:
        self._most, self._choices, self._lower = most, choices, lower
        super().__init__(**options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        listed = value.split(",") if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(part, str) for part in listed):
            raise self.make_error("invalid")
        words = tuple(dict.fromkeys(part.strip().lower() if self._lower else part.strip() for part in listed))
        words = tuple(word for word in words if word)
        if self._choices is not None and not (words and self._choices.issuperset(words)):
            raise ma.ValidationError(f"must be one or more of {', '.join(sorted(self._choices))}")
        if not 0 < len(words) <= self._most:
            raise ma.ValidationError(f"must be 1 to {self._most} values, with commas between several")
        return words


_ALL = "Not only your own: everybody's with UBER_ADMIN, otherwise those whose operation's role you have"


def _one_of(values: list[str]) -> Any:
    return ma.validate.OneOf(values, error="must be one of {choices}")


def _moment(description: str) -> Any:
    formats = [{"format": "date-time"}, {"format": "date"}]
    return Moment(
        metadata={"description": f"{description} (RFC 3339, or a date: 2026-01-31)", "type": "string", "anyOf": formats}
    )


def _one_of_these(choices: frozenset[str], description: str) -> ChoicesField:
    one = "|".join(sorted(choices))
    documented = {"type": "string", "pattern": f"^({one})(,({one}))*$", "description": description}
    return ChoicesField(most=len(choices), choices=choices, metadata=documented)


class JobFilterSchema(Schema):
    """Which jobs.

    Without examples: the documentation page would send them all together, and no job is what each of them names.
    """

    class Meta:  # noqa: D106 - marshmallow's way
        unknown = ma.RAISE

    error_messages = {"unknown": "unknown filter"}  # noqa: RUF012 - marshmallow's way

    all = StrictBoolean(metadata={"description": _ALL})
    state = _one_of_these(frozenset(State), "Only in these states, comma-separated: `queued,running`")
    operation = _one_of_these(
        frozenset(JOB_OPERATIONS), "Only of these operations, comma-separated: `create_volume,clone_volume`"
    )
    subsystem = ma.fields.String(validate=ma.validate.Length(1, 63), metadata={"description": "Only on this subsystem"})
    volume = ma.fields.String(
        validate=ma.validate.Length(1, 4096), metadata={"description": "Only on this volume, as it was named then"}
    )
    batch = ma.fields.String(
        validate=ma.validate.Length(1, 64), metadata={"description": "Only members of the batch of this id"}
    )
    requested_by = ma.fields.String(
        validate=ma.validate.Length(1, 1024), metadata={"description": "Only jobs of this user, of those you may see"}
    )
    created_after = _moment("Only those accepted after this")
    created_before = _moment("Only those accepted before this")
    finished_after = _moment("Only those that ended after this")
    finished_before = _moment("Only those that ended before this")
    id = ChoicesField(
        most=200,
        lower=True,
        metadata={"type": "string", "description": "Only these, comma-separated; at most 200"},
    )


class JobQuerySchema(JobFilterSchema):
    """Which jobs to list."""

    class Meta:  # noqa: D106 - marshmallow's way
        unknown = ma.RAISE

    error_messages = {"unknown": "unknown query parameter"}  # noqa: RUF012 - marshmallow's way

    all = ma.fields.Boolean(  # type: ignore[assignment]
        truthy={"true"},
        falsy={"false"},
        error_messages={"invalid": "must be true or false"},
        metadata={"description": _ALL},
    )
    limit = Digits(
        load_default=100,
        validate=ma.validate.Range(1, 1000, error="must be from {min} to {max}"),
        metadata={"description": "At most so many"},
    )
    page_token = ma.fields.String(
        validate=ma.validate.Regexp(r"[A-Za-z0-9_-]{1,64}\Z", error="is no page token"),
        metadata={
            "description": "Where the next page begins, from the Link header",
            # As the dialect of JSON Schema writes the end.
            "pattern": "^[A-Za-z0-9_-]{1,64}$",
        },
    )


class RefusedJobSchema(Schema):
    """A job to which it was not done."""

    id = ma.fields.String(required=True, metadata={"format": "uuid"})
    code = ma.fields.String(required=True, metadata={"example": "job-not-cancellable"})


class CancelledJobsSchema(Schema):
    """What became of a request to cancel many jobs."""

    cancelled = ma.fields.List(ma.fields.String(), required=True, metadata={"description": "Asked to stop"})
    refused = ma.fields.List(ma.fields.Nested(RefusedJobSchema), required=True)


class RetriedJobsSchema(Schema):
    """What became of a request to do many jobs again."""

    retried = ma.fields.List(ma.fields.String(), required=True, metadata={"description": "The new jobs"})
    refused = ma.fields.List(ma.fields.Nested(RefusedJobSchema), required=True)
