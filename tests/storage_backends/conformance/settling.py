"""How every driver must reconcile a change whose worker was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.journal import LeaseLost
from storage_backends.models import Volume
from tests.storage_backends.conformance.subject import MIB, Conformance, KilledJournal, LapsedJournal, NewJournal

#: One change of each kind that every driver knows, made on what ``SettleConformance.world`` holds.
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("create_volume", {"volume": "new", "junction_path": "/new", "size_total": 100 * MIB}),
    ("clone_volume", {"volume": "copy", "from_volume": "home", "from_snapshot": "one", "junction_path": "/copy"}),
    ("roll_back_volume", {"volume": "home", "from_snapshot": "one"}),
    ("update_volume", {"volume": "home", "size_total": 200 * MIB, "active_policy_name": "team"}),
    ("restrict_volume", {"volume": "home"}),
    ("reinstate_volume", {"volume": "out", "junction_path": "/back"}),
    ("create_snapshot", {"volume": "home", "name": "three"}),
    ("delete_snapshot", {"volume": "home", "name": "one"}),
    ("create_policy", {"policy": "new", "rules": ["a", "b"]}),
    ("delete_policy", {"policy": "team"}),
    ("ensure_policy_rule_present", {"policy": "team", "rule": "b"}),
    ("ensure_policy_rule_absent", {"policy": "team", "rule": "a"}),
)

every_change = pytest.mark.parametrize(("operation", "arguments"), CHANGES, ids=[name for name, _ in CHANGES])


class SettleConformance(Conformance):
    """The reconciliation of a change whose worker was lost."""

    @pytest.fixture
    def world(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> StorageBackend:
        """A storage system on which each of CHANGES is possible."""
        for name in ("one", "two"):
            backend.create_snapshot("home", name, journal=journal())
        backend.create_policy("team", journal=journal(), rules=["a"])
        backend.create_volume("out", journal=journal())
        backend.restrict_volume("out", journal=journal())
        return backend

    def state(self, backend: StorageBackend, journal: NewJournal) -> list[Any]:
        volumes = backend.list_volumes(journal=journal())
        snapshots = [backend.list_snapshots(volume.name, journal=journal()) for volume in volumes]
        restricted = backend.list_restricted_volumes(journal=journal())
        return [volumes, snapshots, restricted, backend.list_policies(journal=journal())]

    @every_change
    def test_a_completed_change_is_reconciled_as_done(
        self, operation: str, arguments: Mapping[str, Any], world: StorageBackend, journal: NewJournal
    ) -> None:
        lost = journal()
        value = getattr(world, operation)(**arguments, journal=lost)
        after = self.state(world, journal)

        settlement = world.reconcile(operation, arguments, lost.state(age_s=3600.0), journal=journal())

        allowed = {Outcome.DONE} | ({Outcome.UNKNOWN} if operation in self.untellable else set())
        assert settlement.outcome in allowed
        if settlement.outcome is Outcome.DONE:
            assert settlement.value == value
        assert self.state(world, journal) == after

    @every_change
    def test_a_change_that_was_not_sent_is_reconciled_as_not_done(
        self, operation: str, arguments: Mapping[str, Any], world: StorageBackend, journal: NewJournal
    ) -> None:
        before = self.state(world, journal)
        killed = KilledJournal()
        with pytest.raises(LeaseLost):
            getattr(world, operation)(**arguments, journal=killed)

        settlement = world.reconcile(operation, arguments, killed.state(age_s=3600.0), journal=journal())

        allowed = {Outcome.NOT_DONE} | ({Outcome.UNKNOWN} if operation in self.untellable else set())
        assert settlement.outcome in allowed
        assert settlement.error is None
        assert self.state(world, journal) == before

    @every_change
    def test_nothing_is_sent_after_the_lease_has_ended(
        self, operation: str, arguments: Mapping[str, Any], world: StorageBackend, journal: NewJournal
    ) -> None:
        before = self.state(world, journal)
        with pytest.raises(LeaseLost):
            getattr(world, operation)(**arguments, journal=LapsedJournal())
        assert self.state(world, journal) == before
