"""ONTAP's records as our models. Every field may be missing: an offline volume lacks half of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from storage_backends.models import ExportPolicy, Lock, Snapshot, Volume

Record = Mapping[str, Any]

#: Asked for by name: ``fields=*`` leaves the expensive ones out. ``style`` and ``is_svm_root`` are for us alone.
VOLUME_FIELDS: tuple[str, ...] = (
    "uuid", "name", "state", "create_time", "style", "is_svm_root", "size", "aggregates.name", "nodes.name",
    "nas.path", "nas.export_policy.name", "space.used", "space.afs_total", "space.snapshot.reserve_percent",
    "space.snapshot.space_used_percent", "autosize.mode", "autosize.maximum", "efficiency.compression",
    "efficiency.dedupe", "flash_pool.caching_policy", "comment",
)  # fmt: skip
#: Not worth asking for ten thousand times.
LISTING_FIELDS: tuple[str, ...] = tuple(
    name for name in VOLUME_FIELDS if name not in {"efficiency.dedupe", "comment", "is_svm_root"}
)
CLONE_FIELDS: tuple[str, ...] = (
    *VOLUME_FIELDS,
    "clone.is_flexclone",
    "clone.parent_volume.name",
    "clone.parent_volume.uuid",
)
SNAPSHOT_FIELDS: tuple[str, ...] = ("uuid", "name", "create_time", "reclaimable_space", "owners", "comment")
POLICY_FIELDS: tuple[str, ...] = ("id", "name", "are_rules_truncated", "rules.index", "rules.clients.match")
RULE_FIELDS: tuple[str, ...] = ("index", "clients.match")
LOCK_FIELDS: tuple[str, ...] = ("uuid", "client_address")
#: What a filer of the oldest release that we know (9.10.1) may not have.
NEWER_FIELDS: frozenset[str] = frozenset({"nodes.name", "are_rules_truncated"})

MIN_SIZE_BYTES = 20 * 1024 * 1024
MAX_SIZE_BYTES = 2**63 - 1
#: ONTAP keeps sizes in blocks; two that differ by less are the same.
BLOCK_BYTES = 4096
_SECONDS_IN_UTC = len("2017-08-10T12:00:00+00:00")
_NOTHING: Record = {}
_BACKGROUND, _INLINE = frozenset({"background", "both"}), frozenset({"inline", "both"})


def utc(time: str | None) -> str | None:
    """ONTAP's time (ISO 8601 with an offset) as RFC 3339 in UTC; None for what is none."""
    if not time:
        return None
    if time.endswith("+00:00") and len(time) == _SECONDS_IN_UTC:  # As most filers tell it, thousands of times.
        return f"{time[:10]}T{time[11:19]}Z"  # Some write a blank between date and time.
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    if moment.utcoffset() is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def is_volume(record: Record) -> bool:
    """Is it one that the service knows: not restricted, not part of a bigger one, not the storage system's own?"""
    return (
        record.get("state") != "restricted"
        and record.get("style") != "flexgroup_constituent"
        and not (_aggregate(record) or "").startswith("aggr0")
    )


def volume(record: Record, nodes: Mapping[str, str] = _NOTHING) -> Volume:
    """A volume; ``nodes`` tells the node of an aggregate where the filer is too old to say it of the volume."""
    try:
        return _whole(record, nodes)
    except (KeyError, IndexError):
        return _partial(record, nodes)


def placed(volume: Volume, nodes: Mapping[str, str]) -> Volume:
    """The same, with the node of its aggregate where it has none."""
    node = nodes.get(volume.aggregate_name or "")
    return volume if volume.filer_address is not None or node is None else replace(volume, filer_address=node)


def _whole(record: Record, nodes: Mapping[str, str]) -> Volume:
    """An online volume, as nearly all are: a listing of ten thousand spends most of its time in here."""
    space = record["space"]
    snapshot = space["snapshot"]
    nas = record["nas"]
    autosize = record["autosize"]
    aggregate = record["aggregates"][0]["name"]
    compression = record["efficiency"].get("compression") if "efficiency" in record else None
    return Volume(
        record["name"],
        record["uuid"],
        record["state"],
        record["nodes"][0]["name"] if "nodes" in record else nodes.get(aggregate),
        aggregate,
        nas.get("path") or None,
        space["afs_total"],
        space["used"],
        autosize["mode"] != "off",
        autosize["maximum"],
        nas["export_policy"]["name"],
        snapshot["reserve_percent"],
        snapshot.get("space_used_percent"),
        compression in _BACKGROUND,
        compression in _INLINE,
        record["flash_pool"].get("caching_policy") if "flash_pool" in record else None,
        utc(record["create_time"]),
    )


def _partial(record: Record, nodes: Mapping[str, str]) -> Volume:
    """Any volume: each field may be missing."""
    space: Record = record.get("space") or _NOTHING
    snapshot: Record = space.get("snapshot") or _NOTHING
    nas: Record = record.get("nas") or _NOTHING
    autosize: Record = record.get("autosize") or _NOTHING
    efficiency: Record = record.get("efficiency") or _NOTHING
    compression = efficiency.get("compression")
    node = record.get("nodes")
    is_known = record.get("state") != "offline"  # An offline volume does not tell how it is compressed.
    return Volume(
        name=record["name"],
        uuid=record.get("uuid"),
        state=record.get("state"),
        filer_address=(node[0].get("name") if node else None) or nodes.get(_aggregate(record) or ""),
        aggregate_name=_aggregate(record),
        junction_path=nas.get("path") or None,
        size_total=_usable(record, space, snapshot),
        size_used=space.get("used"),
        autosize_enabled=autosize["mode"] != "off" if "mode" in autosize else None,
        max_autosize=autosize.get("maximum"),
        active_policy_name=(nas.get("export_policy") or _NOTHING).get("name"),
        percentage_snapshot_reserve=snapshot.get("reserve_percent"),
        percentage_snapshot_reserve_used=snapshot.get("space_used_percent"),
        compression_enabled=compression in _BACKGROUND if is_known else None,
        inline_compression=compression in _INLINE if is_known else None,
        caching_policy=(record.get("flash_pool") or _NOTHING).get("caching_policy"),
        creation_time=utc(record.get("create_time")),
    )


def _aggregate(record: Record) -> str | None:
    found = record.get("aggregates")
    return found[0].get("name") if found else None


def _usable(record: Record, space: Record, snapshot: Record) -> int | None:
    usable: int | None = space.get("afs_total")
    if usable is not None:
        return usable
    size: int | None = record.get("size", space.get("size"))
    reserve: int | None = snapshot.get("reserve_percent")
    return None if size is None or reserve is None else size * (100 - reserve) // 100


def size_with_reserve(size_total: int, reserve_percent: int) -> int:
    """What ONTAP must be asked for so that a client can use ``size_total`` bytes."""
    return -(-size_total * 100 // (100 - reserve_percent))


def default_maximum(size: int) -> int:
    """How far a volume of ``size`` bytes may grow unless somebody says otherwise: 120 %."""
    return min(MAX_SIZE_BYTES, -(-size * 6 // 5))


def snapshot(record: Record) -> Snapshot:
    """A snapshot; the space that it holds is what deleting it would give back."""
    held = record.get("reclaimable_space")
    return Snapshot(record["name"], utc(record.get("create_time")), None if held is None else held // 1024)


def locks(records: Iterable[Record]) -> list[Lock]:
    """The hosts that hold any of these locks, each once, in the filer's order."""
    hosts = dict.fromkeys(record.get("client_address") for record in records)
    return [Lock(host) for host in hosts if host]


def matches(rule: Record) -> list[str]:
    """The clients that one of ONTAP's rules is for."""
    return [client["match"] for client in rule.get("clients") or () if client.get("match")]


def policy(name: str, rules: Iterable[Record]) -> ExportPolicy:
    """An export policy: each client of each rule is a rule of ours, in the order of ONTAP's indexes, each once."""
    ordered = sorted(rules, key=lambda rule: rule.get("index", 0))
    return ExportPolicy(name, tuple(dict.fromkeys(match for rule in ordered for match in matches(rule))))
