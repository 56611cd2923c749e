"""The contract of a storage system: every operation, what it returns and what it raises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Unpack

from storage_backends.journal import Journal, JournalState
from storage_backends.models import (
    CloneSettings,
    DetailedExportPolicy,
    ExportPolicy,
    Lock,
    Snapshot,
    Volume,
    VolumeSettings,
)


class Outcome(StrEnum):
    """The outcome of an in-doubt change, as probing the storage system shows it."""

    #: The change is complete (missing steps that are safe to repeat have been done).
    DONE = "done"
    #: Nothing of the change was done, and nothing of it can still happen.
    NOT_DONE = "not-done"
    #: It cannot be found out, also not by another probe.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ReconciledOutcome:
    """The outcome of a change, found by probing, with what the operation would have returned or raised."""

    outcome: Outcome
    value: Any = None
    #: For NOT_DONE: why the storage system refused it, if known (its job failed); None: it was never executed.
    error: Exception | None = None


class StorageBackend(ABC):
    """One storage system (for NetApp: one SVM).

    Methods raise ``storage_backends.errors`` and, from the journal, kinds of ``journal.Interrupted``; nothing else.
    Instances are used by many threads of one process at a time. ``volume`` is a name or ``node:/junction/path``; a
    restricted volume counts as not existing. All arguments are data: no character in a name is ever a pattern.
    A volume of type ``dp`` or ``ls``, or the namespace's root, is shown and never changed (``NotADataVolume``). Hosts
    and client matches are compared and shown in canonical form (``client_matches``).
    Every method that changes something raises ``BackendUnavailable`` or ``ResourceBusy`` with ``transient`` set only
    when nothing of the change happened, and ``OutcomeUnclear`` when it was sent and no response came.
    """

    #: Does the driver log in? Then it is constructed with the keyword argument ``login_guard``.
    signs_in: ClassVar[bool] = False

    # --- volumes

    @abstractmethod
    def list_volumes(self, *, journal: Journal) -> list[Volume]:
        """Return every volume but restricted ones and the storage system's own; progress counts records by page."""

    @abstractmethod
    def get_volume(self, volume: str, *, journal: Journal) -> Volume:
        """Return one volume.

        Raises:
            NoSuchVolume: there is none of that name, or mounted at that path.
        """

    @abstractmethod
    def create_volume(
        self,
        volume: str,
        *,
        journal: Journal,
        aggregate_name: str | None = None,
        junction_path: str | None = None,
        **settings: Unpack[VolumeSettings],
    ) -> Volume:
        """Create a volume named ``volume`` (always a name), mounted at ``junction_path`` or else at ``/<name>``.

        Without ``aggregate_name`` the storage system chooses.

        Raises:
            AlreadyExists: the name or the junction path is taken.
            InvalidRequest: a setting, the aggregate, or the policy is not possible here.
            NotSupported: this storage system, or its release, lacks a setting; nothing was made.
        """

    @abstractmethod
    def clone_volume(
        self,
        volume: str,
        *,
        journal: Journal,
        from_volume: str,
        from_snapshot: str,
        junction_path: str | None = None,
        **settings: Unpack[CloneSettings],
    ) -> Volume:
        """Create ``volume`` (a name) as an independent, writable copy of a snapshot of ``from_volume``.

        It is mounted at ``junction_path`` or else at ``/<name>``; all other settings are those of the snapshot.

        Raises:
            NoSuchVolume, NoSuchSnapshot: the source is not there.
            AlreadyExists: the name or the junction path is taken.
            InvalidRequest: a setting or the policy is not possible here.
        """

    @abstractmethod
    def roll_back_volume(self, volume: str, *, journal: Journal, from_snapshot: str) -> Volume:
        """Restore a volume to a snapshot; later snapshots are deleted.

        Raises:
            NoSuchVolume, NoSuchSnapshot: it is not there.
        """

    @abstractmethod
    def update_volume(self, volume: str, *, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        """Change the settings in ``settings``, and return the volume afterwards.

        Raises:
            NoSuchVolume: it is not there.
            InvalidRequest: a setting or the policy is not possible here.
        """

    @abstractmethod
    def restrict_volume(self, volume: str, *, journal: Journal) -> None:
        """Take a volume out of service without destroying it.

        Raises:
            NoSuchVolume: it is not there (any more).
        """

    @abstractmethod
    def list_restricted_volumes(self, *, journal: Journal) -> list[Volume]:
        """Return every data volume that is out of service."""

    @abstractmethod
    def reinstate_volume(self, volume: str, *, journal: Journal, junction_path: str | None = None) -> Volume:
        """Bring a restricted volume back: online, and mounted at ``junction_path`` or else at ``/<name>``.

        Raises:
            NoSuchVolume: there is no restricted volume of that name (``volume`` is always a name).
            AlreadyExists: the junction path is taken.
        """

    @abstractmethod
    def list_snapshots(self, volume: str, *, journal: Journal) -> list[Snapshot]:
        """Return the snapshots of a volume, oldest first.

        Raises:
            NoSuchVolume: it is not there.
        """

    @abstractmethod
    def get_snapshot(self, volume: str, name: str, *, journal: Journal) -> Snapshot:
        """Return one snapshot.

        Raises:
            NoSuchVolume, NoSuchSnapshot: it is not there.
        """

    @abstractmethod
    def create_snapshot(
        self, volume: str, name: str, *, journal: Journal, purge_old_if_needed: bool = False
    ) -> Snapshot:
        """Freeze the present state of a volume under ``name``.

        With ``purge_old_if_needed``, and only when the limit is reached, the oldest deletable one is deleted first.

        Raises:
            NoSuchVolume: it is not there.
            AlreadyExists: it has a snapshot of that name.
            TooManySnapshots: the limit is reached.
        """

    @abstractmethod
    def delete_snapshot(self, volume: str, name: str, *, journal: Journal) -> None:
        """Delete one snapshot.

        Raises:
            NoSuchVolume, NoSuchSnapshot: it is not there.
            ResourceBusy: something depends on it.
        """

    @abstractmethod
    def list_locks(self, volume: str, *, journal: Journal) -> list[Lock]:
        """Return the hosts that hold locks on a volume, each once.

        Raises:
            NoSuchVolume: it is not there.
        """

    @abstractmethod
    def create_lock(self, volume: str, host: str, *, journal: Journal) -> Lock:
        """Lock a volume for ``host``; the same host again succeeds.

        Raises:
            NoSuchVolume: it is not there.
            LockHeld: another host holds it.
            NotSupported: locks cannot be made from outside here.
        """

    @abstractmethod
    def remove_lock(self, volume: str, host: str, *, journal: Journal) -> None:
        """Break the locks of ``host``; none there is success.

        Raises:
            NoSuchVolume: the volume is not there.
        """

    # --- export policies

    @abstractmethod
    def list_policies(self, *, journal: Journal) -> list[ExportPolicy]:
        """Return every export policy with its rules."""

    @abstractmethod
    def get_policy(self, policy: str, *, journal: Journal) -> DetailedExportPolicy:
        """Return one export policy, with the rights that its rules give.

        Raises:
            NoSuchPolicy: it is not there.
        """

    @abstractmethod
    def create_policy(self, policy: str, *, journal: Journal, rules: list[str]) -> ExportPolicy:
        """Create an export policy; duplicate rules are dropped, order is kept.

        Raises:
            AlreadyExists: there is one of that name.
            InvalidRequest: a rule is not possible here.
        """

    @abstractmethod
    def delete_policy(self, policy: str, *, journal: Journal) -> None:
        """Delete an export policy.

        Raises:
            NoSuchPolicy: it is not there.
            PolicyInUse: a volume uses it.
        """

    @abstractmethod
    def ensure_policy_rule_present(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        """Append the rule unless it is there, and return the policy afterwards.

        "There": the client has the access that a rule of ours gives. No other rule is ever changed.

        Raises:
            NoSuchPolicy: it is not there.
            ResourceBusy: another rule, which is named, gives the client less.
        """

    @abstractmethod
    def ensure_policy_rule_absent(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        """Remove the rule if it is there, and return the policy afterwards.

        Raises:
            NoSuchPolicy: it is not there.
        """

    # --- what is not an operation

    @abstractmethod
    def reconcile(
        self, operation: str, arguments: Mapping[str, Any], recorded: JournalState, *, journal: Journal
    ) -> ReconciledOutcome:
        """Find out the outcome of an in-doubt change, without repeating it.

        It uses what the journal recorded, the storage system's job and the object. ``operation`` is a method's name,
        ``arguments`` what it was called with. Only called when ``recorded.step`` is set. May complete steps that are
        harmless to repeat. Never repeats a roll-back.

        Raises:
            StorageError: the storage system cannot be probed now; the caller tries again later.
        """

    @abstractmethod
    def check(self) -> tuple[str, ...]:
        """Return if the storage system can be used (reachable, signed in, its SVM there), and with what limits.

        The limits are sentences for its operator, usually none.

        Raises:
            StorageError: why not, without host names or credentials.
        """

    def close(self) -> None:  # noqa: B027 - most drivers have nothing to close
        """Close the connections. Called once, when the worker ends."""
