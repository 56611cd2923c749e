"""Existing volumes: list, look up, update, roll back, restrict and reinstate."""

from __future__ import annotations

from typing import Unpack

from storage_backends.errors import (
    AlreadyExists,
    FieldError,
    InvalidRequest,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    StorageError,
)
from storage_backends.journal import Journal
from storage_backends.models import Volume, VolumeSettings, default_junction_path
from storage_backends.netapp.ontap import jobs, mapping
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.lookups import (
    find_data_volume,
    find_volume,
    nodes_of_aggregates,
    path_of,
    require_data_volume,
    require_svm,
    svm_pages,
    uuid_of,
    volume_by_uuid,
    volumes_where,
)
from storage_backends.netapp.ontap.queries import RETURN_IMMEDIATELY, quote_literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Mutation
from storage_backends.netapp.operations.snapshots import snapshots_of, time_of
from storage_backends.netapp.operations.volume_patch import changes, invalid, not_supported, require_supported

#: How many later snapshots a roll-back records: somebody else may delete some of them meanwhile.
_RECORDED_SNAPSHOTS = 20


class Volumes:
    """The volumes of the SVM."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client

    def list_all(self, journal: Journal) -> list[Volume]:
        """Return every volume in service; one query, page by page."""
        listed: list[Volume] = []
        nodes: dict[str, str] = {}
        nodes_are_read = False

        def transform(answer: Json) -> Json:
            records = answer.get("records")
            if isinstance(records, list):
                answer["records"] = [mapping.volume(record, nodes) for record in records if mapping.is_volume(record)]
            return answer

        journal.progress(0, None, "volumes", "listing volumes")
        for page in svm_pages(
            self._client,
            "/storage/volumes",
            {"is_constituent": "false"},
            mapping.LISTING_FIELDS,
            journal=journal,
            transform=transform,
        ):
            listed += page
            if not nodes_are_read and any(volume.filer_address is None for volume in page):
                nodes_are_read = True
                nodes |= nodes_of_aggregates(self._client, journal=journal)  # Later pages are converted with them.
                listed = [mapping.with_node(volume, nodes) for volume in listed]
            journal.progress(len(listed), None, "volumes", "listing volumes")
        return listed

    def list_restricted(self, journal: Journal) -> list[Volume]:
        """Return every data volume that is out of service."""
        query = {"is_constituent": "false", "state": "restricted"}
        records: list[Json] = []
        for page in svm_pages(self._client, "/storage/volumes", query, mapping.VOLUME_FIELDS, journal=journal):
            records += filter(mapping.is_restricted_volume, page)
            journal.progress(len(records), None, "volumes", "listing restricted volumes")
        volumes = [mapping.volume(record) for record in records]
        if any(volume.filer_address is None and volume.aggregate_name is not None for volume in volumes):
            nodes = nodes_of_aggregates(self._client, journal=journal)
            volumes = [mapping.with_node(volume, nodes) for volume in volumes]
        return volumes

    def get(self, volume: str, journal: Journal) -> Volume:
        """Return one volume in service."""
        return self.to_volume(find_volume(self._client, volume, journal=journal), journal)

    def to_volume(self, record: Json, journal: Journal) -> Volume:
        """Convert a record to our model."""
        volume = mapping.volume(record)
        if volume.filer_address is not None or volume.aggregate_name is None:
            return volume
        return mapping.with_node(volume, nodes_of_aggregates(self._client, journal=journal))

    def reread(self, mutation: Mutation, uuid: str) -> Volume:
        """Return the volume after a change."""
        journal = mutation.journal
        return mutation.look(lambda: self.to_volume(volume_by_uuid(self._client, uuid, journal=journal), journal))

    # --- settings

    def update(self, volume: str, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        """Apply settings; values are absolute, and equal ones are not sent."""
        mutation = self.mutation(journal)
        record = find_data_volume(self._client, volume, journal=journal)
        self.apply(mutation, record, settings)
        return self.reread(mutation, uuid_of(record))

    def mutation(self, journal: Journal) -> Mutation:
        """Return a new mutation for volumes."""
        return Mutation(self._client, journal, missing=NoSuchVolume)

    def apply(self, mutation: Mutation, record: Json, settings: VolumeSettings, *, path: str | None = None) -> None:
        """Send the differences between ``record`` and the requested settings and path: at most two steps."""
        require_supported(settings, self._client.unknown_fields)
        uuid = uuid_of(record)
        body = changes(record, settings)
        if path is not None and not path_of(record):
            body.setdefault("nas", {})["path"] = path
        if body:
            self._configure(mutation, uuid, body, settings)
        caching_policy = settings.get("caching_policy")
        if caching_policy is not None and caching_policy != mapping.volume(record).caching_policy:
            self._set_caching_policy(mutation, uuid, caching_policy)

    def _configure(self, mutation: Mutation, uuid: str, body: Json, settings: VolumeSettings) -> None:
        path = f"/storage/volumes/{uuid}"
        try:
            mutation.send("configure", "PATCH", path, query=RETURN_IMMEDIATELY, body=body, volume_uuid=uuid)
        except NoSuchPolicy as refusal:
            raise bad_policy(refusal) from None
        except InvalidRequest as refusal:
            raise not_supported(refusal, settings) from None

    def _set_caching_policy(self, mutation: Mutation, uuid: str, caching_policy: str) -> None:
        """Set it by the filer's command line, since REST can only read it, and which knows volumes by their names."""
        name = mutation.look(lambda: self._name_of(uuid, mutation.journal))
        query = {"vserver": quote_literal(self._client.vserver), "volume": quote_literal(name)}
        body = {"caching-policy": caching_policy}
        try:
            answer = mutation.send(
                "caching-policy", "PATCH", "/private/cli/volume", query=query, body=body, volume_uuid=uuid
            )
        except InvalidRequest as refusal:
            refusal.errors = (FieldError("/caching_policy", "The storage system does not know the caching policy."),)
            raise
        if answer.body.get("num_records") == 0:
            raise NoSuchVolume("There is no such volume (any more).")

        def require_same_name() -> None:
            if self._name_of(uuid, mutation.journal) != name:
                raise StorageError("The volume was renamed at that moment: another one of its name may have got it.")

        mutation.look(require_same_name)

    def _name_of(self, uuid: str, journal: Journal) -> str:
        return str(volume_by_uuid(self._client, uuid, journal=journal, fields=("uuid", "name"))["name"])

    # --- out of service, and back

    def restrict(self, volume: str, journal: Journal) -> None:
        """Unmount, then restrict."""
        record = find_data_volume(self._client, volume, journal=journal)
        self.unmount_and_restrict(self.mutation(journal), record)

    def unmount_and_restrict(self, mutation: Mutation, record: Json) -> None:
        """Send the missing steps to take the volume out of service."""
        uuid = uuid_of(record)
        path, unmounted = f"/storage/volumes/{uuid}", ""
        if path_of(record):
            unmount = {"nas": {"path": ""}}
            mutation.send("unmount", "PATCH", path, query=RETURN_IMMEDIATELY, body=unmount, volume_uuid=uuid)
            unmounted = "yes"
        body = {"state": "restricted"}
        mutation.send(
            "restrict",
            "PATCH",
            path,
            query=RETURN_IMMEDIATELY,
            body=body,
            volume_uuid=uuid,
            unmounted=unmounted,
        )

    def reinstate(self, volume: str, journal: Journal, junction_path: str | None) -> Volume:
        """Bring online, then mount.

        Raises:
            NoSuchVolume: there is no restricted volume of that name.
            AlreadyExists: something is mounted at the path.
        """
        path = junction_path or default_junction_path(volume)
        record = self._find_restricted(volume, journal)
        mounted = volumes_where(self._client, "nas.path", path, journal=journal)
        if any(other.get("uuid") != uuid_of(record) for other in mounted):
            raise AlreadyExists("Another volume is mounted at the junction path.")
        mutation = self.mutation(journal)
        return self.bring_online_and_mount(mutation, record, path)

    def _find_restricted(self, volume: str, journal: Journal) -> Json:
        for record in volumes_where(self._client, "name", volume, journal=journal):
            if record.get("state") == "restricted":
                require_data_volume(record)
                return record
        require_svm(self._client, journal=journal)
        raise NoSuchVolume("There is no restricted volume of that name.")

    def bring_online_and_mount(self, mutation: Mutation, record: Json, path: str) -> Volume:
        """Send the missing steps to bring the volume into service, and return the volume afterwards."""
        uuid = uuid_of(record)
        url = f"/storage/volumes/{uuid}"
        if record.get("state") != "online":
            online = {"state": "online"}
            mutation.send("bring-online", "PATCH", url, query=RETURN_IMMEDIATELY, body=online, volume_uuid=uuid)
        mount = {"nas": {"path": path}}
        mutation.send("mount", "PATCH", url, query=RETURN_IMMEDIATELY, body=mount, volume_uuid=uuid)
        return self.reread(mutation, uuid)

    # --- back to a snapshot

    def roll_back(self, volume: str, from_snapshot: str, journal: Journal) -> Volume:
        """Restore a snapshot. What a later probe needs is recorded first."""
        record = find_data_volume(self._client, volume, journal=journal)
        uuid = uuid_of(record)
        snapshot, later = self._snapshot_and_later(uuid, from_snapshot, journal)
        path = f"/storage/volumes/{uuid}"
        before = jobs.job_uuids(self._client, f"PATCH /api{path}", journal=journal)
        mutation = self.mutation(journal)
        mutation.send(
            "roll-back",
            "PATCH",
            path,
            query={**_restore(snapshot), **RETURN_IMMEDIATELY},
            volume_uuid=uuid,
            later_uuids=later,
            jobs_before=" ".join(before),
        )
        return self.reread(mutation, uuid)

    def _snapshot_and_later(self, uuid: str, name: str, journal: Journal) -> tuple[Json, str]:
        """Return the snapshot's record, and the uuids of the newest later ones ("" if there is none)."""
        snapshots = snapshots_of(self._client, uuid, journal=journal)
        for record in snapshots:
            if record["name"] == name:
                later = [snapshot for snapshot in snapshots if _is_later(snapshot, record)]
                return record, " ".join(map(uuid_of, later[-_RECORDED_SNAPSHOTS:]))
        raise NoSuchSnapshot("The volume has no such snapshot.")


def _is_later(snapshot: Json, than: Json) -> bool:
    """Was it certainly made later? What was made within the same second, or at an unknown time, may be older."""
    time, other = time_of(snapshot), time_of(than)
    return time is not None and other is not None and time > other


def _restore(snapshot: Json) -> dict[str, str | int]:
    """Return the query for a snapshot by name, or by uuid if the name could be read as a pattern."""
    name = snapshot["name"]
    if quote_literal(name) == name:
        return {"restore_to.snapshot.name": name}
    return {"restore_to.snapshot.uuid": uuid_of(snapshot)}


def bad_policy(refusal: StorageError) -> InvalidRequest:
    """Return the refusal of a volume's change because of its policy."""
    error = invalid("/active_policy_name", "There is no such export policy.")
    error.backend_error = refusal.backend_error
    return error
