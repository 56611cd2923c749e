"""What a storage system holds, as every driver describes it: sizes in bytes, times in RFC 3339 UTC, unknown is None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume; ``size_total`` is what a client can use, without the snapshot reserve."""

    name: str
    uuid: str | None = None
    state: str | None = None
    filer_address: str | None = None
    aggregate_name: str | None = None
    junction_path: str | None = None
    size_total: int | None = None
    size_used: int | None = None
    autosize_enabled: bool | None = None
    max_autosize: int | None = None
    active_policy_name: str | None = None
    percentage_snapshot_reserve: int | None = None
    percentage_snapshot_reserve_used: int | None = None
    compression_enabled: bool | None = None
    inline_compression: bool | None = None
    caching_policy: str | None = None
    creation_time: str | None = None


class VolumeSettings(TypedDict, total=False):
    """What can be chosen at creation and changed later; a key that is absent is left as it is."""

    autosize_enabled: bool
    max_autosize: int
    size_total: int
    active_policy_name: str
    percentage_snapshot_reserve: int
    compression_enabled: bool
    inline_compression: bool
    caching_policy: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A volume's state frozen under a name; ``size_kbytes`` is the space that it holds."""

    name: str
    creation_time: str | None = None
    size_kbytes: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """A client host that holds locks on a volume."""

    host: str


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """Who may mount: NFS client matches in the order in which they apply."""

    name: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumePath:
    """A volume named by where it is mounted. The node is informational: clients mount by many names of one filer."""

    node: str
    junction_path: str


def parse_reference(volume: str) -> VolumePath | None:
    """Return the path of ``node:/junction/path``; None when ``volume`` is a name (a name holds no colon)."""
    node, colon, path = volume.partition(":")
    return VolumePath(node, path) if colon else None
