"""Schemas of batches; members are validated by code of our own, which takes a twentieth of marshmallow's time."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from api.schemas.base import Schema
from api.schemas.fields import StrictInteger, passes
from api.schemas.jobs import ProblemSchema
from api.schemas.names import printable

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_MOST_MEMBERS, _MOST_PARALLEL = 1000, 100


class _Strict(Schema):
    class Meta:
        unknown = ma.RAISE

    error_messages = {"unknown": "unknown field"}  # noqa: RUF012 - marshmallow's way


class MemberSchema(_Strict):
    """One change."""

    method = ma.fields.String(required=True, validate=ma.validate.OneOf(_METHODS), metadata={"example": "POST"})
    path = ma.fields.String(required=True, metadata={"example": "/v4/netapp/volumes/db1/snapshots/pre"})
    body = ma.fields.Dict(metadata={"description": "As the request by itself would have it", "example": {}})


class MembersField(ma.fields.List):
    """A list of members."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ma.fields.Nested(MemberSchema), **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not 0 < len(value) <= _MOST_MEMBERS:
            raise ma.ValidationError(f"must be a list of 1 to {_MOST_MEMBERS} requests")
        wrong: dict[int, Any] = {}
        for place, member in enumerate(value):
            errors = member_errors(member)
            if errors:
                wrong[place] = errors
        if wrong:
            raise ma.ValidationError(wrong)
        return value


class MemberField(ma.fields.Nested):
    """One member."""

    def __init__(self, **options: Any) -> None:
        super().__init__(MemberSchema, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, Any]:
        errors = member_errors(value)
        if errors:
            raise ma.ValidationError(errors)
        member: dict[str, Any] = value
        return member


def member_errors(member: Any) -> dict[str, list[str]]:
    """Return what is wrong with a member's form, by field; its path and body are validated later."""
    if not isinstance(member, dict):
        return {"_schema": ["must be an object with method, path and body"]}
    wrong = {name: ["unknown field"] for name in member if name not in ("method", "path", "body")}
    if member.get("method") not in _METHODS:
        wrong["method"] = [f"must be one of {', '.join(_METHODS)}"]
    path = member.get("path")
    if not isinstance(path, str) or not path.startswith("/v4/"):
        wrong["path"] = ["must be a path that begins with /v4/"]
    if not isinstance(member.get("body", {}), dict):
        wrong["body"] = ["must be an object"]
    return wrong


class ForEachSchema(_Strict):
    """The volumes of a batch for each of them."""

    subsystem = ma.fields.String(required=True, metadata={"example": "netapp"})
    where = ma.fields.String(
        required=True,
        validate=ma.validate.Length(0, 8000),
        metadata={"description": "As the query of their listing", "example": "name=db*&state=online"},
    )


class BatchSchema(_Strict):
    """A batch: `requests`, or `for_each` with `request`."""

    name = ma.fields.String(
        validate=[ma.validate.Length(1, 255), passes(printable)],
        metadata={"description": "For people", "example": "before-upgrade"},
    )
    on_failure = ma.fields.String(
        load_default="continue",
        validate=ma.validate.OneOf(["continue", "stop"], error="must be one of {choices}"),
        metadata={"description": "stop: members that have not begun are cancelled"},
    )
    parallel = StrictInteger(
        load_default=8,
        validate=ma.validate.Range(1, _MOST_PARALLEL, error="must be from {min} to {max}"),
        metadata={"description": "How many members may be in the queues at a time"},
    )
    requests = MembersField()
    for_each = ma.fields.Nested(ForEachSchema)
    request = MemberField(metadata={"description": "Made for each volume; `{name}` stands for its name"})


class MemberResultSchema(Schema):
    """The result of a member."""

    job = ma.fields.String(required=True, metadata={"format": "uuid"})
    status = ma.fields.Integer(required=True, metadata={"example": 201})
    location = ma.fields.String(required=True, allow_none=True, metadata={"format": "uri-reference"})
    value = ma.fields.Raw(metadata={"description": "The body of the answer"})
    problem = ma.fields.Nested(ProblemSchema)
