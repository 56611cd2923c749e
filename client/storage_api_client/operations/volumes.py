"""Volumes, their snapshots and their locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from storage_api_client.models import Lock, Snapshot, Volume
from storage_api_client.operations.paths import Where, path, selection
from storage_api_client.protocol.changes import Change, no_change, nothing
from storage_api_client.protocol.reads import Read, parser_of

Fields = Iterable[str] | str | None


def list_volumes(subsystem: str, where: Where = None, sort: str | None = None, fields: Fields = None) -> Read[Volume]:
    """Volumes, as far as they meet conditions."""
    return Read(path(subsystem, "volumes"), Volume.of, selection(where, sort, fields))


def list_restricted_volumes(
    subsystem: str, where: Where = None, sort: str | None = None, fields: Fields = None
) -> Read[Volume]:
    """Volumes that were taken out of service."""
    return Read(path(subsystem, "restricted"), Volume.of, selection(where, sort, fields))


def get_volume(subsystem: str, volume: str) -> Read[Volume]:
    """One volume."""
    return Read(path(subsystem, "volumes", volume), parser_of(Volume.of))


def create_volume(subsystem: str, volume: str, settings: Mapping[str, Any] | None = None) -> Change[Volume]:
    """A new, empty volume."""
    return Change("POST", path(subsystem, "volumes", volume), parser_of(Volume.of), dict(settings or {}))


def clone_volume(
    subsystem: str, volume: str, from_volume: str, from_snapshot: str, settings: Mapping[str, Any] | None = None
) -> Change[Volume]:
    """A new volume that is an independent copy of another's snapshot."""
    origin = {"from_volume": from_volume, "from_snapshot": from_snapshot}
    return create_volume(subsystem, volume, {**(settings or {}), **origin})


def roll_back_volume(subsystem: str, volume: str, to: str) -> Change[Volume]:
    """A volume as it was when a snapshot was made; later snapshots go."""
    return create_volume(subsystem, volume, {"from_snapshot": to})


def update_volume(subsystem: str, volume: str, settings: Mapping[str, Any]) -> Change[Volume]:
    """A volume with other settings.

    Raises:
        Refused: nothing is to be changed.
    """
    if not settings:
        raise no_change("Nothing is to be changed: name at least one setting.")
    return Change("PATCH", path(subsystem, "volumes", volume), parser_of(Volume.of), dict(settings))


def restrict_volume(subsystem: str, volume: str) -> Change[None]:
    """A volume taken out of service; its data stays."""
    return Change("DELETE", path(subsystem, "volumes", volume), nothing)


def reinstate_volume(subsystem: str, volume: str, junction_path: str | None = None) -> Change[Volume]:
    """A restricted volume, online and mounted again."""
    body = {"junction_path": junction_path} if junction_path else {}
    return Change("POST", path(subsystem, "restricted", volume, "reinstate"), parser_of(Volume.of), body)


def list_snapshots(
    subsystem: str, volume: str, where: Where = None, sort: str | None = None, fields: Fields = None
) -> Read[Snapshot]:
    """A volume's snapshots."""
    return Read(path(subsystem, "volumes", volume, "snapshots"), Snapshot.of, selection(where, sort, fields))


def get_snapshot(subsystem: str, volume: str, name: str) -> Read[Snapshot]:
    """One snapshot."""
    return Read(path(subsystem, "volumes", volume, "snapshots", name), parser_of(Snapshot.of))


def create_snapshot(subsystem: str, volume: str, name: str, *, purge_old_if_needed: bool = False) -> Change[Snapshot]:
    """A new snapshot; where the limit is reached, and that is wanted, in the place of the oldest one."""
    body = {"purge_old_if_needed": True} if purge_old_if_needed else {}
    return Change("POST", path(subsystem, "volumes", volume, "snapshots", name), parser_of(Snapshot.of), body)


def delete_snapshot(subsystem: str, volume: str, name: str) -> Change[None]:
    """A snapshot gone."""
    return Change("DELETE", path(subsystem, "volumes", volume, "snapshots", name), nothing)


def list_locks(subsystem: str, volume: str) -> Read[Lock]:
    """The hosts that hold locks on a volume."""
    return Read(path(subsystem, "volumes", volume, "locks"), Lock.of)


def create_lock(subsystem: str, volume: str, host: str) -> Change[Lock]:
    """A host holding the lock."""
    return Change("PUT", path(subsystem, "volumes", volume, "locks", host), parser_of(Lock.of))


def remove_lock(subsystem: str, volume: str, host: str) -> Change[None]:
    """A host holding the lock no more."""
    return Change("DELETE", path(subsystem, "volumes", volume, "locks", host), nothing)
