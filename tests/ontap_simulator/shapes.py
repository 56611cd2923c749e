"""Which fields there are, which may be set, and which are shown: from the schemas of the installed netapp-ontap."""

from __future__ import annotations

import copy
from typing import Any

from marshmallow import Schema, ValidationError
from marshmallow import fields as marshmallow_fields
from netapp_ontap.resources.aggregate import AggregateSchema
from netapp_ontap.resources.client_lock import ClientLockSchema
from netapp_ontap.resources.cluster import ClusterSchema
from netapp_ontap.resources.export_policy import ExportPolicySchema
from netapp_ontap.resources.export_rule import ExportRuleSchema
from netapp_ontap.resources.job import JobSchema
from netapp_ontap.resources.snapshot import SnapshotSchema
from netapp_ontap.resources.svm import SvmSchema
from netapp_ontap.resources.volume import VolumeSchema

from tests.ontap_simulator.errors import Refusal
from tests.ontap_simulator.queries import values_at

#: Parameters of every collection that are no fields.
CONTROLS = frozenset(
    {"fields", "max_records", "order_by", "return_records", "return_timeout", "ignore_unknown_fields", "offset"}
)


class Shape:
    """One kind of object."""

    def __init__(
        self,
        schema: type[Schema],
        default: tuple[str, ...],
        *,
        expensive: tuple[str, ...] = (),
        read_only: tuple[str, ...] = (),
        unlisted: tuple[str, ...] = (),
    ) -> None:
        self.schema: Any = schema()
        #: Shown without being requested.
        self.default = default
        #: Left out of ``fields=*``.
        self.expensive = expensive
        #: What the library would send and ONTAP refuses.
        self.read_only = read_only
        #: What can be queried though it is no field of the library.
        self.unlisted = unlisted

    def knows(self, name: str) -> bool:
        """Is it the dotted name of a field?"""
        return name in self.unlisted or _field(self.schema, name.split(".")) is not None

    def require_fields(self, names: list[str]) -> None:
        """Raise if a name in ``fields`` is none."""
        for name in names:
            if name not in {"*", "**"} and not self.knows(name):
                raise Refusal(262197, f'The value "{name}" is invalid for field "fields"', target="fields")

    def require_query(self, query: dict[str, str]) -> None:
        """Raise if a parameter is neither a field nor a control."""
        for name in query:
            if name not in CONTROLS and not name.startswith("start.") and not self.knows(name):
                raise Refusal(262179, f'Unexpected argument "{name}".', target=name)

    def require_body(self, body: Any, method: str) -> None:
        """Raise unless every field of a POST or PATCH exists, may be set, and has a possible value."""
        if not isinstance(body, dict):
            raise Refusal(262199, "The body is not a JSON object.")
        allowed = self.schema.postable_fields if method == "POST" else self.schema.patchable_fields
        _walk(self.schema, body, "", [name.replace("links", "_links") for name in allowed], self.read_only)

    def show(self, record: dict[str, Any], fields: list[str], queried: list[str] = []) -> dict[str, Any]:  # noqa: B006
        """The record with the requested fields, by ``fields`` or in the query, and its links."""
        if "**" in fields:
            return copy.deepcopy(record)
        selected: dict[str, Any] = {}
        if "*" in fields:
            selected = copy.deepcopy(record)
            for name in self.expensive:
                if name not in fields:
                    _drop(selected, name.split("."))
        for name in (*self.default, "_links", *fields, *queried):
            is_odd = _is_odd(record.get(name.partition(".")[0], {}))
            if name != "*" and (is_odd or values_at(record, name) or name in record):
                _copy(record, selected, name.split("."))
        return selected


def _field(schema: Any, parts: list[str]) -> Any:
    for name, field in schema.fields.items():
        if (field.data_key or name) == parts[0]:
            inner = field.inner if isinstance(field, marshmallow_fields.List) else field
            if len(parts) == 1:
                return field
            return _field(inner.schema, parts[1:]) if isinstance(inner, marshmallow_fields.Nested) else None
    return None


def _walk(schema: Any, body: dict[str, Any], prefix: str, allowed: list[str], read_only: tuple[str, ...]) -> None:
    for key, value in body.items():
        name = prefix + key
        field = _field(schema, [key])
        if field is None:
            raise Refusal(262179, f'Unexpected argument "{name}".', target=name)
        near = any(name == one or name.startswith(one + ".") or one.startswith(name + ".") for one in allowed)
        if not near or name in read_only:
            raise Refusal(262196, f"Field '{name}' cannot be set in this operation.", target=name)
        is_list = isinstance(field, marshmallow_fields.List)
        inner = field.inner if is_list else field
        if isinstance(inner, marshmallow_fields.Nested):
            for item in value if is_list and isinstance(value, list) else [value]:
                if not isinstance(item, dict):
                    raise Refusal(262197, f'The value is invalid for field "{name}"', target=name)
                _walk(inner.schema, item, name + ".", allowed, read_only)
        else:
            _require_value(field, name, value)


def _require_value(field: Any, name: str, value: Any) -> None:
    try:
        field.deserialize(value)
    except ValidationError:
        raise Refusal(262197, f'The value "{value}" is invalid for field "{name}"', target=name) from None


def _is_odd(value: Any) -> bool:
    """Is it neither an object nor a list of such, so that no field can be picked from it?"""
    if isinstance(value, list):
        return not all(isinstance(item, dict) for item in value)
    return not isinstance(value, dict)


def _copy(source: dict[str, Any], into: dict[str, Any], parts: list[str]) -> None:
    if parts[0] not in source:
        return
    value = source[parts[0]]
    if len(parts) == 1:
        into[parts[0]] = copy.deepcopy(value)
    elif isinstance(value, list):
        items = into.setdefault(parts[0], [{} if isinstance(item, dict) else item for item in value])
        for item, target in zip(value, items, strict=True):
            if isinstance(item, dict):
                _copy(item, target, parts[1:])
    elif isinstance(value, dict):
        _copy(value, into.setdefault(parts[0], {}), parts[1:])
    else:
        into[parts[0]] = value  # Of another type than it should be.


def _drop(record: dict[str, Any], parts: list[str]) -> None:
    if len(parts) == 1:
        record.pop(parts[0], None)
    elif isinstance(record.get(parts[0]), dict):
        _drop(record[parts[0]], parts[1:])


VOLUME = Shape(
    VolumeSchema,
    ("uuid", "name"),
    expensive=(
        "is_svm_root", "nas.path", "nas.gid", "nas.uid", "nas.security_style", "nas.unix_permissions",
        "efficiency", "autosize", "guarantee",
        "space.snapshot", "space.afs_total", "clone.parent_volume", "clone.parent_snapshot",
    ),
    read_only=(
        "uuid", "create_time", "type", "is_svm_root", "flash_pool.caching_policy", "space.used", "space.afs_total",
    ),
    unlisted=("is_constituent",),
)  # fmt: skip
SNAPSHOT = Shape(SnapshotSchema, ("uuid", "name"), expensive=("reclaimable_space",), read_only=("uuid", "owners"))
POLICY = Shape(ExportPolicySchema, ("id", "name"), read_only=("id",), unlisted=("are_rules_truncated",))
RULE = Shape(ExportRuleSchema, ("index",))
LOCK = Shape(ClientLockSchema, ("uuid",))
CLUSTER = Shape(ClusterSchema, ("name",))
JOB = Shape(JobSchema, ("uuid",))
SVM = Shape(SvmSchema, ("uuid", "name"), expensive=("aggregates.available_size",))
AGGREGATE = Shape(AggregateSchema, ("uuid", "name"))
