"""New volumes: on the aggregate with most space, or as a clone of a snapshot; with the job's id in their comment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from storage_backends.errors import (
    AlreadyExists,
    InvalidRequest,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    StorageError,
)
from storage_backends.journal import Journal
from storage_backends.models import (
    CloneSettings,
    Volume,
    VolumeSettings,
    as_volume_settings,
    default_junction_path,
)
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.error_codes import is_forbidden
from storage_backends.netapp.ontap.fields import Fields, Record, objects
from storage_backends.netapp.ontap.lookups import all_records, find_volume, uuid_of, volumes_where
from storage_backends.netapp.ontap.owner_comments import fits_beside_owner, owner_comment
from storage_backends.netapp.ontap.queries import RETURN_IMMEDIATELY, quote_literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Mutation
from storage_backends.netapp.operations.snapshots import snapshots_named
from storage_backends.netapp.operations.volume_patch import creation, invalid, not_supported, require_supported
from storage_backends.netapp.operations.volumes import Volumes, bad_policy

#: Settings that the filer accepts only for existing volumes.
_LATER = ("compression_enabled", "inline_compression", "caching_policy")


def later_settings(settings: VolumeSettings, job_id: str) -> VolumeSettings:
    """Return the settings to apply after creation, including a comment that does not fit beside the job's id."""
    remaining: VolumeSettings = {}
    for name in _LATER:
        if name in settings:
            remaining[name] = settings[name]  # type: ignore[literal-required]
    if not fits_beside_owner(job_id, settings.get("comment", "")):
        remaining["comment"] = settings["comment"]
    return remaining


class Creation:
    """Creates volumes."""

    def __init__(self, client: OntapClient, volumes: Volumes) -> None:
        self._client = client
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
        path = _path(volume, junction_path)
        require_supported(settings, self._client.unknown_fields)
        body = creation(settings)
        comment = settings.get("comment", "")
        is_short = fits_beside_owner(journal.job_id, comment)
        body["name"], body["svm"] = volume, {"name": self._client.vserver}
        body["comment"] = owner_comment(journal.job_id, comment if is_short else "")
        body["nas"] = {"path": path, **body.get("nas", {})}
        self._require_free(volume, path, journal)
        body["aggregates"] = [{"name": aggregate_name or self._aggregate_with_most_space(journal)}]
        mutation = self._post("create", body, settings, journal)
        return self.finish(mutation, volume, settings)

    def finish(self, mutation: Mutation, volume: str, settings: VolumeSettings) -> Volume:
        """Apply the remaining settings to a new volume."""
        record = self._await_created(mutation, volume)
        self.volumes.apply(mutation, record, later_settings(settings, mutation.journal.job_id))
        return self.volumes.reread(mutation, uuid_of(record))

    def clone(
        self,
        volume: str,
        journal: Journal,
        from_volume: str,
        from_snapshot: str,
        junction_path: str | None,
        **settings: Unpack[CloneSettings],
    ) -> Volume:
        """Create a FlexClone: writable, sharing blocks with the snapshot."""
        path = _path(volume, junction_path)
        parent = find_volume(self._client, from_volume, journal=journal)
        if not snapshots_named(self._client, uuid_of(parent), from_snapshot, journal=journal):
            raise NoSuchSnapshot("The volume has no such snapshot.")
        self._require_free(volume, path, journal)
        body: Json = {
            "name": volume,
            "svm": {"name": self._client.vserver},
            "clone": {
                "is_flexclone": True,
                # By both: the filer refuses the request if the name refers to another volume by now.
                "parent_volume": {"name": parent["name"], "uuid": uuid_of(parent)},
                "parent_snapshot": {"name": from_snapshot},
            },
        }
        if "active_policy_name" not in settings:
            # With a policy of its own it is mounted only together with that, so that no other client can use it before.
            body["nas"] = {"path": path}
        mutation = self._post("clone", body, {}, journal, parent_uuid=uuid_of(parent))
        return self.finish_clone(mutation, volume, path, settings)

    def finish_clone(self, mutation: Mutation, volume: str, path: str, settings: CloneSettings) -> Volume:
        """Apply the settings of a clone, and mount it."""
        record = self._await_created(mutation, volume)
        self.volumes.apply(mutation, record, as_volume_settings(settings), path=path)
        return self.volumes.reread(mutation, uuid_of(record))

    def _post(self, step: str, body: Json, settings: VolumeSettings, journal: Journal, **facts: str) -> Mutation:
        mutation = self.volumes.mutation(journal)

        def is_absent() -> bool:
            return not volumes_where(self._client, "name", body["name"], journal=journal)

        try:
            mutation.send(
                step, "POST", "/storage/volumes", query=RETURN_IMMEDIATELY, body=body, is_absent=is_absent, **facts
            )
        except NoSuchPolicy as refusal:
            raise bad_policy(refusal) from None
        except InvalidRequest as refusal:
            raise not_supported(refusal, settings) from None
        return mutation

    def _await_created(self, mutation: Mutation, volume: str) -> Json:
        """Return the record of a new volume, once the filer shows it."""

        def read_record() -> Json:
            for record in volumes_where(self._client, "name", volume, journal=mutation.journal):
                return record
            raise NoSuchVolume("the volume does not show.")

        return mutation.await_visible(read_record)

    def _require_free(self, volume: str, junction_path: str, journal: Journal) -> None:
        if volumes_where(self._client, "name", volume, journal=journal):
            raise AlreadyExists("There is a volume of that name already.")
        if volumes_where(self._client, "nas.path", junction_path, journal=journal):
            raise AlreadyExists("Another volume is mounted at the junction path.")

    # --- where

    def _aggregate_with_most_space(self, journal: Journal) -> str:
        """Return the data aggregate with most free space, of those that the account can see."""
        find = self._svms_aggregates if self._client.svm_scoped else self._clusters_aggregates
        free = {name: free for name, free in find(journal).items() if not name.startswith("aggr0")}
        if not free:
            raise StorageError("The storage system shows no aggregate that could hold the volume.")
        return max(free, key=lambda name: free[name])

    def _clusters_aggregates(self, journal: Journal) -> dict[str, int]:
        fields = ("name", "state", "space.block_storage.available")
        try:
            aggregates = all_records(self._client, "/storage/aggregates", {}, fields, journal=journal)
        except StorageError as refusal:
            if refusal.transient or refusal.backend_error is None:
                raise
            self._client.svm_scoped = is_forbidden(refusal)
            return self._svms_aggregates(journal)
        online = [entry for entry in aggregates if entry.get("state", "online") == "online"]
        if not online:  # Some releases return an empty list to such an account.
            return self._svms_aggregates(journal)
        return _free_bytes(online, "space.block_storage.available")

    def _svms_aggregates(self, journal: Journal) -> dict[str, int]:
        fields = ("aggregates.name", "aggregates.available_size")
        query = {"name": quote_literal(self._client.vserver)}
        svms = all_records(self._client, "/svm/svms", query, fields, journal=journal)
        entries = [entry for svm in svms for entry in objects(svm.get("aggregates"))]
        return _free_bytes(entries, "available_size")


def _path(volume: str, junction_path: str | None) -> str:
    path = default_junction_path(volume) if junction_path is None else junction_path
    if not path.startswith("/") or path == "/":
        raise invalid("/junction_path", "A junction path begins with a slash and names a place.")
    return path


def _free_bytes(aggregates: Sequence[Record], field: str) -> dict[str, int]:
    fields = [Fields(aggregate) for aggregate in aggregates]
    return {
        name: aggregate_fields.number(field) or 0
        for aggregate_fields in fields
        if (name := aggregate_fields.text("name"))
    }
