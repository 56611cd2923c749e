"""Schemas of resources. They validate the bodies of requests; responses are ready JSON, and only documented by them."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from api.schemas import names
from api.schemas.base import Schema
from api.schemas.fields import choice, flag, percentage, size, text, texts

SECURITY_STYLES = ("unix", "ntfs", "mixed")
SPACE_GUARANTEES = ("none", "volume")
TIERING_POLICIES = ("none", "snapshot-only", "auto", "all")


class _Strict(Schema):
    class Meta:
        unknown = ma.RAISE

    error_messages = {"unknown": "unknown field"}  # noqa: RUF012 - marshmallow's way


# --- what is asked


class VolumeChangesSchema(_Strict):
    """What can be changed of a volume."""

    autosize_enabled = flag("Does the volume grow by itself when it fills up?")
    max_autosize = size("How far it may grow by itself, in bytes", 214748364800)
    size_total = size("What a client of the volume can use, in bytes, without the snapshot reserve")
    active_policy_name = text("The export policy", "default", names.policy)
    percentage_snapshot_reserve = percentage("Share of the volume that is set aside for snapshots")
    compression_enabled = flag("Is data compressed?")
    inline_compression = flag("Is data compressed while it is written?", example=False)
    caching_policy = text("The caching policy", "auto", names.word)
    snapshot_policy = text("The snapshot policy; `none`: no snapshots of its own", "default", names.policy_word)
    security_style = choice("Whose permissions count", "unix", SECURITY_STYLES)
    unix_permissions = text("Of the root directory, in octal", "0755", names.unix_permissions)
    space_guarantee = choice("Is the whole size set aside on the aggregate (`volume`)?", "none", SPACE_GUARANTEES)
    qos_policy = text("The QoS policy; `none` takes it off", "", names.policy_word)
    tiering_policy = choice("What is moved to cheaper storage", "none", TIERING_POLICIES)
    comment = text("Any text about the volume", "Run 3 conditions data", names.comment)

    @ma.validates_schema
    def _check_not_empty(self, data: dict[str, object], **_: object) -> None:
        if not data and type(self) is VolumeChangesSchema:
            raise ma.ValidationError("must have at least one field")


class NewVolumeSchema(VolumeChangesSchema):
    """A volume to be created, cloned (`from_volume` and `from_snapshot`), or rolled back (`from_snapshot`)."""

    name = text("The volume's name; needed when the address is node:/junction/path", "dbvol01", names.volume_name)
    aggregate_name = text("Where to put it; without it the storage system chooses", "aggr1", names.word)
    junction_path = text("Where to mount it; `/<name>` when left out", "/vol/dbvol01", names.junction_path)
    from_snapshot = text("The snapshot to clone, or to roll back to", "", names.snapshot)
    from_volume = text("The volume to clone", "", names.volume)


class ReinstatedVolumeSchema(_Strict):
    """How to bring a restricted volume back."""

    junction_path = text("Where to mount it; `/<name>` when left out", "/vol/dbvol01", names.junction_path)


class NewSnapshotSchema(_Strict):
    """How to make a snapshot."""

    purge_old_if_needed = flag("When the limit is reached: delete the oldest deletable snapshot first?")


class NewPolicySchema(_Strict):
    """An export policy to be created."""

    rules = texts(
        "Who may mount; duplicates are dropped, order is kept",
        ["10.0.0.0/8", "*.example.org"],
        names.rule,
        required=True,
    )


class SettlementSchema(_Strict):
    """An operator's word on a change whose outcome could not be found out."""

    outcome = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["succeeded", "failed", "unknown"], error="must be one of {choices}"),
        error_messages={"invalid": "must be a string", "required": "is required", "null": "must not be null"},
        metadata={"description": "What is true on the storage system", "example": "succeeded"},
    )


# --- what is answered

_OPTIONAL: Any = {"allow_none": True, "required": True}


class VolumeSchema(Schema):
    """A volume; what the storage system does not know is null."""

    name = ma.fields.String(required=True, metadata={"example": "dbvol01"})
    uuid = ma.fields.String(**_OPTIONAL, metadata={"example": "1cd8a442-86d1-11e0-ae1c-123478563412"})
    state = ma.fields.String(**_OPTIONAL, metadata={"example": "online"})
    filer_address = ma.fields.String(
        **_OPTIONAL, metadata={"description": "Address that clients mount from", "example": None}
    )
    aggregate_name = ma.fields.String(**_OPTIONAL, metadata={"example": "aggr1"})
    junction_path = ma.fields.String(**_OPTIONAL, metadata={"example": "/vol/dbvol01"})
    size_total = ma.fields.Integer(
        **_OPTIONAL, metadata={"description": "Bytes, without the snapshot reserve", "example": 107374182400}
    )
    size_used = ma.fields.Integer(**_OPTIONAL, metadata={"description": "Bytes", "example": 5368709120})
    autosize_enabled = ma.fields.Boolean(**_OPTIONAL, metadata={"example": True})
    max_autosize = ma.fields.Integer(**_OPTIONAL, metadata={"description": "Bytes", "example": 214748364800})
    active_policy_name = ma.fields.String(**_OPTIONAL, metadata={"example": "default"})
    percentage_snapshot_reserve = ma.fields.Integer(**_OPTIONAL, metadata={"example": 20})
    percentage_snapshot_reserve_used = ma.fields.Integer(**_OPTIONAL, metadata={"example": 3})
    compression_enabled = ma.fields.Boolean(**_OPTIONAL, metadata={"example": False})
    inline_compression = ma.fields.Boolean(**_OPTIONAL, metadata={"example": False})
    caching_policy = ma.fields.String(**_OPTIONAL, metadata={"example": "auto"})
    creation_time = ma.fields.String(
        **_OPTIONAL, metadata={"description": "RFC 3339, UTC", "example": "2026-01-02T03:04:05Z"}
    )
    snapshot_policy = ma.fields.String(**_OPTIONAL, metadata={"example": "default"})
    security_style = ma.fields.String(**_OPTIONAL, metadata={"example": "unix"})
    unix_permissions = ma.fields.String(**_OPTIONAL, metadata={"description": "Octal", "example": "0755"})
    space_guarantee = ma.fields.String(**_OPTIONAL, metadata={"example": "none"})
    qos_policy = ma.fields.String(**_OPTIONAL, metadata={"example": None})
    tiering_policy = ma.fields.String(**_OPTIONAL, metadata={"example": "none"})
    comment = ma.fields.String(**_OPTIONAL, metadata={"example": "Run 3 conditions data"})
    type = ma.fields.String(
        **_OPTIONAL,
        metadata={
            "description": "`rw`; `dp` and `ls` are copies that the storage system keeps, and are never changed",
            "example": "rw",
        },
    )


class SnapshotSchema(Schema):
    """A volume's state frozen under a name."""

    name = ma.fields.String(required=True, metadata={"example": "before-upgrade"})
    creation_time = ma.fields.String(
        **_OPTIONAL, metadata={"description": "RFC 3339, UTC", "example": "2026-01-02T03:04:05Z"}
    )
    size_kbytes = ma.fields.Integer(
        **_OPTIONAL, metadata={"description": "Space that it holds, in KiB", "example": 1024}
    )


class LockSchema(Schema):
    """A host that holds locks on a volume."""

    host = ma.fields.String(required=True, metadata={"example": "node1.example.org"})


def _flavours(description: str) -> Any:
    return ma.fields.List(ma.fields.String(), required=True, metadata={"description": description, "example": ["sys"]})


class ExportRuleSchema(Schema):
    """One rule of an export policy, as the storage system keeps it; empty lists where it does not tell."""

    index = ma.fields.Integer(required=True, metadata={"description": "The first that matches counts", "example": 1})
    clients = ma.fields.List(
        ma.fields.String(), required=True, metadata={"description": "NFS client matches", "example": ["10.0.0.0/8"]}
    )
    ro = _flavours("Authentication flavours that may read")
    rw = _flavours("Authentication flavours that may write")
    superuser = _flavours("Authentication flavours whose root stays root")
    protocols = ma.fields.List(ma.fields.String(), required=True, metadata={"example": ["nfs"]})


class PolicySchema(Schema):
    """An export policy."""

    name = ma.fields.String(required=True, metadata={"example": "default"})
    rules = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={"description": "NFS client matches, in order", "example": ["10.0.0.0/8"]},
    )


class DetailedPolicySchema(PolicySchema):
    """An export policy, and what its rules give."""

    details = ma.fields.List(
        ma.fields.Nested(ExportRuleSchema),
        required=True,
        metadata={"description": "The same rules as the storage system keeps them, with their rights"},
    )
