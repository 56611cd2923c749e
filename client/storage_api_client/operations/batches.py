"""Batches: what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from storage_api_client.operations import policies, volumes
from storage_api_client.operations.paths import Where, where_text
from storage_api_client.operations.settings import CloneSettings, NewVolume, VolumeChanges, split
from storage_api_client.protocol.batches import members
from storage_api_client.protocol.changes import Change, no_change, nothing

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Stands for the name of each volume that a batch's condition chooses.
EACH = "{name}"


def create_batch(order: Mapping[str, Any]) -> Change[Any]:
    """A batch; ``order`` is the body of POST /v4/batches."""
    return Change("POST", "/v4/batches", members, order)


def request_of(change: Change[Any]) -> dict[str, Any]:
    """Return a change as a member of a batch."""
    made: dict[str, Any] = {"method": change.method, "path": change.path}
    return made if change.body is None else {**made, "body": dict(change.body)}


def for_each(subsystem: str, where: Where, change: Change[Any]) -> dict[str, Any]:
    """Return the part of an order that makes a change to each volume that meets conditions.

    The change is one of the volume ``EACH``.
    """
    request = request_of(change)
    request["path"] = request["path"].replace("%7Bname%7D", EACH)
    return {"for_each": {"subsystem": subsystem, "where": where_text(where)}, "request": request}


class BatchMembers:
    """The changes of a batch, in their order. Each method adds one, and returns its place, from 0."""

    def __init__(self, name: str | None, on_failure: str, parallel: int | None) -> None:
        self._head: dict[str, Any] = {"on_failure": on_failure}
        self._head |= {"name": name} if name else {}
        self._head |= {"parallel": parallel} if parallel else {}
        self._requests: list[dict[str, Any]] = []

    @property
    def order(self) -> dict[str, Any]:
        """The body of POST /v4/batches.

        Raises:
            Refused: there are no changes in it.
        """
        if not self._requests:
            raise no_change("The batch holds no changes.")
        return {**self._head, "requests": self._requests}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        """Add any change, by its method, its path from ``/v4`` on, and its body."""
        return self._add(Change(method, path, nothing, body))

    def create(self, subsystem: str, volume: str, **settings: Unpack[NewVolume]) -> int:
        """Add the creation of a volume."""
        return self._add(volumes.create_volume(subsystem, volume, split(settings)[0]))

    def clone(
        self, subsystem: str, volume: str, from_volume: str, from_snapshot: str, **settings: Unpack[CloneSettings]
    ) -> int:
        """Add a clone."""
        return self._add(volumes.clone_volume(subsystem, volume, from_volume, from_snapshot, split(settings)[0]))

    def roll_back(self, subsystem: str, volume: str, to: str) -> int:
        """Add a roll-back."""
        return self._add(volumes.roll_back_volume(subsystem, volume, to))

    def update(self, subsystem: str, volume: str, **changes: Unpack[VolumeChanges]) -> int:
        """Add a change of settings."""
        return self._add(volumes.update_volume(subsystem, volume, split(changes)[0]))

    def restrict(self, subsystem: str, volume: str) -> int:
        """Add taking a volume out of service."""
        return self._add(volumes.restrict_volume(subsystem, volume))

    def reinstate(self, subsystem: str, volume: str, junction_path: str | None = None) -> int:
        """Add bringing a restricted volume back."""
        return self._add(volumes.reinstate_volume(subsystem, volume, junction_path))

    def snapshot(self, subsystem: str, volume: str, name: str, *, purge_old_if_needed: bool = False) -> int:
        """Add a snapshot."""
        return self._add(volumes.create_snapshot(subsystem, volume, name, purge_old_if_needed=purge_old_if_needed))

    def delete_snapshot(self, subsystem: str, volume: str, name: str) -> int:
        """Add the deletion of a snapshot."""
        return self._add(volumes.delete_snapshot(subsystem, volume, name))

    def lock(self, subsystem: str, volume: str, host: str) -> int:
        """Add a lock."""
        return self._add(volumes.create_lock(subsystem, volume, host))

    def unlock(self, subsystem: str, volume: str, host: str) -> int:
        """Add the removal of a lock."""
        return self._add(volumes.remove_lock(subsystem, volume, host))

    def create_policy(self, subsystem: str, policy: str, rules: tuple[str, ...] = ()) -> int:
        """Add a new export policy."""
        return self._add(policies.create_policy(subsystem, policy, rules))

    def delete_policy(self, subsystem: str, policy: str) -> int:
        """Add the deletion of an export policy."""
        return self._add(policies.delete_policy(subsystem, policy))

    def add_rule(self, subsystem: str, policy: str, rule: str) -> int:
        """Add a rule to an export policy."""
        return self._add(policies.ensure_policy_rule_present(subsystem, policy, rule))

    def remove_rule(self, subsystem: str, policy: str, rule: str) -> int:
        """Add the removal of a rule from an export policy."""
        return self._add(policies.ensure_policy_rule_absent(subsystem, policy, rule))

    def _add(self, change: Change[Any]) -> int:
        self._requests.append(request_of(change))
        return len(self._requests) - 1
