"""New volumes: made on the roomiest aggregate, or as a copy of a snapshot; marked with the job that made them."""

from __future__ import annotations

from typing import Unpack

from storage_backends.errors import AlreadyExists, NoSuchPolicy, NoSuchSnapshot, NoSuchVolume, StorageError
from storage_backends.journal import Journal
from storage_backends.models import Volume, VolumeSettings
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.error_codes import is_forbidden
from storage_backends.netapp.ontap.lookups import all_records, find_volume, volumes_where
from storage_backends.netapp.ontap.queries import AT_ONCE, literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Change
from storage_backends.netapp.operations.snapshots import snapshots_named
from storage_backends.netapp.operations.volume_patch import creation, invalid
from storage_backends.netapp.operations.volumes import Volumes, bad_policy

#: Settings that the filer takes only once the volume is there.
_LATER = ("compression_enabled", "inline_compression", "caching_policy")


def marker(job_id: str) -> str:
    """The comment by which an object is known to have been made by that job of ours."""
    return f"job:{job_id}"


def later_settings(settings: VolumeSettings) -> VolumeSettings:
    """What is left to be set after creation."""
    left: VolumeSettings = {}
    for name in _LATER:
        if name in settings:
            left[name] = settings[name]  # type: ignore[literal-required]
    return left


class Creation:
    """How volumes come to be."""

    def __init__(self, filer: Filer, volumes: Volumes) -> None:
        self._filer = filer
        self.volumes = volumes

    def create(
        self,
        volume: str,
        journal: Journal,
        aggregate_name: str | None,
        junction_path: str | None,
        **settings: Unpack[VolumeSettings],
    ) -> Volume:
        """Create a volume; compression and caching are set on it afterwards."""
        if not junction_path:
            raise invalid("/junction_path", "A volume needs a junction path.")
        body = creation(settings)
        body |= {"name": volume, "svm": {"name": self._filer.vserver}, "comment": marker(journal.job_id)}
        body["nas"] = {"path": junction_path, **body.get("nas", {})}
        self._require_free(volume, junction_path, journal)
        body["aggregates"] = [{"name": aggregate_name or self._roomiest_aggregate(journal)}]
        change = self._post("create", body, journal)
        return self.finish(change, volume, settings)

    def finish(self, change: Change, volume: str, settings: VolumeSettings) -> Volume:
        """Set what is left to be set on a volume that was created."""
        record = change.look(lambda: self._made(volume, change.journal))
        self.volumes.apply(change, record, later_settings(settings))
        return self.volumes.reread(change, record["uuid"])

    def clone(
        self, volume: str, journal: Journal, from_volume: str, from_snapshot: str, junction_path: str | None
    ) -> Volume:
        """Create a FlexClone: writable, its blocks shared with the snapshot until they are written."""
        parent = find_volume(self._filer, from_volume, journal=journal)
        if not snapshots_named(self._filer, parent["uuid"], from_snapshot, journal=journal):
            raise NoSuchSnapshot("The volume has no such snapshot.")
        self._require_free(volume, junction_path, journal)
        body: Json = {
            "name": volume,
            "svm": {"name": self._filer.vserver},
            "clone": {
                "is_flexclone": True,
                "parent_volume": {"name": parent["name"]},
                "parent_snapshot": {"name": from_snapshot},
            },
        }
        if junction_path:
            body["nas"] = {"path": junction_path}
        change = self._post("clone", body, journal, parent_uuid=parent["uuid"])
        record = change.look(lambda: self._made(volume, journal))
        return self.volumes.reread(change, record["uuid"])

    def _post(self, step: str, body: Json, journal: Journal, **facts: str) -> Change:
        change = self.volumes.change(journal)

        def undone() -> bool:
            return not volumes_where(self._filer, "name", body["name"], journal=journal)

        try:
            change.send(step, "POST", "/storage/volumes", query=AT_ONCE, body=body, undone=undone, **facts)
        except NoSuchPolicy as refusal:
            raise bad_policy(refusal) from None
        return change

    def _made(self, volume: str, journal: Journal) -> Json:
        for record in volumes_where(self._filer, "name", volume, journal=journal):
            return record
        raise NoSuchVolume("The volume was made and is gone already.")

    def _require_free(self, volume: str, junction_path: str | None, journal: Journal) -> None:
        if volumes_where(self._filer, "name", volume, journal=journal):
            raise AlreadyExists("There is a volume of that name already.")
        if junction_path and volumes_where(self._filer, "nas.path", junction_path, journal=journal):
            raise AlreadyExists("Another volume is mounted at the junction path.")

    # --- where

    def _roomiest_aggregate(self, journal: Journal) -> str:
        """The data aggregate with most free space, of those that the account can see."""
        rooms = self._vservers_aggregates(journal) if self._filer.confined else self._clusters_aggregates(journal)
        rooms = {name: free for name, free in rooms.items() if not name.startswith("aggr0")}
        if not rooms:
            raise StorageError("The storage system shows no aggregate that could hold the volume.")
        return max(rooms, key=lambda name: rooms[name])

    def _clusters_aggregates(self, journal: Journal) -> dict[str, int]:
        fields = ("name", "state", "space.block_storage.available")
        try:
            found = all_records(self._filer, "/storage/aggregates", {}, fields, journal=journal)
        except StorageError as refusal:
            if refusal.transient or refusal.backend_error is None:
                raise
            self._filer.confined = is_forbidden(refusal)
            return self._vservers_aggregates(journal)
        online = [entry for entry in found if entry.get("state", "online") == "online"]
        if not online:  # Some releases answer such an account with an empty list.
            return self._vservers_aggregates(journal)
        return {entry["name"]: _free(entry) for entry in online}

    def _vservers_aggregates(self, journal: Journal) -> dict[str, int]:
        fields = ("aggregates.name", "aggregates.available_size")
        query = {"name": literal(self._filer.vserver)}
        found = all_records(self._filer, "/svm/svms", query, fields, journal=journal)
        entries = [entry for vserver in found for entry in vserver.get("aggregates") or ()]
        return {entry["name"]: entry.get("available_size") or 0 for entry in entries if "name" in entry}


def _free(aggregate: Json) -> int:
    found: int = ((aggregate.get("space") or {}).get("block_storage") or {}).get("available") or 0
    return found
