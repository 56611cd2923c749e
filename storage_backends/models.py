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
    #: The snapshot policy's name.
    snapshot_policy: str | None = None
    #: ``unix``, ``ntfs`` or ``mixed``.
    security_style: str | None = None
    #: Of the volume's root directory, as four octal digits: ``0755``.
    unix_permissions: str | None = None
    #: ``none`` or ``volume``: is the whole size set aside on the aggregate?
    space_guarantee: str | None = None
    #: The QoS policy's name; None: the volume has none, or it is not known.
    qos_policy: str | None = None
    #: ``none``, ``snapshot-only``, ``auto`` or ``all``.
    tiering_policy: str | None = None
    #: The users' own text, without what a driver adds to it.
    comment: str | None = None
    #: ``rw``; ``dp`` and ``ls`` are copies that the storage system keeps, and are never changed.
    type: str | None = None


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
    snapshot_policy: str
    security_style: str
    unix_permissions: str
    space_guarantee: str
    qos_policy: str
    tiering_policy: str
    comment: str


class CloneSettings(TypedDict, total=False):
    """What a clone may have of its own; what is absent is as it was in the snapshot."""

    active_policy_name: str
    size_total: int


def as_volume_settings(settings: CloneSettings) -> VolumeSettings:
    """Return the settings of a clone as those of any volume."""
    volume_settings: VolumeSettings = {}
    if "active_policy_name" in settings:
        volume_settings["active_policy_name"] = settings["active_policy_name"]
    if "size_total" in settings:
        volume_settings["size_total"] = settings["size_total"]
    return volume_settings


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
class ExportRule:
    """One rule as the storage system keeps it: who, by which protocols, and with which rights.

    ``ro``, ``rw`` and ``superuser`` list the authentication flavours that get the right (``sys``, ``krb5``, ``any``;
    ``never`` and ``none`` for nobody).
    """

    index: int
    clients: tuple[str, ...]
    ro: tuple[str, ...] = ()
    rw: tuple[str, ...] = ()
    superuser: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """Who may mount: NFS client matches in canonical form, in the order in which they apply."""

    name: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetailedExportPolicy:
    """An export policy, and its rules with their rights in the order of their indexes."""

    name: str
    rules: tuple[str, ...] = ()
    details: tuple[ExportRule, ...] = ()

    @property
    def summary(self) -> ExportPolicy:
        """The policy without the rights."""
        return ExportPolicy(self.name, self.rules)


@dataclass(frozen=True, slots=True)
class VolumePath:
    """A volume named by where it is mounted. The node is informational: clients mount by many names of one filer."""

    node: str
    junction_path: str


def parse_reference(volume: str) -> VolumePath | None:
    """Return the path of ``node:/junction/path``; None when ``volume`` is a name (a name holds no colon)."""
    node, colon, path = volume.partition(":")
    return VolumePath(node, path) if colon else None


def junction_key(junction_path: str) -> str:
    """Return what two junction paths have in common when they are the same place: storage systems ignore case."""
    return junction_path.casefold()


def default_junction_path(name: str) -> str:
    """Return where a new volume is mounted unless somebody says otherwise."""
    return f"/{name}"
