"""Records in the predecessor's format: the old keys in the old order, unknown values as null."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from api.v3 import masks
from api.v3.dates import rfc822
from api.v3.masks import Mask
from worker.catalog import resource_types
from worker.catalog.resource_types import ResourceType
from worker.listings.listing import Listing

VOLUME_KEYS = (
    "size_used", "uuid", "state", "filer_address", "creation_time", "percentage_snapshot_reserve_used", "name",
    "size_total", "aggregate_name", "junction_path", "autosize_enabled", "max_autosize", "active_policy_name",
    "percentage_snapshot_reserve", "compression_enabled", "inline_compression", "caching_policy",
)  # fmt: skip
_KEYS: Mapping[str, tuple[str, ...]] = {
    resource_types.VOLUMES.name: VOLUME_KEYS,
    resource_types.VOLUME.name: VOLUME_KEYS,
    resource_types.SNAPSHOTS.name: ("name", "size_kbytes", "creation_time"),
    resource_types.SNAPSHOT.name: ("name", "size_kbytes", "creation_time"),
    resource_types.LOCKS.name: ("host",),
    resource_types.POLICIES.name: ("name", "rules"),
    resource_types.POLICY.name: ("name", "rules"),
}
_GZIP_LEVEL = 3

Record = Mapping[str, Any]


def project(resource_type: ResourceType, record: Record) -> dict[str, Any]:
    """Return a record with the old keys; empty texts become null, since clients do not accept them."""
    old = {key: None if (value := record.get(key)) == "" else value for key in _KEYS[resource_type.name]}
    if old.get("creation_time") is not None:
        old["creation_time"] = rfc822(str(old["creation_time"]))
    return old


def as_json(value: Any) -> bytes:
    """Return a body: JSON with one newline at its end."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def one(resource_type: ResourceType, record: Record, mask: Mask) -> bytes:
    """Return the body of one object."""
    return as_json(masks.apply(mask, project(resource_type, record)))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A listing in the old format, plain and compressed."""

    body: bytes
    gzip: bytes


class Renderer:
    """Renders each version of a listing once, while the process has it in its cache."""

    def __init__(self) -> None:
        self._rendered: WeakKeyDictionary[Listing, Rendered] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def whole(self, resource_type: ResourceType, listing: Listing) -> Rendered:
        """Return a listing with every key."""
        with self._lock:
            rendered = self._rendered.get(listing)
        if rendered is None:
            body = _many(resource_type, listing, lambda record: record)
            rendered = Rendered(body, gzip.compress(body, _GZIP_LEVEL, mtime=0))
            with self._lock:
                self._rendered[listing] = rendered
        return rendered


def masked(resource_type: ResourceType, listing: Listing, mask: Mask) -> bytes:
    """Return the body with the selected keys of each object of a listing."""
    return _many(resource_type, listing, lambda record: masks.apply(mask, record))


def _many(resource_type: ResourceType, listing: Listing, choose: Callable[[Record], Record]) -> bytes:
    return as_json([choose(project(resource_type, record)) for record in listing.records])
