"""Maps ONTAP's records to our models. Every field may be missing, null, or of a wrong type.

Such a field reads as None; records with wrong types are logged once for each object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from storage_backends.client_matches import canonical_host
from storage_backends.models import Lock, Snapshot, Volume
from storage_backends.netapp.ontap.fields import Fields, Record, first
from storage_backends.netapp.ontap.malformed_records import report_malformed_record
from storage_backends.netapp.ontap.owner_comments import without_owner

#: Requested by name, since ``fields=*`` omits expensive ones. ``style`` and ``is_svm_root`` are not shown to clients.
VOLUME_FIELDS: tuple[str, ...] = (
    "uuid", "name", "state", "create_time", "style", "type", "is_svm_root", "size", "aggregates.name", "nodes.name",
    "nas.path", "nas.export_policy.name", "nas.security_style", "nas.unix_permissions", "space.used",
    "space.afs_total", "space.snapshot.reserve_percent", "space.snapshot.space_used_percent", "autosize.mode",
    "autosize.maximum", "efficiency.compression", "efficiency.dedupe", "flash_pool.caching_policy", "comment",
    "snapshot_policy.name", "guarantee.type", "qos.policy.name", "tiering.policy",
)  # fmt: skip
#: Too expensive for listings.
LISTING_FIELDS: tuple[str, ...] = tuple(
    name for name in VOLUME_FIELDS if name not in {"efficiency.dedupe", "is_svm_root"}
)
CLONE_FIELDS: tuple[str, ...] = (
    *VOLUME_FIELDS,
    "clone.is_flexclone",
    "clone.parent_volume.name",
    "clone.parent_volume.uuid",
)
SNAPSHOT_FIELDS: tuple[str, ...] = ("uuid", "name", "create_time", "reclaimable_space", "owners", "comment")
LOCK_FIELDS: tuple[str, ...] = ("uuid", "client_address")
#: Fields that the oldest supported release (9.10.1) may not have.
NEWER_FIELDS: frozenset[str] = frozenset({"nodes.name", "are_rules_truncated"})

MIN_SIZE_BYTES = 20 * 1024 * 1024
MAX_SIZE_BYTES = 2**63 - 1
#: ONTAP rounds sizes to blocks; sizes that differ by less are equal.
BLOCK_BYTES = 4096
_SECONDS_IN_UTC = len("2017-08-10T12:00:00+00:00")
_NO_NODES: Mapping[str, str] = {}
_BACKGROUND, _INLINE = frozenset({"background", "both"}), frozenset({"inline", "both"})
_TEXTS, _NUMBERS = frozenset({str, type(None)}), frozenset({int, type(None)})
#: The number of numeric fields among those whose types are checked; and the combinations of types that are valid.
_NUMBER_COUNT = 5
_well_typed: set[tuple[type, ...]] = set()


def utc(time: Any) -> str | None:
    """Return ONTAP's time (ISO 8601 with an offset) as RFC 3339 in UTC; None if it is malformed."""
    if not isinstance(time, str):
        return None
    if time.endswith("+00:00") and len(time) == _SECONDS_IN_UTC:  # The usual form, in thousands of records.
        return f"{time[:10]}T{time[11:19]}Z"  # Some filers send a blank between date and time.
    try:
        moment = datetime.fromisoformat(time)
        if moment.utcoffset() is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat()[:19] + "Z"
    except (ValueError, OverflowError):  # In UTC it may be before the year 1, or after 9999.
        return None


def has_name(record: Any) -> bool:
    """Is it an object with a name?"""
    if isinstance(record, dict) and isinstance(record.get("name"), str) and record["name"]:
        return True
    report_malformed_record("record", "", "it has no name, and is left out")
    return False


def is_volume(record: Any) -> bool:
    """Does the service show it: not restricted, no constituent, not the storage system's own?"""
    return has_name(record) and record.get("state") != "restricted" and _is_whole(record)


def is_restricted_volume(record: Any) -> bool:
    """Is it a restricted data volume?"""
    is_restricted = has_name(record) and record.get("state") == "restricted" and _is_whole(record)
    return is_restricted and is_data_volume(record)


def is_data_volume(record: Record) -> bool:
    """May it be changed: no copy made by the storage system, and not the root of the SVM's namespace?"""
    # Some releases omit fields that were requested: the root volume is also recognised by its path.
    is_root = record.get("is_svm_root") is True or Fields(record).text("nas.path") == "/"
    return not is_root and not is_copy(record)


def is_copy(record: Record) -> bool:
    """Is it a copy that the storage system keeps?"""
    return record.get("type") in {"dp", "ls"}


def _is_whole(record: Record) -> bool:
    aggregate = _aggregate(record) or ""
    return record.get("style") != "flexgroup_constituent" and not aggregate.startswith("aggr0")


def volume(record: Record, nodes: Mapping[str, str] = _NO_NODES) -> Volume:
    """Return the volume; ``nodes`` has the node of each aggregate, for filers whose volumes do not have it."""
    try:
        mapped = _from_complete(record, nodes)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return _tolerant(record, nodes)
    return mapped if _is_well_typed(mapped) else _tolerant(record, nodes)


def with_node(volume: Volume, nodes: Mapping[str, str]) -> Volume:
    """Return the volume with the node of its aggregate if it has none."""
    if volume.filer_address is not None:
        return volume
    return replace(volume, filer_address=nodes.get(volume.aggregate_name or ""))


def _from_complete(record: Record, nodes: Mapping[str, str]) -> Volume:
    """Map an online volume quickly: listings of ten thousand volumes spend most of their time here."""
    space = record["space"]
    snapshot = space["snapshot"]
    nas = record["nas"]
    autosize = record["autosize"]
    aggregate = record["aggregates"][0]["name"]
    compression = record["efficiency"].get("compression") if "efficiency" in record else None
    permissions = nas.get("unix_permissions")
    mode = autosize["mode"]
    if type(mode) is not str or type(permissions) not in _NUMBERS or type(compression) not in _TEXTS:
        raise TypeError("a value of a wrong type, which is converted below")
    return Volume(
        record["name"],
        record["uuid"],
        record["state"],
        record["nodes"][0]["name"] if "nodes" in record else nodes.get(aggregate),
        aggregate,
        nas.get("path") or None,
        space["afs_total"],
        space["used"],
        mode != "off",
        autosize["maximum"],
        nas["export_policy"]["name"],
        snapshot["reserve_percent"],
        snapshot.get("space_used_percent"),
        compression in _BACKGROUND,
        compression in _INLINE,
        record["flash_pool"].get("caching_policy") if "flash_pool" in record else None,
        utc(record["create_time"]),
        record["snapshot_policy"]["name"] if "snapshot_policy" in record else None,
        nas.get("security_style"),
        None if permissions is None else _octal(permissions),
        record["guarantee"]["type"] if "guarantee" in record else None,
        record["qos"]["policy"].get("name") if "qos" in record and "policy" in record["qos"] else None,
        _tiering(record["tiering"].get("policy")) if "tiering" in record else None,
        without_owner(record["comment"]) if "comment" in record else None,
        record.get("type"),
    )


def _is_well_typed(mapped: Volume) -> bool:
    """Do all values that were taken over have the right type?"""
    types = (
        type(mapped.size_total), type(mapped.size_used), type(mapped.max_autosize),
        type(mapped.percentage_snapshot_reserve), type(mapped.percentage_snapshot_reserve_used),
        type(mapped.uuid), type(mapped.state), type(mapped.filer_address), type(mapped.aggregate_name),
        type(mapped.junction_path), type(mapped.active_policy_name), type(mapped.caching_policy),
        type(mapped.snapshot_policy), type(mapped.security_style), type(mapped.space_guarantee),
        type(mapped.qos_policy), type(mapped.type), type(mapped.comment),
    )  # fmt: skip
    if types in _well_typed:
        return True
    is_well_typed = _NUMBERS.issuperset(types[:_NUMBER_COUNT]) and _TEXTS.issuperset(types[_NUMBER_COUNT:])
    if is_well_typed:
        _well_typed.add(types)  # There are few combinations, each of which comes thousands of times.
    return is_well_typed


def _tolerant(record: Record, nodes: Mapping[str, str]) -> Volume:
    """Map any volume: missing and malformed fields become None."""
    fields = Fields(record)
    aggregate = _aggregate(record)
    state = fields.text("state")
    compression = fields.text("efficiency.compression")
    is_known = state != "offline"  # The compression of an offline volume is not known.
    mode = fields.text("autosize.mode")
    permissions = fields.number("nas.unix_permissions")
    mapped = Volume(
        name=record["name"],
        uuid=fields.text("uuid"),
        state=state,
        filer_address=Fields(first(record.get("nodes"))).text("name") or nodes.get(aggregate or ""),
        aggregate_name=aggregate,
        junction_path=fields.text("nas.path") or None,
        size_total=_usable(fields),
        size_used=fields.number("space.used"),
        autosize_enabled=None if mode is None else mode != "off",
        max_autosize=fields.number("autosize.maximum"),
        active_policy_name=fields.text("nas.export_policy.name"),
        percentage_snapshot_reserve=fields.number("space.snapshot.reserve_percent"),
        percentage_snapshot_reserve_used=fields.number("space.snapshot.space_used_percent"),
        compression_enabled=compression in _BACKGROUND if is_known else None,
        inline_compression=compression in _INLINE if is_known else None,
        caching_policy=fields.text("flash_pool.caching_policy"),
        creation_time=utc(fields.text("create_time")),
        snapshot_policy=fields.text("snapshot_policy.name"),
        security_style=fields.text("nas.security_style"),
        unix_permissions=None if permissions is None else _octal(permissions),
        space_guarantee=fields.text("guarantee.type"),
        qos_policy=fields.text("qos.policy.name"),
        tiering_policy=_tiering(fields.text("tiering.policy")),
        comment=without_owner(fields.text("comment")),
        type=fields.text("type"),
    )
    fields.odd.update(name for name in ("aggregates", "nodes") if _is_odd_list(record, name))
    if fields.odd:
        report_malformed_record("volume", record["name"], f"it has odd values in {', '.join(sorted(fields.odd))}")
    return mapped


def _is_odd_list(record: Record, name: str) -> bool:
    entries = record.get(name, [])
    entry = first(entries)
    return entries != [] and not (isinstance(entry, dict) and isinstance(entry.get("name", ""), str))


def _aggregate(record: Record) -> str | None:
    return Fields(first(record.get("aggregates"))).text("name")


@lru_cache(maxsize=1024)
def _octal(permissions: int) -> str:
    """Convert permissions, whose octal digits ONTAP sends as a decimal number."""
    return f"{permissions:04d}"


def _tiering(policy: str | None) -> str | None:
    return None if policy is None else policy.replace("_", "-")


def _usable(fields: Fields) -> int | None:
    usable = fields.number("space.afs_total")
    if usable is not None:
        return usable
    size = fields.number("size")
    size = fields.number("space.size") if size is None else size
    reserve = fields.number("space.snapshot.reserve_percent")
    return None if size is None or reserve is None else size * (100 - reserve) // 100


def size_with_reserve(size_total: int, reserve_percent: int) -> int:
    """Return the size for ONTAP with which a client can use ``size_total`` bytes."""
    return -(-size_total * 100 // (100 - reserve_percent))


def default_maximum(size: int) -> int:
    """Return the default autosize limit of a volume of ``size`` bytes: 120 %."""
    return min(MAX_SIZE_BYTES, -(-size * 6 // 5))


def snapshot(record: Record) -> Snapshot:
    """Return the snapshot; its size is what deleting it would free."""
    fields = Fields(record)
    reclaimable = fields.number("reclaimable_space")
    mapped = Snapshot(
        record["name"], utc(fields.text("create_time")), None if reclaimable is None else reclaimable // 1024
    )
    if fields.odd:
        report_malformed_record("snapshot", record["name"], f"it has odd values in {', '.join(sorted(fields.odd))}")
    return mapped


def locks(records: Iterable[Any]) -> list[Lock]:
    """Return the hosts of these locks, each once and in canonical form, in the filer's order."""
    hosts = dict.fromkeys(lock_host(record) for record in records)
    return [Lock(host) for host in hosts if host]


def lock_host(record: Any) -> str:
    """Return the host of a lock, in canonical form; "" if the record has none."""
    return canonical_host(Fields(record).text("client_address") or "")
