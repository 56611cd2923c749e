"""Schemas of /v3 for the OpenAPI document: records with the old keys, and times in the old format."""

from __future__ import annotations

import marshmallow as ma

from api.schemas.base import Schema
from api.schemas.resources import SnapshotSchema, VolumeSchema
from api.v3.fields import VOLUME_KEYS

#: The predecessor's bodies of most changes.
EMPTY_TEXT = {"type": "string", "const": ""}
NULL = {"type": "null"}
_TIME = {"description": "RFC 822, UTC", "example": "Fri, 02 Jan 2026 03:04:05 -0000"}


class V3VolumeSchema(VolumeSchema):
    """A volume with the predecessor's keys."""

    class Meta:  # noqa: D106 - marshmallow's way
        fields = VOLUME_KEYS

    creation_time = ma.fields.String(allow_none=True, metadata=_TIME)


class V3SnapshotSchema(SnapshotSchema):
    """A snapshot with the predecessor's keys."""

    class Meta:  # noqa: D106 - marshmallow's way
        fields = ("name", "size_kbytes", "creation_time")

    creation_time = ma.fields.String(allow_none=True, metadata=_TIME)


class V3ErrorSchema(Schema):
    """An error of the v3 API."""

    message = ma.fields.String(required=True)
    errors = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String())
    errno = ma.fields.Raw(metadata={"description": "The storage system's own code"})
    job = ma.fields.String(metadata={"description": "The job, while it is under way"})
