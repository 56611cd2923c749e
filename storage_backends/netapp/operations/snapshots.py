"""Snapshots of a volume: listed, made (the oldest going first where that is wanted), deleted by uuid."""

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


def path_of(volume_uuid: str) -> str:
    """The collection of a volume's snapshots."""
    return f"/storage/volumes/{volume_uuid}/snapshots"


def snapshots_of(client: OntapClient, volume_uuid: str, *, journal: Journal, name: str | None = None) -> list[Json]:
    """The records of a volume's snapshots, oldest first.

    Raises:
        NoSuchVolume: the volume is not there (any more).
    """
    query = {} if name is None else {"name": quote_literal(name)}
    try:
        records = all_records(client, path_of(volume_uuid), query, mapping.SNAPSHOT_FIELDS, journal=journal)
    except NotFound:
        require_svm(client, journal=journal)
        raise NoSuchVolume("There is no such volume (any more).") from None
    return sorted(filter(mapping.has_name, records), key=lambda record: mapping.utc(record.get("create_time")) or "")


def snapshots_named(client: OntapClient, volume_uuid: str, name: str, *, journal: Journal) -> list[Json]:
    """None, or the one of exactly that name."""
    records = snapshots_of(client, volume_uuid, journal=journal, name=name)
    return [record for record in records if record.get("name") == name]


class Snapshots:
    """The snapshots of the vserver's volumes."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client

    def list_all(self, volume: str, journal: Journal) -> list[Snapshot]:
        """All of a volume, oldest first."""
        uuid = uuid_of(find_volume(self._client, volume, journal=journal))
        return [mapping.snapshot(record) for record in snapshots_of(self._client, uuid, journal=journal)]

    def get(self, volume: str, name: str, journal: Journal) -> Snapshot:
        """One of a volume."""
        uuid = uuid_of(find_volume(self._client, volume, journal=journal))
        return mapping.snapshot(self.record(uuid, name, journal))

    def record(self, volume_uuid: str, name: str, journal: Journal) -> Json:
        """The record of one.

        Raises:
            NoSuchSnapshot: it is not there.
        """
        for record in snapshots_named(self._client, volume_uuid, name, journal=journal):
            return record
        raise NoSuchSnapshot("The volume has no such snapshot.")

    def create(self, volume: str, name: str, journal: Journal, *, purge_old_if_needed: bool) -> Snapshot:
        """Make one, marked with our job; only when the filer says that there are too many, the oldest goes first."""
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
        """Let the oldest go, then make one; nothing goes for a name that is taken."""
        if snapshots_named(self._client, volume_uuid, name, journal=mutation.journal):
            raise AlreadyExists("The volume has a snapshot of that name already.")
        self._purge_oldest(mutation, volume_uuid)
        return self.create_after_purge(mutation, volume_uuid, name)

    def create_after_purge(self, mutation: Mutation, volume_uuid: str, name: str) -> Snapshot:
        """Make one now that there is room: the first attempt was refused, so this is the only one that counts."""
        self.post(mutation, "create-after-purge", volume_uuid, name)
        return self._reread(mutation, volume_uuid, name)

    def _reread(self, mutation: Mutation, volume_uuid: str, name: str) -> Snapshot:
        record = mutation.await_visible(lambda: self.record(volume_uuid, name, mutation.journal))
        return mapping.snapshot(record)

    def post(self, mutation: Mutation, step: str, volume_uuid: str, name: str) -> None:
        """Send the creation of one."""

        def is_absent() -> bool:
            return not snapshots_named(self._client, volume_uuid, name, journal=mutation.journal)

        body = {"name": name, "comment": owner_comment(mutation.journal.job_id)}
        path = path_of(volume_uuid)
        mutation.send(
            step, "POST", path, query=RETURN_IMMEDIATELY, body=body, is_absent=is_absent, volume_uuid=volume_uuid
        )

    def _purge_oldest(self, mutation: Mutation, volume_uuid: str) -> None:
        """Delete the oldest that nothing depends on and that may go.

        Raises:
            TooManySnapshots: there is none.
        """
        for record in snapshots_of(self._client, volume_uuid, journal=mutation.journal):
            if record.get("owners"):
                continue
            try:
                self.remove(mutation, "purge", volume_uuid, uuid_of(record))
            except Conflict:
                continue
            except NotFound:
                return  # Somebody was faster: there is room now.
            return
        raise TooManySnapshots("The volume has as many snapshots as it can have, and none of them may go.")

    def delete(self, volume: str, name: str, journal: Journal) -> None:
        """Delete one, by its uuid: another that took its name meanwhile stays."""
        uuid = uuid_of(find_data_volume(self._client, volume, journal=journal))
        snapshot_uuid = uuid_of(self.record(uuid, name, journal))
        self.remove(Mutation(self._client, journal, missing=NoSuchSnapshot), "delete", uuid, snapshot_uuid)

    def remove(self, mutation: Mutation, step: str, volume_uuid: str, snapshot_uuid: str) -> None:
        """Send the deletion of one."""
        path = f"{path_of(volume_uuid)}/{snapshot_uuid}"
        mutation.send(
            step, "DELETE", path, query=RETURN_IMMEDIATELY, volume_uuid=volume_uuid, snapshot_uuid=snapshot_uuid
        )
