"""Locks that clients hold on a volume: told by host, broken by uuid."""

from __future__ import annotations

from storage_backends.errors import NotFound
from storage_backends.journal import Journal
from storage_backends.models import Lock
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.lookups import all_records, find_volume, in_vserver
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Change


class Locks:
    """The clients' locks on the vserver's volumes."""

    def __init__(self, filer: Filer) -> None:
        self._filer = filer

    def list_all(self, volume: str, journal: Journal) -> list[Lock]:
        """The hosts that hold any, each once."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        return records.locks(self._records(uuid, journal))

    def remove(self, volume: str, host: str, journal: Journal) -> None:
        """Break those of one host, one by one: a query that deletes is never sent."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        self.break_all(Change(self._filer, journal), uuid, host)

    def break_all(self, change: Change, volume_uuid: str, host: str) -> None:
        """Break the locks that ``host`` holds; one that is gone already is broken."""
        for lock in self.held(volume_uuid, host, change.journal):
            try:
                change.send("break", "DELETE", f"/protocols/locks/{lock['uuid']}", volume_uuid=volume_uuid)
            except NotFound:
                change.begun = True

    def held(self, volume_uuid: str, host: str, journal: Journal) -> list[Json]:
        """The locks of one host."""
        wanted = host.lower()
        found = self._records(volume_uuid, journal)
        return [lock for lock in found if str(lock.get("client_address", "")).lower() == wanted]

    def _records(self, volume_uuid: str, journal: Journal) -> list[Json]:
        query = in_vserver(self._filer, **{"volume.uuid": volume_uuid})
        return all_records(self._filer, "/protocols/locks", query, records.LOCK_FIELDS, journal=journal)
