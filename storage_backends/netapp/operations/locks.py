"""Locks of clients on a volume: listed by host, broken by uuid."""

from __future__ import annotations

from storage_backends.client_matches import canonical_host
from storage_backends.errors import NotFound
from storage_backends.journal import Journal
from storage_backends.models import Lock
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.lookups import find_data_volume, find_volume, require_svm, svm_pages, uuid_of
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Mutation


class Locks:
    """The clients' locks on the SVM's volumes."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client

    def list_all(self, volume: str, journal: Journal) -> list[Lock]:
        """Return the hosts that hold locks, each once."""
        uuid = uuid_of(find_volume(self._client, volume, journal=journal))
        return mapping.locks(self._records(uuid, journal))

    def remove(self, volume: str, host: str, journal: Journal) -> None:
        """Break the locks of one host, one by one: DELETE is never sent with a query."""
        uuid = uuid_of(find_data_volume(self._client, volume, journal=journal))
        self.break_all(Mutation(self._client, journal), uuid, host)

    def break_all(self, mutation: Mutation, volume_uuid: str, host: str) -> None:
        """Break the locks of ``host``; one that does not exist any more counts as broken."""
        for lock in self.locks_of_host(volume_uuid, host, mutation.journal):
            try:
                mutation.send("break", "DELETE", f"/protocols/locks/{uuid_of(lock)}", volume_uuid=volume_uuid)
            except NotFound:
                mutation.look(lambda: require_svm(self._client, journal=mutation.journal))

    def locks_of_host(self, volume_uuid: str, host: str, journal: Journal) -> list[Json]:
        """Return the locks of one host."""
        canonical = canonical_host(host)
        return [lock for lock in self._records(volume_uuid, journal) if mapping.lock_host(lock) == canonical]

    def _records(self, volume_uuid: str, journal: Journal) -> list[Json]:
        query = {"volume.uuid": volume_uuid}
        pages = svm_pages(self._client, "/protocols/locks", query, mapping.LOCK_FIELDS, journal=journal)
        return [record for page in pages for record in page if isinstance(record, dict)]
