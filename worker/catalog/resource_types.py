"""The resource types of a storage system that are cached in Redis as listings, and their cache keys.

A *cache key* is a text such as ``netapp/volumes/db01/snapshots``; it reads like the URL. Volumes appear in it by name
only: ``node:/path`` is resolved first, so that a change by path also updates what is cached by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A resource type: its cache key, and the field that identifies its records."""

    name: str
    template: str
    key_field: str
    #: Records are kept in the order of their keys; otherwise in the storage system's order, new ones last.
    ordered: bool = False
    #: The collection of a single object: the object may be served from it, and is invalidated with it.
    parent: ResourceType | None = None
    #: The argument that names the object.
    argument: str = ""
    #: Does the object have fields that the collection does not show? Then it is never served from the collection.
    is_detailed: bool = False

    @property
    def single(self) -> bool:
        """Is it one object rather than a collection?"""
        return self.parent is not None

    @property
    def is_one_of_many(self) -> bool:
        """Is there a listing for each of many objects, rather than one for the whole storage system?"""
        return self.template.count("{") > 1

    def cache_key(self, subsystem: str, arguments: Mapping[str, Any]) -> str:
        """The key of the listing that ``arguments`` name."""
        return self.template.format(subsystem=subsystem, **arguments)


VOLUMES = ResourceType("volumes", "{subsystem}/volumes", "name", ordered=True)
VOLUME = ResourceType("volume", "{subsystem}/volumes/{volume}", "name", parent=VOLUMES, argument="volume")
RESTRICTED = ResourceType("restricted", "{subsystem}/restricted", "name", ordered=True)
SNAPSHOTS = ResourceType("snapshots", "{subsystem}/volumes/{volume}/snapshots", "name")
SNAPSHOT = ResourceType(
    "snapshot", "{subsystem}/volumes/{volume}/snapshots/{name}", "name", parent=SNAPSHOTS, argument="name"
)
LOCKS = ResourceType("locks", "{subsystem}/volumes/{volume}/locks", "host")
POLICIES = ResourceType("policies", "{subsystem}/export", "name", ordered=True)
POLICY = ResourceType(
    "policy", "{subsystem}/export/{policy}", "name", parent=POLICIES, argument="policy", is_detailed=True
)
