"""Snapshots of a volume: list, create (optionally deleting the oldest), delete by uuid."""

from __future__ import annotations

from storage_backends.errors import AlreadyExists, Conflict, NoSuchSnapshot, NoSuchVolume, NotFound, TooManySnapshots
from storage_backends.journal import Journal
from storage_backends.models import Snapshot
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.lookups import all_records, find_data_volume, find_volume, require_svm, uuid_of
from storage_backends.netapp.ontap.owner_comments import owner_comment
from storage_backends.netapp.ontap.queries import RETURN_IMMEDIATELY, quote_literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Mutation

#: Sorted after every time.
_UNKNOWN_TIME = "unknown"


def path_of(volume_uuid: str) -> str:
    """Return the path of the collection of a volume's snapshots."""
    return f"/storage/volumes/{volume_uuid}/snapshots"


def snapshots_of(client: OntapClient, volume_uuid: str, *, journal: Journal, name: str | None = None) -> list[Json]:
    """Return the records of a volume's snapshots, oldest first; those whose time the filer does not tell come last.

    Raises:
        NoSuchVolume: the volume is not there (any more).
    """
    query = {} if name is None else {"name": quote_literal(name)}
    try:
        records = all_records(client, path_of(volume_uuid), query, mapping.SNAPSHOT_FIELDS, journal=journal)
    except NotFound:
        require_svm(client, journal=journal)
        raise NoSuchVolume("There is no such volume (any more).") from None
    return sorted(filter(mapping.has_name, records), key=lambda record: time_of(record) or _UNKNOWN_TIME)


def time_of(record: Json) -> str | None:
    """Return when a snapshot was made (RFC 3339, to the second); None if the filer does not tell."""
    return mapping.utc(record.get("create_time"))


def snapshots_named(client: OntapClient, volume_uuid: str, name: str, *, journal: Journal) -> list[Json]:
    """Return the records with exactly that name: one or none."""
    records = snapshots_of(client, volume_uuid, journal=journal, name=name)
    return [record for record in records if record.get("name") == name]


class Snapshots:
    """The snapshots of the SVM's volumes."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client

    def list_all(self, volume: str, journal: Journal) -> list[Snapshot]:
        """Return the snapshots of a volume, oldest first."""
        uuid = uuid_of(find_volume(self._client, volume, journal=journal))
        return [mapping.snapshot(record) for record in snapshots_of(self._client, uuid, journal=journal)]

    def get(self, volume: str, name: str, journal: Journal) -> Snapshot:
        """Return one snapshot."""
        uuid = uuid_of(find_volume(self._client, volume, journal=journal))
        return mapping.snapshot(self.record(uuid, name, journal))

    def record(self, volume_uuid: str, name: str, journal: Journal) -> Json:
        """Return the record of one snapshot.

        Raises:
            NoSuchSnapshot: it is not there.
        """
        for record in snapshots_named(self._client, volume_uuid, name, journal=journal):
            return record
        raise NoSuchSnapshot("The volume has no such snapshot.")

    def create(self, volume: str, name: str, journal: Journal, *, purge_old_if_needed: bool) -> Snapshot:
        """Create a snapshot, with our job in its comment; at the limit, delete the oldest first if allowed."""
        uuid = uuid_of(find_data_volume(self._client, volume, journal=journal))
        mutation = Mutation(self._client, journal, missing=NoSuchVolume)
        try:
            self.post(mutation, "create", uuid, name)
        except TooManySnapshots:
            if not purge_old_if_needed:
                raise
            return self.purge_and_create(mutation, uuid, name)
        return self._reread(mutation, uuid, name)

    def purge_and_create(self, mutation: Mutation, volume_uuid: str, name: str) -> Snapshot:
        """Delete the oldest, then create one; nothing is deleted if the name is taken."""
        if snapshots_named(self._client, volume_uuid, name, journal=mutation.journal):
            raise AlreadyExists("The volume has a snapshot of that name already.")
        self._purge_oldest(mutation, volume_uuid)
        return self.create_after_purge(mutation, volume_uuid, name)

    def create_after_purge(self, mutation: Mutation, volume_uuid: str, name: str) -> Snapshot:
        """Create one after the purge: the first attempt was refused, so only this one counts."""
        self.post(mutation, "create-after-purge", volume_uuid, name)
        return self._reread(mutation, volume_uuid, name)

    def _reread(self, mutation: Mutation, volume_uuid: str, name: str) -> Snapshot:
        record = mutation.await_visible(lambda: self.record(volume_uuid, name, mutation.journal))
        return mapping.snapshot(record)

    def post(self, mutation: Mutation, step: str, volume_uuid: str, name: str) -> None:
        """Send the creation of a snapshot."""

        def is_absent() -> bool:
            return not snapshots_named(self._client, volume_uuid, name, journal=mutation.journal)

        body = {"name": name, "comment": owner_comment(mutation.journal.job_id)}
        path = path_of(volume_uuid)
        mutation.send(
            step, "POST", path, query=RETURN_IMMEDIATELY, body=body, is_absent=is_absent, volume_uuid=volume_uuid
        )

    def _purge_oldest(self, mutation: Mutation, volume_uuid: str) -> None:
        """Delete the oldest snapshot that may be deleted.

        Raises:
            TooManySnapshots: there is none.
        """
        for record in snapshots_of(self._client, volume_uuid, journal=mutation.journal):
            if record.get("owners"):
                continue
            try:
                self.remove(mutation, "purge", volume_uuid, uuid_of(record))
            except Conflict as refusal:
                if refusal.transient:  # The oldest may be deleted later: a newer one must not go in its place.
                    raise
                continue
            except NotFound:
                return  # Another request has deleted it: there is room now.
            return
        raise TooManySnapshots("The volume has as many snapshots as it can have, and none of them may go.")

    def delete(self, volume: str, name: str, journal: Journal) -> None:
        """Delete a snapshot by its uuid: a newer one of the same name is not affected."""
        uuid = uuid_of(find_data_volume(self._client, volume, journal=journal))
        snapshot_uuid = uuid_of(self.record(uuid, name, journal))
        self.remove(Mutation(self._client, journal, missing=NoSuchSnapshot), "delete", uuid, snapshot_uuid)

    def remove(self, mutation: Mutation, step: str, volume_uuid: str, snapshot_uuid: str) -> None:
        """Send the deletion of a snapshot."""
        path = f"{path_of(volume_uuid)}/{snapshot_uuid}"
        mutation.send(
            step, "DELETE", path, query=RETURN_IMMEDIATELY, volume_uuid=volume_uuid, snapshot_uuid=snapshot_uuid
        )
