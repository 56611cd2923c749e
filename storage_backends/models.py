"""The models that all drivers return: sizes in bytes, times in RFC 3339 UTC, unknown values as None."""

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
    #: ``none`` or ``volume``: is the whole size reserved on the aggregate?
    space_guarantee: str | None = None
    #: The QoS policy's name; None: the volume has none, or it is not known.
    qos_policy: str | None = None
    #: ``none``, ``snapshot-only``, ``auto`` or ``all``.
    tiering_policy: str | None = None
    #: The users' text, without what a driver adds to it.
    comment: str | None = None
    #: ``rw``; ``dp`` and ``ls`` are copies made by the storage system, and are never changed.
    type: str | None = None


class VolumeSettings(TypedDict, total=False):
    """Settings at creation, which can be changed later; missing keys are left unchanged."""

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
    """Settings of a clone; missing ones are those of the snapshot."""

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
    """One rule as the storage system has it: clients, protocols and rights.

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
    """The clients that may mount: NFS client matches in canonical form, in the order in which they apply."""

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
    """A volume identified by its junction path. The node is ignored: a filer has many names."""

    node: str
    junction_path: str


def parse_reference(volume: str) -> VolumePath | None:
    """Return the path of ``node:/junction/path``; None when ``volume`` is a name (a name holds no colon)."""
    node, colon, path = volume.partition(":")
    return VolumePath(node, path) if colon else None


def junction_key(junction_path: str) -> str:
    """Return a key that is equal for equal junction paths, which storage systems compare without regard to case."""
    return junction_path.casefold()


def default_junction_path(name: str) -> str:
    """Return the default junction path of a new volume."""
    return f"/{name}"
