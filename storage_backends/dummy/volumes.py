"""What happens to volumes: made, changed, copied, put back, restricted; each within the caller's transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4
from zlib import crc32

from storage_backends.dummy import export_policies as policies
from storage_backends.dummy import snapshots
from storage_backends.dummy import volume_rows as records
from storage_backends.errors import AlreadyExists, FieldError, InvalidRequest
from storage_backends.models import Volume, VolumeSettings, parse_reference

#: What a filer takes when no size is asked for, in bytes.
DEFAULT_SIZE_BYTES = 20 * 1024 * 1024
#: Where new volumes go, and the address of the node that has it.
AGGREGATES = {
    "aggr1_c01n01": "dummy-n01",
    "aggr1_c01n02": "dummy-n02",
    "aggr2_c01n01": "dummy-n01",
    "aggr2_c01n02": "dummy-n02",
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
    )
    volume = _changed(db, blank, settings)
    records.insert(db, volume)
    return volume


def clone(db: sqlite3.Connection, name: str, from_volume: str, from_snapshot: str, junction_path: str | None) -> Volume:
    """Make a volume of its own from what a snapshot holds."""
    source = records.find(db, from_volume)
    held = snapshots.held_record(db, source.name, from_snapshot)
    volume = replace(
        held,
        name=name,
        uuid=str(uuid4()),
        state="online",
        junction_path=_place(db, name, junction_path),
        active_policy_name=_policy_still_there(db, held.active_policy_name, policies.DEFAULT),
        creation_time=_now(),
    )
    records.insert(db, volume)
    return volume


def roll_back(db: sqlite3.Connection, volume: str, from_snapshot: str) -> Volume:
    """Put back what a snapshot holds; what the volume is and where it is mounted stay, later snapshots go."""
    present = records.find(db, volume)
    held = snapshots.held_record(db, present.name, from_snapshot)
    restored = replace(
        held,
        name=present.name,
        uuid=present.uuid,
        state=present.state,
        filer_address=present.filer_address,
        aggregate_name=present.aggregate_name,
        junction_path=present.junction_path,
        creation_time=present.creation_time,
        active_policy_name=_policy_still_there(db, held.active_policy_name, present.active_policy_name),
    )
    records.replace(db, restored)
    snapshots.drop_later(db, present.name, from_snapshot)
    return restored


def update(db: sqlite3.Connection, volume: str, settings: VolumeSettings) -> Volume:
    """Change what is given."""
    changed = _changed(db, records.find(db, volume), settings)
    records.replace(db, changed)
    return changed


def restrict(db: sqlite3.Connection, volume: str) -> None:
    """Take a volume out of sight, with its snapshots and its lock; its name stays taken, its path does not."""
    present = records.find(db, volume)
    records.replace(db, replace(present, state="restricted"))


def _place(db: sqlite3.Connection, name: str, junction_path: str | None) -> str | None:
    """Return where a new volume is mounted: where asked for, else at its name when that is free."""
    if not name or parse_reference(name) is not None:
        raise _invalid("volume", "a new volume is given by its name")
    records.require_free_name(db, name)
    if junction_path is None:
        return f"/{name}" if records.is_free_junction(db, f"/{name}") else None
    if not junction_path.startswith("/") or junction_path == "/":
        raise _invalid("junction_path", "a junction path begins with a slash and names a place")
    if not records.is_free_junction(db, junction_path):
        raise AlreadyExists(f"a volume is already mounted at {junction_path}")
    return junction_path


def _changed(db: sqlite3.Connection, volume: Volume, settings: VolumeSettings) -> Volume:
    """Return the volume with the settings, or raise InvalidRequest."""
    _require_ranges(settings)
    policy = settings.get("active_policy_name")
    if policy is not None and not policies.exists(db, policy):
        raise _invalid("active_policy_name", f"there is no export policy {policy}")
    changed = replace(volume, **settings)
    if "size_total" in settings and (changed.size_total or 0) < (changed.size_used or 0):
        raise _invalid("size_total", f"{changed.size_used} bytes of it are in use")
    return _with_room_to_grow(changed, settings)


def _with_room_to_grow(volume: Volume, settings: VolumeSettings) -> Volume:
    """Return the volume with an autosize limit that is not below its size; one that was asked for is never altered."""
    size, limit = volume.size_total, volume.max_autosize
    if not volume.autosize_enabled or size is None or (limit is not None and limit >= size):
        return volume
    if "max_autosize" in settings:
        raise _invalid("max_autosize", f"it is below the volume's size, {size} bytes")
    if limit is not None and not settings.keys() & {"size_total", "autosize_enabled"}:
        return volume
    return replace(volume, max_autosize=size * 6 // 5)


def _require_ranges(settings: VolumeSettings) -> None:
    if settings.get("size_total", 0) < 0:
        raise _invalid("size_total", "a size is not negative")
    if settings.get("max_autosize", 0) < 0:
        raise _invalid("max_autosize", "a size is not negative")
    if settings.get("percentage_snapshot_reserve", 0) not in range(101):
        raise _invalid("percentage_snapshot_reserve", "a percentage is 0 to 100")


def _policy_still_there(db: sqlite3.Connection, policy: str | None, otherwise: str | None) -> str | None:
    return policy if policy is None or policies.exists(db, policy) else otherwise


def _invalid(field: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {detail}", errors=(FieldError(f"/{field}", detail),))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
