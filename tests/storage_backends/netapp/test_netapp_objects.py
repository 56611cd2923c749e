"""Snapshots, locks and export rules, as far as they are particular to NetApp."""

from __future__ import annotations

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import BackendUnavailable, NoSuchVolume, NotSupported, TooManySnapshots
from storage_backends.journal import InMemoryJournal
from storage_backends.models import Lock
from tests.ontap_simulator import Kind, Simulator


def journal() -> InMemoryJournal:
    return InMemoryJournal("0199-job")


class TestSnapshots:
    """The oldest that may go."""

    def test_owned_and_locked_snapshots_are_not_purged(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.snapshot_limit = 3
        home = ontap.world.add_volume("home")
        owned = ontap.world.add_snapshot(
            home, "owned", owners=["volume_clone"], create_time="2024-01-01T00:00:00+00:00"
        )
        ontap.world.add_snapshot(home, "locked", expiry_time="2099-01-01", create_time="2024-01-02T00:00:00+00:00")
        ontap.world.add_snapshot(home, "old", create_time="2024-01-03T01:00:00+02:00")

        backend.create_snapshot("home", "new", journal=journal(), purge_old_if_needed=True)

        names = [snapshot.name for snapshot in backend.list_snapshots("home", journal=journal())]
        assert names == ["owned", "locked", "new"]
        assert not [seen for seen in ontap.changes_sent() if owned["uuid"] in seen.path]

    def test_a_snapshot_of_unknown_age_is_not_the_oldest(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.snapshot_limit = 2
        home = ontap.world.add_volume("home")
        ontap.world.add_snapshot(home, "odd", create_time=None)
        ontap.world.add_snapshot(home, "old", create_time="2024-01-03T01:00:00+02:00")

        backend.create_snapshot("home", "new", journal=journal(), purge_old_if_needed=True)

        names = [snapshot.name for snapshot in backend.list_snapshots("home", journal=journal())]
        assert names == ["new", "odd"]
        rolled_back = journal()
        backend.roll_back_volume("home", journal=rolled_back, from_snapshot="odd")
        assert rolled_back.facts["later_uuids"] == ""  # None that is certainly newer could show the outcome.

    def test_a_roll_back_records_the_newest_later_snapshots(self, ontap: Simulator, backend: StorageBackend) -> None:
        """The storage system deletes the oldest ones by itself, which must not count as the roll-back's effect."""
        home = ontap.world.add_volume("home")
        uuids = [ontap.world.add_snapshot(home, f"s{number:02d}")["uuid"] for number in range(23)]
        rolled_back = journal()

        backend.roll_back_volume("home", journal=rolled_back, from_snapshot="s00")

        assert rolled_back.facts["later_uuids"].split() == uuids[3:]

    def test_without_purgeable_ones_the_limit_is_an_error(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.snapshot_limit = 1
        ontap.world.add_snapshot(ontap.world.add_volume("home"), "owned", owners=["volume_clone"])

        with pytest.raises(TooManySnapshots, match="none of them may go"):
            backend.create_snapshot("home", "new", journal=journal(), purge_old_if_needed=True)
        assert [seen.method for seen in ontap.changes_sent()] == ["POST"]

    def test_the_size_of_a_snapshot_is_in_kilobytes(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_snapshot(ontap.world.add_volume("home"), "s", create_time="2024-01-03T01:00:00+02:00")

        (snapshot,) = backend.list_snapshots("home", journal=journal())

        assert (snapshot.size_kbytes, snapshot.creation_time) == (128, "2024-01-02T23:00:00Z")

    def test_a_snapshot_is_requested_by_its_literal_name(self, ontap: Simulator, backend: StorageBackend) -> None:
        home = ontap.world.add_volume("home")
        for name in ("a", "b", "a|b"):
            ontap.world.add_snapshot(home, name)

        assert backend.get_snapshot("home", "a|b", journal=journal()).name == "a|b"

        (question,) = [dict(seen.query) for seen in ontap.requests if seen.path.endswith("/snapshots")]
        assert question["name"] == '"a|b"'
        backend.roll_back_volume("home", journal=journal(), from_snapshot="a|b")
        (change,) = [dict(seen.query) for seen in ontap.changes_sent()]
        assert change["restore_to.snapshot.uuid"] in ontap.world.snapshots[home["uuid"]]
        assert "restore_to.snapshot.name" not in change
        backend.roll_back_volume("home", journal=journal(), from_snapshot="a")
        assert ("restore_to.snapshot.name", "a") in ontap.changes_sent()[
            1
        ].query  # The documented way, where it can be.


class TestLocksAndRules:
    """Locks by host; rules by client."""

    def test_all_locks_of_one_host_are_removed(self, ontap: Simulator, backend: StorageBackend) -> None:
        home, other = ontap.world.add_volume("home"), ontap.world.add_volume("other")
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            ontap.world.add_lock(home, client)
        ontap.world.add_lock(other, "192.0.2.1")
        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.1"), Lock("192.0.2.2")]

        backend.remove_lock("home", "192.0.2.1", journal=journal())

        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.2")]
        questions = [dict(seen.query) for seen in ontap.requests if seen.path == "/protocols/locks"]
        assert {(one["svm.name"], one["volume.uuid"]) for one in questions} == {("vs1", home["uuid"])}
        assert backend.list_locks("other", journal=journal()) == [Lock("192.0.2.1")]
        with pytest.raises(NotSupported):
            backend.create_lock("home", "192.0.2.1", journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.create_lock("nothing", "192.0.2.1", journal=journal())

    def test_a_rule_of_several_clients_keeps_the_others(self, ontap: Simulator, backend: StorageBackend) -> None:
        policy = ontap.world.add_policy(ontap.world.vserver, "team", [["a", "b", "c"], ["d"], ["b"]])

        after = backend.ensure_policy_rule_absent("team", "b", journal=journal())

        assert after.rules == ("a", "c", "d")
        assert [rule["index"] for rule in policy["rules"]] == [1, 2]
        assert backend.ensure_policy_rule_present("team", "c", journal=journal()) == after
        assert len(ontap.world.effects) == 2

    def test_a_long_policy_is_read_whole(self, ontap: Simulator, backend: StorageBackend) -> None:
        clients = [f"host{number}" for number in range(150)]
        ontap.world.add_policy(ontap.world.vserver, "long", [[client] for client in clients])

        listed = {policy.name: policy for policy in backend.list_policies(journal=journal())}

        assert listed["long"].rules == tuple(clients)
        assert backend.get_policy("long", journal=journal()).summary == listed["long"]

    def test_a_redirected_read_is_repeated(
        self, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is a proxy's: the question is repeated, as after a time-out that a proxy tells."""
        monkeypatch.setattr("storage_backends.netapp.ontap.client._PAUSE_S", 0.001)
        ontap.fault(Kind.REDIRECT, times=3)
        with pytest.raises(BackendUnavailable, match=r"HTTP status 30\d without a reason"):
            backend.list_policies(journal=journal())
        ontap.fault(Kind.REDIRECT)
        ontap.fault(Kind.WEB_PAGE_BEFORE, status=408)
        assert backend.list_policies(journal=journal())
