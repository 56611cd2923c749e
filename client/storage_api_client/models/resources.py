"""What a storage system holds. Sizes are bytes; what it does not know, or was not asked for, is None."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage_api_client.models.base import Model, converted, moment, nested_list


@dataclass(frozen=True)
class Volume(Model):
    """One volume; ``size_total`` is what its clients can use, without the snapshot reserve."""

    name: str = ""
    uuid: str | None = None
    state: str | None = None
    type: str | None = None
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
    snapshot_policy: str | None = None
    security_style: str | None = None
    unix_permissions: str | None = None
    space_guarantee: str | None = None
    qos_policy: str | None = None
    tiering_policy: str | None = None
    comment: str | None = None
    creation_time: datetime | None = moment()


@dataclass(frozen=True)
class Snapshot(Model):
    """A volume's state under a name; ``size_kbytes`` is the space that it holds, in KiB."""

    name: str = ""
    creation_time: datetime | None = moment()
    size_kbytes: int | None = None


@dataclass(frozen=True)
class Lock(Model):
    """A client host that holds the lock on a volume."""

    host: str = ""


@dataclass(frozen=True)
class ExportRule(Model):
    """A rule as the storage system keeps it: the first that matches counts; rights are authentication flavours."""

    index: int = 0
    clients: tuple[str, ...] = converted(tuple, ())
    ro: tuple[str, ...] = converted(tuple, ())
    rw: tuple[str, ...] = converted(tuple, ())
    superuser: tuple[str, ...] = converted(tuple, ())
    protocols: tuple[str, ...] = converted(tuple, ())


@dataclass(frozen=True)
class ExportPolicy(Model):
    """Who may mount: NFS client matches, in order; ``details``, with their rights, where one policy is read."""

    name: str = ""
    rules: tuple[str, ...] = converted(tuple, ())
    details: tuple[ExportRule, ...] = nested_list(ExportRule)
