"""Volumes that are there: listed, found, changed, put back, and taken out of service."""

from __future__ import annotations

from typing import Unpack

from storage_backends.errors import (
    Conflict,
    FieldError,
    InvalidRequest,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    StorageError,
)
from storage_backends.journal import Journal
from storage_backends.models import Volume, VolumeSettings
from storage_backends.netapp.ontap import jobs
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.lookups import (
    all_records,
    find_volume,
    in_vserver,
    nodes_of_aggregates,
    pages,
    volume_by_uuid,
)
from storage_backends.netapp.ontap.queries import AT_ONCE, literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Change
from storage_backends.netapp.operations.volume_patch import changes, invalid


class Volumes:
    """The volumes of the vserver."""

    def __init__(self, filer: Filer) -> None:
        self._filer = filer

    def list_all(self, journal: Journal) -> list[Volume]:
        """Every volume in service; one query, page by page."""
        listed: list[Volume] = []
        nodes: dict[str, str] = {}
        is_asked = False

        def shape(answer: Json) -> Json:
            if found := answer.get("records"):
                answer["records"] = [records.volume(record, nodes) for record in found if records.is_volume(record)]
            return answer

        query = in_vserver(self._filer, is_constituent="false")
        journal.progress(0, None, "volumes", "listing volumes")
        for page in pages(self._filer, "/storage/volumes", query, records.LISTING_FIELDS, journal=journal, shape=shape):
            listed += page
            if not is_asked and any(volume.filer_address is None for volume in page):
                is_asked = True
                nodes |= nodes_of_aggregates(self._filer, journal=journal)  # Later pages are made with them.
                listed = [records.placed(volume, nodes) for volume in listed]
            journal.progress(len(listed), None, "volumes", "listing volumes")
        return listed

    def get(self, volume: str, journal: Journal) -> Volume:
        """One volume in service."""
        return self.shown(find_volume(self._filer, volume, journal=journal), journal)

    def shown(self, record: Json, journal: Journal) -> Volume:
        """A record as our model."""
        volume = records.volume(record)
        if volume.filer_address is not None or volume.aggregate_name is None:
            return volume
        return records.placed(volume, nodes_of_aggregates(self._filer, journal=journal))

    def reread(self, change: Change, uuid: str) -> Volume:
        """The volume as it is after a change."""
        volume: Volume = change.look(
            lambda: self.shown(volume_by_uuid(self._filer, uuid, journal=change.journal), change.journal)
        )
        return volume

    # --- settings

    def update(self, volume: str, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        """Make it as asked for; values are absolute, and what is so already is not sent."""
        change = self.change(journal)
        record = find_volume(self._filer, volume, journal=journal)
        self.apply(change, record, settings)
        return self.reread(change, record["uuid"])

    def change(self, journal: Journal) -> Change:
        """A change of volumes, about to begin."""
        return Change(self._filer, journal, missing=NoSuchVolume)

    def apply(self, change: Change, record: Json, settings: VolumeSettings) -> None:
        """Send what is missing for ``record`` to be as asked for: at most two steps."""
        uuid = record["uuid"]
        body = changes(record, settings)
        if body:
            try:
                change.send(
                    "configure", "PATCH", f"/storage/volumes/{uuid}", query=AT_ONCE, body=body, volume_uuid=uuid
                )
            except NoSuchPolicy as refusal:
                raise bad_policy(refusal) from None
        wanted = settings.get("caching_policy")
        if wanted is not None and wanted != records.volume(record).caching_policy:
            self._set_caching_policy(change, record, wanted)

    def _set_caching_policy(self, change: Change, record: Json, wanted: str) -> None:
        """Through the filer's command line: REST only reads it."""
        query = {"vserver": literal(self._filer.vserver), "volume": literal(record["name"])}
        body = {"caching-policy": wanted}
        try:
            answer = change.send(
                "caching-policy", "PATCH", "/private/cli/volume", query=query, body=body, volume_uuid=record["uuid"]
            )
        except InvalidRequest as refusal:
            refusal.errors = (FieldError("/caching_policy", "The storage system does not know the caching policy."),)
            raise
        if answer.body.get("num_records") == 0:
            raise NoSuchVolume("There is no such volume (any more).")

    # --- out of service

    def restrict(self, volume: str, journal: Journal) -> None:
        """Unmount, then restrict."""
        record = find_volume(self._filer, volume, journal=journal)
        if record.get("is_svm_root"):
            raise Conflict("The root volume of the vserver cannot be taken out of service.")
        self.take_out(self.change(journal), record)

    def take_out(self, change: Change, record: Json) -> None:
        """Send what is missing for ``record`` to be out of service."""
        uuid = record["uuid"]
        path = f"/storage/volumes/{uuid}"
        facts = {"volume_uuid": uuid}
        if (record.get("nas") or {}).get("path"):
            change.send("unmount", "PATCH", path, query=AT_ONCE, body={"nas": {"path": ""}}, **facts)
            facts["unmounted"] = "yes"
        change.send("restrict", "PATCH", path, query=AT_ONCE, body={"state": "restricted"}, **facts)

    # --- back to a snapshot

    def roll_back(self, volume: str, from_snapshot: str, journal: Journal) -> Volume:
        """Restore a snapshot. What a later look needs to tell whether it happened is remembered first."""
        record = find_volume(self._filer, volume, journal=journal)
        uuid = record["uuid"]
        snapshot, later = self._snapshot_and_later(uuid, from_snapshot, journal)
        path = f"/storage/volumes/{uuid}"
        before = jobs.known(self._filer, f"PATCH /api{path}", journal=journal)
        change = self.change(journal)
        change.send(
            "roll-back",
            "PATCH",
            path,
            query={**_restore(snapshot), **AT_ONCE},
            volume_uuid=uuid,
            later_uuid=later,
            jobs_before=" ".join(before),
        )
        return self.reread(change, uuid)

    def _snapshot_and_later(self, uuid: str, name: str, journal: Journal) -> tuple[Json, str]:
        """The snapshot's record, and the uuid of one that was made after it ("" if there is none)."""
        path = f"/storage/volumes/{uuid}/snapshots"
        found = all_records(self._filer, path, {}, ("uuid", "name", "create_time"), journal=journal)
        found.sort(key=lambda record: records.utc(record.get("create_time")) or "")
        for number, record in enumerate(found):
            if record.get("name") == name:
                return record, found[-1]["uuid"] if number + 1 < len(found) else ""
        raise NoSuchSnapshot("The volume has no such snapshot.")


def _restore(snapshot: Json) -> dict[str, str | int]:
    """Named as most clients do it; by uuid where the name could be taken for a pattern."""
    name = snapshot["name"]
    if literal(name) == name:
        return {"restore_to.snapshot.name": name}
    return {"restore_to.snapshot.uuid": snapshot["uuid"]}


def bad_policy(refusal: StorageError) -> InvalidRequest:
    """The refusal of a volume's change because of its policy."""
    error = invalid("/active_policy_name", "There is no such export policy.")
    error.backend_error = refusal.backend_error
    return error
