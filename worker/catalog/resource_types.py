"""Which parts of a storage system are kept in Redis as listings, and the keys they are kept under.

A *thing* is a key such as ``netapp/volumes/db01/snapshots``; it reads like the URL. Volumes appear in it by name only:
``node:/path`` is resolved first, so that a change under one name is seen under the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class View:
    """A kind of listing: where it is kept, and the field that tells its records apart."""

    name: str
    template: str
    key_field: str
    #: Records are kept in the order of their keys; otherwise in the storage system's order, new ones last.
    ordered: bool = False
    #: The collection that a single object belongs to: it may be read there, and goes stale when that must be reread.
    parent: View | None = None
    #: The argument that names the single object.
    argument: str = ""

    @property
    def single(self) -> bool:
        """One object rather than a collection."""
        return self.parent is not None

    def thing(self, subsystem: str, arguments: Mapping[str, Any]) -> str:
        """The key of the listing that ``arguments`` name."""
        return self.template.format(subsystem=subsystem, **arguments)


VOLUMES = View("volumes", "{subsystem}/volumes", "name", ordered=True)
VOLUME = View("volume", "{subsystem}/volumes/{volume}", "name", parent=VOLUMES, argument="volume")
SNAPSHOTS = View("snapshots", "{subsystem}/volumes/{volume}/snapshots", "name")
SNAPSHOT = View("snapshot", "{subsystem}/volumes/{volume}/snapshots/{name}", "name", parent=SNAPSHOTS, argument="name")
LOCKS = View("locks", "{subsystem}/volumes/{volume}/locks", "host")
POLICIES = View("policies", "{subsystem}/export", "name", ordered=True)
POLICY = View("policy", "{subsystem}/export/{policy}", "name", parent=POLICIES, argument="policy")

VIEWS: dict[str, View] = {view.name: view for view in (VOLUMES, VOLUME, SNAPSHOTS, SNAPSHOT, LOCKS, POLICIES, POLICY)}
