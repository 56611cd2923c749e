"""Changes of volumes: create, update, clone, roll back, restrict; each within the caller's transaction."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4
from zlib import crc32

from storage_backends.dummy import export_policies as policies
from storage_backends.dummy import snapshots
from storage_backends.dummy import volume_rows as rows
from storage_backends.errors import AlreadyExists, FieldError, InvalidRequest
from storage_backends.models import (
    CloneSettings,
    Volume,
    VolumeSettings,
    as_volume_settings,
    default_junction_path,
    parse_reference,
)

#: The default size of a filer (bytes).
DEFAULT_SIZE_BYTES = 20 * 1024 * 1024
#: The aggregate for new volumes, and the address of its node.
AGGREGATES = {
    "aggr1_c01n01": "dummy-n01",
    "aggr1_c01n02": "dummy-n02",
    "aggr2_c01n01": "dummy-n01",
    "aggr2_c01n02": "dummy-n02",
}
MAX_COMMENT_CHARACTERS = 1023
_PERMISSIONS = re.compile(r"[0-7]{4}")
#: Value that removes the QoS policy.
NO_QOS_POLICY = "none"
#: The settings with a fixed set of values.
_CHOICES = {
    "security_style": ("unix", "ntfs", "mixed"),
    "space_guarantee": ("none", "volume"),
    "tiering_policy": ("none", "snapshot-only", "auto", "all"),
}


def create(
    db: sqlite3.Connection,
    name: str,
    aggregate_name: str | None,
    junction_path: str | None,
    settings: VolumeSettings,
) -> Volume:
    """Make an empty volume."""
    junction = _place(db, name, junction_path)
    if aggregate_name == "":
        raise _invalid("aggregate_name", "an aggregate has a name")
    aggregate = aggregate_name or list(AGGREGATES)[crc32(name.encode()) % len(AGGREGATES)]
    blank = Volume(
        name=name,
        uuid=str(uuid4()),
        state="online",
        filer_address=AGGREGATES.get(aggregate, "dummy-n01"),
        aggregate_name=aggregate,
        junction_path=junction,
        size_total=DEFAULT_SIZE_BYTES,
        size_used=0,
        autosize_enabled=True,
        active_policy_name=policies.DEFAULT,
        percentage_snapshot_reserve=5,
        percentage_snapshot_reserve_used=0,
        compression_enabled=False,
        inline_compression=False,
        caching_policy="auto",
        creation_time=_now(),
        snapshot_policy="default",
        security_style="unix",
        unix_permissions="0755",
        space_guarantee="none",
        tiering_policy="none",
        comment="",
        type="rw",
    )
    volume = _with_settings(db, blank, settings)
    rows.insert(db, volume)
    return volume


def clone(
    db: sqlite3.Connection,
    name: str,
    from_volume: str,
    from_snapshot: str,
    junction_path: str | None,
    settings: CloneSettings,
) -> Volume:
    """Create an independent volume from a snapshot."""
    source = rows.find(db, from_volume)
    snapshotted = snapshots.volume_at(db, source.name, from_snapshot)
    copied = replace(
        snapshotted,
        type="rw",
        name=name,
        uuid=str(uuid4()),
        state="online",
        junction_path=_place(db, name, junction_path),
        active_policy_name=_policy_still_there(db, snapshotted.active_policy_name, policies.DEFAULT),
        creation_time=_now(),
    )
    volume = _with_settings(db, copied, as_volume_settings(settings))
    rows.insert(db, volume)
    return volume


def roll_back(db: sqlite3.Connection, volume: str, from_snapshot: str) -> Volume:
    """Restore a snapshot; identity and junction path are kept, later snapshots are deleted."""
    present = rows.find_data_volume(db, volume)
    snapshotted = snapshots.volume_at(db, present.name, from_snapshot)
    restored = replace(
        snapshotted,
        junction_path=present.junction_path,
        active_policy_name=_policy_still_there(db, snapshotted.active_policy_name, present.active_policy_name),
    )
    rows.replace(db, restored)
    snapshots.drop_later(db, present.name, from_snapshot)
    return restored


def update(db: sqlite3.Connection, volume: str, settings: VolumeSettings) -> Volume:
    """Change the settings in ``settings``."""
    changed = _with_settings(db, rows.find_data_volume(db, volume), settings)
    rows.replace(db, changed)
    return changed


def restrict(db: sqlite3.Connection, volume: str) -> None:
    """Hide a volume with its snapshots and its lock; its name stays in use, its path becomes free."""
    present = rows.find_data_volume(db, volume)
    rows.replace(db, replace(present, state="restricted", junction_path=None))


def reinstate(db: sqlite3.Connection, name: str, junction_path: str | None) -> Volume:
    """Bring a restricted volume back into service, mounted at the requested path, else at its name."""
    restricted = rows.find_restricted(db, name)
    policy = _policy_still_there(db, restricted.active_policy_name, policies.DEFAULT)
    volume = replace(
        restricted, state="online", junction_path=_free_path(db, name, junction_path), active_policy_name=policy
    )
    rows.replace(db, volume)
    return volume


def _place(db: sqlite3.Connection, name: str, junction_path: str | None) -> str:
    """Return the junction path of a new volume; its name and the path must be free."""
    if not name or parse_reference(name) is not None:
        raise _invalid("volume", "a new volume is given by its name")
    rows.require_free_name(db, name)
    return _free_path(db, name, junction_path)


def _free_path(db: sqlite3.Connection, name: str, junction_path: str | None) -> str:
    """Return the requested junction path, or the default by name; it must be free."""
    if junction_path is None:
        junction_path = default_junction_path(name)
    if not junction_path.startswith("/") or junction_path == "/":
        raise _invalid("junction_path", "a junction path begins with a slash and names a place")
    if not rows.is_free_junction(db, junction_path):
        raise AlreadyExists(f"a volume is already mounted at {junction_path}")
    return junction_path


def _with_settings(db: sqlite3.Connection, volume: Volume, settings: VolumeSettings) -> Volume:
    """Return the volume with the settings, or raise InvalidRequest."""
    _require_possible(settings)
    policy = settings.get("active_policy_name")
    if policy is not None and not policies.exists(db, policy):
        raise _invalid("active_policy_name", f"there is no export policy {policy}")
    changed = replace(volume, **settings)
    if changed.qos_policy == NO_QOS_POLICY:
        changed = replace(changed, qos_policy=None)
    if "size_total" in settings and (changed.size_total or 0) < (changed.size_used or 0):
        raise _invalid("size_total", f"{changed.size_used} bytes of it are in use")
    return _with_room_to_grow(changed, settings)


def _with_room_to_grow(volume: Volume, settings: VolumeSettings) -> Volume:
    """Return the volume with an autosize limit not below its size; a requested limit is never altered."""
    size, limit = volume.size_total, volume.max_autosize
    if not volume.autosize_enabled or size is None or (limit is not None and limit >= size):
        return volume
    if "max_autosize" in settings:
        raise _invalid("max_autosize", f"it is below the volume's size, {size} bytes")
    if limit is not None and not settings.keys() & {"size_total", "autosize_enabled"}:
        return volume
    return replace(volume, max_autosize=size * 6 // 5)


def _require_possible(settings: VolumeSettings) -> None:
    if settings.get("size_total", 0) < 0:
        raise _invalid("size_total", "a size is not negative")
    if settings.get("max_autosize", 0) < 0:
        raise _invalid("max_autosize", "a size is not negative")
    if settings.get("percentage_snapshot_reserve", 0) not in range(101):
        raise _invalid("percentage_snapshot_reserve", "a percentage is 0 to 100")
    for field, values in _CHOICES.items():
        if settings.get(field, values[0]) not in values:
            raise _invalid(field, f"it is one of {', '.join(values)}")
    if not _PERMISSIONS.fullmatch(settings.get("unix_permissions", "0755")):
        raise _invalid("unix_permissions", "permissions are four octal digits")
    if len(settings.get("comment", "")) > MAX_COMMENT_CHARACTERS:
        raise _invalid("comment", f"it is at most {MAX_COMMENT_CHARACTERS} characters")


def _policy_still_there(db: sqlite3.Connection, policy: str | None, otherwise: str | None) -> str | None:
    return policy if policy is None or policies.exists(db, policy) else otherwise


def _invalid(field: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {detail}", errors=(FieldError(f"/{field}", detail),))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
