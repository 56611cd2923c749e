"""Probes of each operation's outcome on the filer; missing steps that are safe to repeat are completed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from storage_backends.base import ReconciledOutcome
from storage_backends.client_matches import canonical_match, canonical_matches
from storage_backends.errors import (
    AlreadyExists,
    BackendTimeout,
    BackendUnavailable,
    NoSuchVolume,
    NotFound,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.models import Volume, default_junction_path, junction_key
from storage_backends.netapp.ontap import mapping
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.fields import Fields
from storage_backends.netapp.ontap.jobs import OntapJobState
from storage_backends.netapp.ontap.lookups import path_of, uuid_of, volume_by_uuid, volumes_where
from storage_backends.netapp.ontap.owner_comments import is_made_by
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.export_policies import ExportPolicies, require_access
from storage_backends.netapp.operations.export_rules import OntapRule, nfs_rule, policy_of
from storage_backends.netapp.operations.locks import Locks
from storage_backends.netapp.operations.mutation import Mutation, StepPending
from storage_backends.netapp.operations.rule_removal import holders
from storage_backends.netapp.operations.snapshots import Snapshots, snapshots_named, snapshots_of
from storage_backends.netapp.operations.volume_creation import Creation
from storage_backends.netapp.operations.volume_patch import changes
from storage_backends.netapp.reconciliation.reconcile import (
    DONE,
    NOT_DONE,
    UNKNOWN,
    InDoubtChange,
    Probe,
    attach_job,
    not_done,
)


class OutcomeProbes:
    """One probe per operation, by the operation's name."""

    def __init__(self, client: OntapClient, creation: Creation, exports: ExportPolicies) -> None:
        self._client, self._creation, self._exports = client, creation, exports
        self._volumes = creation.volumes
        self._snapshots, self._locks = Snapshots(client), Locks(client)

    def of(self, operation: str) -> Probe:
        """Return the probe of an operation."""
        probes: Mapping[str, Probe] = {
            "create_volume": self._created,
            "clone_volume": self._cloned,
            "update_volume": self._updated,
            "roll_back_volume": self._rolled_back,
            "restrict_volume": self._restricted,
            "reinstate_volume": self._reinstated,
            "create_snapshot": self._snapshot_made,
            "delete_snapshot": self._snapshot_deleted,
            "remove_lock": self._lock_removed,
            "create_policy": self._policy_made,
            "delete_policy": self._policy_deleted,
            "ensure_policy_rule_present": self._rule_there,
            "ensure_policy_rule_absent": self._rule_gone,
        }
        return probes[operation]

    def _completed(self, lost: InDoubtChange, complete: Callable[[Mutation], Any]) -> ReconciledOutcome:
        """Execute the missing steps; a refusal ends the job, and reads show what was done before.

        The recorded step is not repeated while its request may arrive: that could undo a later change.
        """
        mutation = self._volumes.mutation(lost.journal)
        mutation.partially_applied = not lost.refused_by_snapshot_limit
        mutation.pending_step = lost.recorded.step if lost.may_arrive else None
        try:
            return ReconciledOutcome(DONE, complete(mutation))
        except (BackendUnavailable, BackendTimeout, OutcomeUnclear):
            raise
        except StepPending:
            return ReconciledOutcome(NOT_DONE)
        except StorageError as refusal:
            return ReconciledOutcome(NOT_DONE, error=refusal)

    def _record(self, lost: InDoubtChange) -> Json:
        return volume_by_uuid(self._client, lost.fact("volume_uuid"), journal=lost.journal)

    # --- volumes

    def _created(self, lost: InDoubtChange) -> ReconciledOutcome:
        name = lost.arguments["volume"]
        settings: Any = lost.settings

        def finish(mutation: Mutation) -> Volume:
            return self._creation.finish(mutation, name, settings)

        for record in self._volumes_named(lost, mapping.VOLUME_FIELDS):
            if lost.applied or self._is_ours(lost, record):
                return self._completed(lost, finish)
            expected_path = lost.arguments.get("junction_path") or default_junction_path(name)
            if not record.get("comment") and junction_key(path_of(record)) == junction_key(expected_path):
                return ReconciledOutcome(
                    UNKNOWN
                )  # Ours, if the filer keeps no comments: it was not there before we sent.
            return not_done(lost, AlreadyExists("There is a volume of that name already."))
        return ReconciledOutcome(NOT_DONE)

    def _cloned(self, lost: InDoubtChange) -> ReconciledOutcome:
        name = lost.arguments["volume"]
        path = lost.arguments.get("junction_path") or default_junction_path(name)
        settings: Any = {key: value for key, value in lost.settings.items() if key not in _CLONE_SOURCE}

        def finish(mutation: Mutation) -> Volume:
            return self._creation.finish_clone(mutation, name, path, settings)

        for record in self._volumes_named(lost, mapping.CLONE_FIELDS):
            # It was not there before our request was sent, and it is a copy of the same volume: it is ours.
            parent = Fields(record).text("clone.parent_volume.uuid")
            if not lost.applied and lost.recorded.step == "clone" and lost.fact("parent_uuid") != parent:
                return not_done(lost, AlreadyExists("There is a volume of that name already."))
            return self._completed(lost, finish)
        return ReconciledOutcome(NOT_DONE)

    def _volumes_named(self, lost: InDoubtChange, fields: Sequence[str]) -> list[Json]:
        """Return the record of the volume that the change has made, or may have made: one or none.

        Raises:
            NoSuchVolume: the change had made one, and another one has its name now.
        """
        name, made = lost.arguments["volume"], lost.fact("volume_uuid")
        records = volumes_where(self._client, "name", name, journal=lost.journal, fields=fields)
        if made and any(record.get("uuid") != made for record in records):
            raise NoSuchVolume("The new volume is not there any more: another one has its name.")
        return records

    def _is_ours(self, lost: InDoubtChange, record: Json) -> bool:
        """Does the volume's comment contain this job's id? A later step may have replaced it by the user's comment."""
        comment = record.get("comment")
        is_replaced = bool(comment) and comment == lost.arguments.get("comment") and lost.recorded.step != "create"
        return is_replaced or is_made_by(comment, lost.recorded.job_id)

    def _updated(self, lost: InDoubtChange) -> ReconciledOutcome:
        record = self._record(lost)
        settings: Any = lost.settings
        if lost.recorded.step == "configure" and not lost.applied and changes(record, settings):
            return ReconciledOutcome(NOT_DONE)
        caching: Any = {name: value for name, value in settings.items() if name == "caching_policy"}
        if caching.get("caching_policy") in {None, mapping.volume(record).caching_policy}:
            return ReconciledOutcome(DONE, self._volumes.to_volume(record, lost.journal))
        if settings == caching:
            is_shown = mapping.volume(record).caching_policy is not None
            return ReconciledOutcome(NOT_DONE if is_shown else UNKNOWN)

        def set_caching(mutation: Mutation) -> Volume:
            self._volumes.apply(mutation, record, caching)
            return self._volumes.reread(mutation, uuid_of(record))

        return self._completed(lost, set_caching)

    def _rolled_back(self, lost: InDoubtChange) -> ReconciledOutcome:
        """A roll-back is never repeated. It deletes all later snapshots: those that were recorded show the outcome."""
        record = self._record(lost)
        done = ReconciledOutcome(DONE, self._volumes.to_volume(record, lost.journal))
        if lost.applied:
            return done
        if lost.job is None:
            lost = attach_job(self._client, lost)
        if lost.job and lost.job.end is OntapJobState.FAILURE:
            return ReconciledOutcome(NOT_DONE, error=lost.job.error)
        later = set(lost.fact("later_uuids").split())
        there = {snapshot.get("uuid") for snapshot in snapshots_of(self._client, record["uuid"], journal=lost.journal)}
        if later & there:  # An attached job that succeeded is somebody else's.
            return ReconciledOutcome(NOT_DONE)
        return done if later or lost.applied else ReconciledOutcome(UNKNOWN)

    def _restricted(self, lost: InDoubtChange) -> ReconciledOutcome:
        record = self._record(lost)
        if record.get("state") == "restricted":
            return ReconciledOutcome(DONE)
        if path_of(record) or (lost.recorded.step == "restrict" and not lost.fact("unmounted")):
            return ReconciledOutcome(NOT_DONE)
        return self._completed(lost, lambda mutation: self._volumes.unmount_and_restrict(mutation, record))

    def _reinstated(self, lost: InDoubtChange) -> ReconciledOutcome:
        record = self._record(lost)
        path = lost.arguments.get("junction_path") or default_junction_path(lost.arguments["volume"])
        if record.get("state") != "online":
            return ReconciledOutcome(NOT_DONE)
        if path_of(record):
            # Another client may have mounted it elsewhere meanwhile.
            is_so = junction_key(path_of(record)) == junction_key(path)
            return (
                ReconciledOutcome(DONE, self._volumes.to_volume(record, lost.journal))
                if is_so
                else ReconciledOutcome(UNKNOWN)
            )
        return self._completed(lost, lambda mutation: self._volumes.bring_online_and_mount(mutation, record, path))

    # --- snapshots

    def _snapshot_made(self, lost: InDoubtChange) -> ReconciledOutcome:
        uuid, name = lost.fact("volume_uuid"), lost.arguments["name"]
        if lost.refused_by_snapshot_limit:
            return self._completed(lost, lambda mutation: self._snapshots.purge_and_create(mutation, uuid, name))
        for record in snapshots_named(self._client, uuid, name, journal=lost.journal):
            ours = is_made_by(record.get("comment"), lost.recorded.job_id)
            if ours or (lost.applied and lost.recorded.step != "purge"):
                return ReconciledOutcome(DONE, mapping.snapshot(record))
            return not_done(lost, AlreadyExists("The volume has a snapshot of that name already."))
        if lost.recorded.step == "purge" and not self._is_there(lost):
            return self._completed(lost, lambda mutation: self._snapshots.create_after_purge(mutation, uuid, name))
        return ReconciledOutcome(NOT_DONE)

    def _snapshot_deleted(self, lost: InDoubtChange) -> ReconciledOutcome:
        return ReconciledOutcome(NOT_DONE) if self._is_there(lost) else ReconciledOutcome(DONE)

    def _is_there(self, lost: InDoubtChange) -> bool:
        snapshots = snapshots_of(self._client, lost.fact("volume_uuid"), journal=lost.journal)
        return lost.fact("snapshot_uuid") in {record.get("uuid") for record in snapshots}

    # --- locks

    def _lock_removed(self, lost: InDoubtChange) -> ReconciledOutcome:
        """Breaking locks again is safe: each is identified by its uuid."""
        host, uuid = lost.arguments["host"], lost.fact("volume_uuid")
        return self._completed(lost, lambda mutation: self._locks.break_all(mutation, uuid, host))

    # --- export policies

    def _policy_made(self, lost: InDoubtChange) -> ReconciledOutcome:
        try:
            rules = self._rules(lost)
        except NotFound:
            return ReconciledOutcome(NOT_DONE)
        policy = policy_of(lost.arguments["policy"], rules).summary
        # It did not exist before our request was sent. With other rules it is not ours, or was changed since.
        is_ours = policy.rules == tuple(canonical_matches(lost.arguments["rules"]))
        ours = is_ours and all(rule.grants_required_access for rule in rules)
        return ReconciledOutcome(DONE, policy) if ours else ReconciledOutcome(UNKNOWN)

    def _policy_deleted(self, lost: InDoubtChange) -> ReconciledOutcome:
        try:
            number = self._exports.id_of(lost.arguments["policy"], lost.journal)
        except NotFound:
            return ReconciledOutcome(DONE)
        return ReconciledOutcome(NOT_DONE) if str(number) == lost.fact("policy_id") else ReconciledOutcome(DONE)

    def _rule_there(self, lost: InDoubtChange) -> ReconciledOutcome:
        rules, match = self._rules(lost), canonical_match(lost.arguments["rule"])
        if nfs_rule(rules, match) is None:
            return ReconciledOutcome(NOT_DONE)
        try:
            require_access(rules, match)
        except ResourceBusy as refusal:  # Another client has added a rule that gives less.
            return ReconciledOutcome(NOT_DONE, error=refusal)
        return ReconciledOutcome(DONE, policy_of(lost.arguments["policy"], rules).summary)

    def _rule_gone(self, lost: InDoubtChange) -> ReconciledOutcome:
        name, match = lost.arguments["policy"], canonical_match(lost.arguments["rule"])
        rules = self._rules(lost)
        holder_count = holders(rules, match)
        if not holder_count:
            return ReconciledOutcome(DONE, policy_of(name, rules).summary)
        if holder_count < int(lost.fact("holders") or 0):  # A part is done; the rest is safe to repeat.
            return self._completed(lost, lambda _: self._exports.remove_rule(name, match, lost.journal))
        return ReconciledOutcome(NOT_DONE)

    def _rules(self, lost: InDoubtChange) -> list[OntapRule]:
        name = lost.arguments["policy"]
        return self._exports.rules(self._exports.id_of(name, lost.journal), name, lost.journal)


#: Arguments of a clone that are not settings.
_CLONE_SOURCE = frozenset({"from_volume", "from_snapshot"})
