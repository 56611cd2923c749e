"""Snapshots of a volume: listed, made (the oldest going first where that is wanted), deleted by uuid."""

from __future__ import annotations

from storage_backends.errors import AlreadyExists, Conflict, NoSuchSnapshot, NoSuchVolume, NotFound, TooManySnapshots
from storage_backends.journal import Journal
from storage_backends.models import Snapshot
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.lookups import all_records, find_volume
from storage_backends.netapp.ontap.queries import AT_ONCE, literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Change


def path_of(volume_uuid: str) -> str:
    """The collection of a volume's snapshots."""
    return f"/storage/volumes/{volume_uuid}/snapshots"


def snapshots_of(filer: Filer, volume_uuid: str, *, journal: Journal, name: str | None = None) -> list[Json]:
    """The records of a volume's snapshots, oldest first.

    Raises:
        NoSuchVolume: the volume is not there (any more).
    """
    query = {} if name is None else {"name": literal(name)}
    try:
        found = all_records(filer, path_of(volume_uuid), query, records.SNAPSHOT_FIELDS, journal=journal)
    except NotFound:
        raise NoSuchVolume("There is no such volume (any more).") from None
    return sorted(found, key=lambda record: records.utc(record.get("create_time")) or "")


def snapshots_named(filer: Filer, volume_uuid: str, name: str, *, journal: Journal) -> list[Json]:
    """None, or the one of exactly that name."""
    found = snapshots_of(filer, volume_uuid, journal=journal, name=name)
    return [record for record in found if record.get("name") == name]


class Snapshots:
    """The snapshots of the vserver's volumes."""

    def __init__(self, filer: Filer) -> None:
        self._filer = filer

    def list_all(self, volume: str, journal: Journal) -> list[Snapshot]:
        """All of a volume, oldest first."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        return [records.snapshot(record) for record in snapshots_of(self._filer, uuid, journal=journal)]

    def get(self, volume: str, name: str, journal: Journal) -> Snapshot:
        """One of a volume."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        return records.snapshot(self.record(uuid, name, journal))

    def record(self, volume_uuid: str, name: str, journal: Journal) -> Json:
        """The record of one.

        Raises:
            NoSuchSnapshot: it is not there.
        """
        for record in snapshots_named(self._filer, volume_uuid, name, journal=journal):
            return record
        raise NoSuchSnapshot("The volume has no such snapshot.")

    def create(self, volume: str, name: str, journal: Journal, *, purge_old_if_needed: bool) -> Snapshot:
        """Make one, marked with our job; only when the filer says that there are too many, the oldest goes first."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        change = Change(self._filer, journal, missing=NoSuchVolume)
        try:
            self.post(change, "create", uuid, name)
        except TooManySnapshots:
            if not purge_old_if_needed:
                raise
            return self.purge_and_create(change, uuid, name)
        return self._reread(change, uuid, name)

    def purge_and_create(self, change: Change, volume_uuid: str, name: str) -> Snapshot:
        """Let the oldest go, then make one; nothing goes for a name that is taken."""
        if snapshots_named(self._filer, volume_uuid, name, journal=change.journal):
            raise AlreadyExists("The volume has a snapshot of that name already.")
        self._purge_oldest(change, volume_uuid)
        return self.create_after_purge(change, volume_uuid, name)

    def create_after_purge(self, change: Change, volume_uuid: str, name: str) -> Snapshot:
        """Make one now that there is room: the first attempt was refused, so this is the only one that counts."""
        self.post(change, "create-after-purge", volume_uuid, name)
        return self._reread(change, volume_uuid, name)

    def _reread(self, change: Change, volume_uuid: str, name: str) -> Snapshot:
        record: Json = change.look(lambda: self.record(volume_uuid, name, change.journal))
        return records.snapshot(record)

    def post(self, change: Change, step: str, volume_uuid: str, name: str) -> None:
        """Send the creation of one."""

        def undone() -> bool:
            return not snapshots_named(self._filer, volume_uuid, name, journal=change.journal)

        body = {"name": name, "comment": f"job:{change.journal.job_id}"}
        path = path_of(volume_uuid)
        change.send(step, "POST", path, query=AT_ONCE, body=body, undone=undone, volume_uuid=volume_uuid)

    def _purge_oldest(self, change: Change, volume_uuid: str) -> None:
        """Delete the oldest that nothing depends on and that may go.

        Raises:
            TooManySnapshots: there is none.
        """
        for record in snapshots_of(self._filer, volume_uuid, journal=change.journal):
            if record.get("owners"):
                continue
            try:
                self.remove(change, "purge", volume_uuid, record["uuid"])
            except Conflict:
                continue
            except NotFound:
                return  # Somebody was faster: there is room now.
            return
        raise TooManySnapshots("The volume has as many snapshots as it can have, and none of them may go.")

    def delete(self, volume: str, name: str, journal: Journal) -> None:
        """Delete one, by its uuid: another that took its name meanwhile stays."""
        uuid = find_volume(self._filer, volume, journal=journal)["uuid"]
        snapshot_uuid = self.record(uuid, name, journal)["uuid"]
        self.remove(Change(self._filer, journal, missing=NoSuchSnapshot), "delete", uuid, snapshot_uuid)

    def remove(self, change: Change, step: str, volume_uuid: str, snapshot_uuid: str) -> None:
        """Send the deletion of one."""
        path = f"{path_of(volume_uuid)}/{snapshot_uuid}"
        change.send(step, "DELETE", path, query=AT_ONCE, volume_uuid=volume_uuid, snapshot_uuid=snapshot_uuid)
