"""Bodies of POST and PATCH: known fields are validated as in /v4, others are ignored as by the predecessor."""

from __future__ import annotations

from typing import Any, NoReturn

import marshmallow as ma
from flask import Request, request

from api.http.arguments_parser import StrictParser
from api.http.bodies import parse_json, received_body
from api.http.problems import Problem
from api.schemas import names
from api.schemas.base import Schema
from api.schemas.fields import flag, percentage, size, text, texts
from api.v3 import names as v3_names

INVALID = "Input payload validation failed"


class LenientParser(StrictParser):
    """Reads JSON objects; the query string is ignored."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": ma.EXCLUDE}  # noqa: RUF012 - theirs

    def load_json(self, _request: Request, _schema: ma.Schema) -> dict[str, Any]:
        if not request.is_json:
            raise _invalid("must be JSON, sent with Content-Type: application/json")
        try:
            value = parse_json(received_body())
        except Problem as refused:
            if refused.code != "invalid-request":
                raise
            raise Problem(refused.code, f"Failed to decode JSON object: {refused.detail}") from None
        if not isinstance(value, dict):
            raise _invalid("must be a JSON object")
        return value

    def handle_error(self, error: ma.ValidationError, *args: Any, **options: Any) -> NoReturn:
        try:
            super().handle_error(error, *args, **options)
        except Problem as refused:
            refused.detail = INVALID
            raise


def _invalid(detail: str) -> Problem:
    return Problem("validation-failed", INVALID, errors=[{"pointer": "", "detail": detail}])


class _Lenient(Schema):
    class Meta:
        unknown = ma.EXCLUDE


class V3VolumePatchSchema(_Lenient):
    """What can be changed of a volume."""

    autosize_enabled = flag("Does the volume grow by itself when it fills up?")
    max_autosize = size("How far it may grow by itself, in bytes", 214748364800)
    size_total = size("What a client of the volume can use, in bytes, without the snapshot reserve")
    active_policy_name = text("The export policy", "default", names.policy)
    percentage_snapshot_reserve = percentage("Share of the volume that is set aside for snapshots")
    compression_enabled = flag("Is data compressed?")
    inline_compression = flag("Is data compressed while it is written?")
    caching_policy = text("The caching policy", "auto", names.word)


class V3NewVolumeSchema(V3VolumePatchSchema):
    """A volume to be created, cloned (`from_volume` and `from_snapshot`), or rolled back (`from_snapshot`)."""

    # Each is ignored if the path has it, so it is validated where it is used.
    name = text("The volume's name; needed when the address is node:/junction/path", "dbvol01", v3_names.not_empty)
    junction_path = text("Where to mount it", "/vol/dbvol01", v3_names.not_empty)
    aggregate_name = text("Where to put it; without it the storage system chooses", "aggr1", names.word)
    from_snapshot = text("The snapshot to clone, or to roll back to", "", names.snapshot)
    from_volume = text("The volume to clone", "", names.volume)


class V3NewSnapshotSchema(_Lenient):
    """How to make a snapshot."""

    purge_old_if_needed = flag("When the limit is reached: delete the oldest deletable snapshot first?")


class V3NewPolicySchema(_Lenient):
    """An export policy to be created."""

    rules = texts(
        "Who may mount; duplicates are dropped, order is kept", ["10.0.0.0/8"], v3_names.rule, load_default=list
    )
