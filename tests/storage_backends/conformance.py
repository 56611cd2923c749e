"""What every driver must do, one class per subject; a driver's tests inherit the classes and give a fresh ``backend``.

``journal`` is a factory: one change is one job, so each call gets a journal of its own. A driver that cannot do
something says so by a class attribute. Nothing is assumed to exist but the export policy ``default``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    InvalidRequest,
    LockHeld,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    NotSupported,
    PolicyInUse,
    TooManySnapshots,
)
from storage_backends.journal import LeaseLost, UnwatchedJournal
from storage_backends.models import ExportPolicy, Lock, Snapshot, Volume

MIB = 1024 * 1024
NewJournal = Callable[[], UnwatchedJournal]

#: What a filer's query language would take for a pattern; as names they are of things that are not there.
PATTERNS = ("*", "hom*", "home|work", "!home", '"home"', "{home}", "ho?e", "a..z", ">a", "null", "home,work", "HOME")


class DyingJournal(UnwatchedJournal):
    """A worker that dies between its mark and its call: nothing reaches the storage system."""

    def sending(self, step: str, **facts: str) -> None:
        super().sending(step, **facts)
        raise LeaseLost


class Conformance:
    """What the subjects share."""

    #: Can locks be made from outside?
    can_lock: ClassVar[bool] = True
    #: How far a size that reads back may be from what was written, in bytes.
    size_tolerance_bytes: ClassVar[int] = MIB
    #: How many snapshots a volume of ``backend`` can have; None: too many to try.
    snapshot_limit: ClassVar[int | None] = None
    #: Operations whose outcome looking may not be able to tell.
    untellable: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def backend(self) -> StorageBackend:
        raise NotImplementedError("a driver's tests give its backend")

    @pytest.fixture
    def journal(self) -> NewJournal:
        return UnwatchedJournal

    @pytest.fixture
    def home(self, backend: StorageBackend, journal: NewJournal) -> Volume:
        """A volume that is there."""
        return backend.create_volume("home", journal=journal(), junction_path="/users/home", size_total=100 * MIB)


def names(listed: list[Volume] | list[Snapshot] | list[ExportPolicy]) -> list[str]:
    return [item.name for item in listed]


class VolumeConformance(Conformance):
    """Volumes: made, found by name and path, changed, copied, put back, taken out of service."""

    def near(self, size_bytes: int) -> Any:
        return pytest.approx(size_bytes, abs=self.size_tolerance_bytes, rel=0)

    def test_a_new_volume_is_listed_and_found(self, backend: StorageBackend, journal: NewJournal) -> None:
        made = backend.create_volume("home", journal=journal(), junction_path="/home", size_total=100 * MIB)

        assert (made.name, made.junction_path, made.state) == ("home", "/home", "online")
        assert backend.get_volume("home", journal=journal()) == made
        assert made in backend.list_volumes(journal=journal())

    def test_what_was_written_reads_back(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["192.0.2.0/24"])

        backend.create_volume(
            "home",
            journal=journal(),
            junction_path="/home",
            size_total=100 * MIB,
            autosize_enabled=True,
            max_autosize=300 * MIB,
            percentage_snapshot_reserve=10,
            active_policy_name="team",
        )

        found = backend.get_volume("home", journal=journal())
        assert found.size_total == self.near(100 * MIB)
        assert found.autosize_enabled is True
        assert found.percentage_snapshot_reserve == 10
        assert found.active_policy_name == "team"
        assert found.max_autosize is not None
        assert found.max_autosize >= 300 * MIB - self.size_tolerance_bytes

    def test_a_new_volume_knows_when_and_where(self, backend: StorageBackend, home: Volume) -> None:
        assert home.uuid
        assert home.aggregate_name
        assert home.creation_time
        assert home.creation_time.endswith("Z")

    def test_volumes_are_found_by_path_on_any_node(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for reference in ("filer01:/users/home", ":/users/home"):
            assert backend.get_volume(reference, journal=journal()) == home

    def test_a_part_of_a_path_is_no_path(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for reference in ("filer01:/users", ":/home", ":/users/home/more", ":/users/*", ":/users/hom"):
            with pytest.raises(NoSuchVolume):
                backend.get_volume(reference, journal=journal())

    @pytest.mark.parametrize("name", PATTERNS)
    def test_names_are_no_patterns(self, name: str, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        with pytest.raises(NoSuchVolume):
            backend.get_volume(name, journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.update_volume(name, journal=journal(), size_total=200 * MIB)
        with pytest.raises(NoSuchVolume):
            backend.restrict_volume(name, journal=journal())
        assert backend.get_volume("home", journal=journal()) == home

    def test_a_taken_name_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal(), junction_path="/other", size_total=100 * MIB)
        assert backend.get_volume("home", journal=journal()) == home

    def test_a_taken_path_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        with pytest.raises(AlreadyExists):
            backend.create_volume("other", journal=journal(), junction_path="/users/home", size_total=100 * MIB)
        assert names(backend.list_volumes(journal=journal())).count("other") == 0

    def test_a_policy_that_is_not_there_is_refused(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume(
                "new", journal=journal(), junction_path="/new", size_total=100 * MIB, active_policy_name="nobody"
            )
        assert [error.pointer for error in refusal.value.errors] == ["/active_policy_name"]
        with pytest.raises(InvalidRequest):
            backend.update_volume("home", journal=journal(), active_policy_name="nobody")
        with pytest.raises(NoSuchVolume):
            backend.get_volume("new", journal=journal())

    def test_a_change_is_seen(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        changed = backend.update_volume(
            "home", journal=journal(), size_total=200 * MIB, autosize_enabled=False, percentage_snapshot_reserve=20
        )

        assert backend.get_volume("home", journal=journal()) == changed
        assert changed.size_total == self.near(200 * MIB)
        assert changed.autosize_enabled is False
        assert changed.percentage_snapshot_reserve == 20

    def test_a_change_leaves_the_rest(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=[])

        changed = backend.update_volume(":/users/home", journal=journal(), active_policy_name="team")

        assert changed.active_policy_name == "team"
        assert changed.size_total == self.near(home.size_total or 0)
        assert (changed.uuid, changed.junction_path) == (home.uuid, home.junction_path)

    def test_a_restricted_volume_vanishes(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        backend.restrict_volume("home", journal=journal())

        assert "home" not in names(backend.list_volumes(journal=journal()))
        for reference in ("home", ":/users/home"):
            with pytest.raises(NoSuchVolume):
                backend.get_volume(reference, journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.restrict_volume("home", journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.list_snapshots("home", journal=journal())

    def test_a_restricted_volume_frees_its_path_but_not_its_name(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.restrict_volume("home", journal=journal())

        with pytest.raises(AlreadyExists):
            backend.create_volume("home", journal=journal(), junction_path="/users/home", size_total=100 * MIB)
        backend.create_volume("next", journal=journal(), junction_path="/users/home", size_total=100 * MIB)

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        for call in (
            lambda: backend.get_volume("nothing", journal=journal()),
            lambda: backend.update_volume("nothing", journal=journal(), size_total=200 * MIB),
            lambda: backend.restrict_volume("nothing", journal=journal()),
            lambda: backend.roll_back_volume("nothing", journal=journal(), from_snapshot="s"),
            lambda: backend.clone_volume("new", journal=journal(), from_volume="nothing", from_snapshot="s"),
        ):
            with pytest.raises(NoSuchVolume):
                call()

    def test_a_listing_counts_what_it_read(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        watched = journal()

        listed = backend.list_volumes(journal=watched)

        assert watched.shown[-1][0] == len(listed)

    def test_a_clone_is_a_volume_of_its_own(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        clone = backend.clone_volume(
            "copy", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/copy"
        )
        backend.update_volume("copy", journal=journal(), size_total=200 * MIB)

        assert (clone.name, clone.junction_path, clone.state) == ("copy", "/copy", "online")
        assert clone.uuid != home.uuid
        assert backend.get_volume("home", journal=journal()).size_total == self.near(100 * MIB)

    def test_a_clone_needs_a_snapshot_and_a_free_name(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.clone_volume(
                "copy", journal=journal(), from_volume="home", from_snapshot="never", junction_path="/copy"
            )
        with pytest.raises(AlreadyExists):
            backend.clone_volume(
                "home", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/copy"
            )
        with pytest.raises(AlreadyExists):
            backend.clone_volume(
                "copy", journal=journal(), from_volume="home", from_snapshot="before", junction_path="/users/home"
            )

    def test_rolling_back_drops_later_snapshots(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for name in ("first", "second", "third"):
            backend.create_snapshot("home", name, journal=journal())

        volume = backend.roll_back_volume("home", journal=journal(), from_snapshot="first")

        assert (volume.name, volume.uuid, volume.junction_path) == (home.name, home.uuid, home.junction_path)
        assert names(backend.list_snapshots("home", journal=journal())) == ["first"]

    def test_rolling_back_needs_the_snapshot(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        for name in ("never", "*", "befor*"):
            with pytest.raises(NoSuchSnapshot):
                backend.roll_back_volume("home", journal=journal(), from_snapshot=name)


class SnapshotConformance(Conformance):
    """Snapshots of a volume."""

    def test_a_new_volume_has_none(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert backend.list_snapshots("home", journal=journal()) == []

    def test_a_new_snapshot_is_listed_and_found(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        made = backend.create_snapshot("home", "before", journal=journal())

        assert made.name == "before"
        assert made.creation_time
        assert made.creation_time.endswith("Z")
        assert backend.get_snapshot(":/users/home", "before", journal=journal()).name == "before"
        assert names(backend.list_snapshots("home", journal=journal())) == ["before"]

    def test_they_are_listed_oldest_first(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for name in ("zulu", "alpha", "mike"):
            backend.create_snapshot("home", name, journal=journal())

        assert names(backend.list_snapshots("home", journal=journal())) == ["zulu", "alpha", "mike"]

    def test_a_taken_name_is_refused(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(AlreadyExists):
            backend.create_snapshot("home", "before", journal=journal())
        with pytest.raises(AlreadyExists):
            backend.create_snapshot("home", "before", journal=journal(), purge_old_if_needed=True)

    def test_a_deleted_snapshot_is_gone(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_snapshot("home", "before", journal=journal())

        backend.delete_snapshot("home", "before", journal=journal())

        assert backend.list_snapshots("home", journal=journal()) == []
        with pytest.raises(NoSuchSnapshot):
            backend.get_snapshot("home", "before", journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.delete_snapshot("home", "before", journal=journal())

    @pytest.mark.parametrize("pattern", ["*", "befor*", "before|after", "!after", '"before"', "BEFORE", "a..z", "null"])
    def test_names_are_no_patterns(
        self, pattern: str, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        for name in ("before", "after"):
            backend.create_snapshot("home", name, journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.get_snapshot("home", pattern, journal=journal())
        with pytest.raises(NoSuchSnapshot):
            backend.delete_snapshot("home", pattern, journal=journal())
        assert names(backend.list_snapshots("home", journal=journal())) == ["before", "after"]

    def test_a_name_may_hold_what_the_contract_allows(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        backend.create_snapshot("home", "2017-08-10T12:00:00+02.a_b", journal=journal())

        found = backend.get_snapshot("home", "2017-08-10T12:00:00+02.a_b", journal=journal())
        assert found.name == "2017-08-10T12:00:00+02.a_b"

    def test_volumes_do_not_share_them(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_volume("work", journal=journal(), junction_path="/work", size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())

        assert backend.list_snapshots("work", journal=journal()) == []

    def test_the_limit_is_kept_unless_the_oldest_may_go(
        self, backend: StorageBackend, home: Volume, journal: NewJournal
    ) -> None:
        if self.snapshot_limit is None:
            pytest.skip("this back-end's limit is too high to try")
        made = [f"s{number}" for number in range(self.snapshot_limit)]
        for name in made:
            backend.create_snapshot("home", name, journal=journal(), purge_old_if_needed=True)
        assert names(backend.list_snapshots("home", journal=journal())) == made

        with pytest.raises(TooManySnapshots):
            backend.create_snapshot("home", "last", journal=journal())
        backend.create_snapshot("home", "last", journal=journal(), purge_old_if_needed=True)

        assert names(backend.list_snapshots("home", journal=journal())) == [*made[1:], "last"]

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        for call in (
            lambda: backend.list_snapshots("nothing", journal=journal()),
            lambda: backend.get_snapshot("nothing", "s", journal=journal()),
            lambda: backend.create_snapshot("nothing", "s", journal=journal()),
            lambda: backend.delete_snapshot("nothing", "s", journal=journal()),
        ):
            with pytest.raises(NoSuchVolume):
                call()


class LockConformance(Conformance):
    """Locks of hosts on a volume."""

    def lock(self, backend: StorageBackend, journal: NewJournal, host: str) -> Lock:
        if not self.can_lock:
            with pytest.raises(NotSupported):
                backend.create_lock("home", host, journal=journal())
            pytest.skip("locks cannot be made from outside here")
        return backend.create_lock("home", host, journal=journal())

    def test_a_new_volume_has_none(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert backend.list_locks("home", journal=journal()) == []

    def test_a_lock_is_held_by_its_host(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        assert self.lock(backend, journal, "db01.example.org") == Lock("db01.example.org")
        assert backend.list_locks(":/users/home", journal=journal()) == [Lock("db01.example.org")]

    def test_the_same_host_may_lock_again(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        for _ in range(2):
            self.lock(backend, journal, "db01")
        assert backend.list_locks("home", journal=journal()) == [Lock("db01")]

    def test_another_host_may_not(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "db01")
        with pytest.raises(LockHeld):
            backend.create_lock("home", "db02", journal=journal())
        assert backend.list_locks("home", journal=journal()) == [Lock("db01")]

    def test_another_may_once_it_is_removed(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "db01")

        backend.remove_lock("home", "db01", journal=journal())

        assert self.lock(backend, journal, "2001:db8::1") == Lock("2001:db8::1")

    def test_removing_none_succeeds(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.remove_lock("home", "192.0.2.9", journal=journal())

    def test_removing_leaves_other_hosts(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        self.lock(backend, journal, "192.0.2.1")
        for host in ("192.0.2.2", "192.0.2.*", "*"):
            backend.remove_lock("home", host, journal=journal())
        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.1")]

    def test_a_volume_that_is_not_there(self, backend: StorageBackend, journal: NewJournal) -> None:
        with pytest.raises(NoSuchVolume):
            backend.list_locks("nothing", journal=journal())
        with pytest.raises(NoSuchVolume):
            backend.remove_lock("nothing", "192.0.2.9", journal=journal())


class ExportConformance(Conformance):
    """Export policies and their rules."""

    RULES = ("192.0.2.0/24", "db01.example.org", "*.example.org", ".example.org", "@cluster", "2001:db8::/32")

    def test_a_new_policy_is_listed_and_found(self, backend: StorageBackend, journal: NewJournal) -> None:
        made = backend.create_policy("team", journal=journal(), rules=list(self.RULES))

        assert made == ExportPolicy("team", self.RULES)
        assert backend.get_policy("team", journal=journal()) == made
        assert made in backend.list_policies(journal=journal())

    def test_duplicates_are_dropped_and_order_kept(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["b", "a", "b", "c", "a"])

        assert backend.get_policy("team", journal=journal()).rules == ("b", "a", "c")

    def test_a_policy_may_be_empty(self, backend: StorageBackend, journal: NewJournal) -> None:
        assert backend.create_policy("team", journal=journal(), rules=[]) == ExportPolicy("team")

    def test_a_taken_name_is_refused(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        with pytest.raises(AlreadyExists):
            backend.create_policy("team", journal=journal(), rules=["b"])
        assert backend.get_policy("team", journal=journal()).rules == ("a",)

    @pytest.mark.parametrize("pattern", ["*", "tea*", "team|work", "!work", '"team"', "TEAM", "a..z", "null"])
    def test_names_are_no_patterns(self, pattern: str, backend: StorageBackend, journal: NewJournal) -> None:
        for name in ("team", "work"):
            backend.create_policy(name, journal=journal(), rules=["a"])
        for call in (
            lambda: backend.get_policy(pattern, journal=journal()),
            lambda: backend.delete_policy(pattern, journal=journal()),
            lambda: backend.ensure_policy_rule_present(pattern, "b", journal=journal()),
            lambda: backend.ensure_policy_rule_absent(pattern, "a", journal=journal()),
        ):
            with pytest.raises(NoSuchPolicy):
                call()
        for name in ("team", "work"):
            assert backend.get_policy(name, journal=journal()).rules == ("a",)

    def test_a_deleted_policy_is_gone(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])

        backend.delete_policy("team", journal=journal())

        assert "team" not in names(backend.list_policies(journal=journal()))
        with pytest.raises(NoSuchPolicy):
            backend.get_policy("team", journal=journal())
        with pytest.raises(NoSuchPolicy):
            backend.delete_policy("team", journal=journal())

    def test_a_policy_in_use_stays(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        backend.update_volume("home", journal=journal(), active_policy_name="team")

        with pytest.raises(PolicyInUse):
            backend.delete_policy("team", journal=journal())
        backend.update_volume("home", journal=journal(), active_policy_name="default")
        backend.delete_policy("team", journal=journal())

    def test_a_rule_is_appended_once(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        for _ in range(2):
            policy = backend.ensure_policy_rule_present("team", "*.example.org", journal=journal())
            assert policy == ExportPolicy("team", ("a", "*.example.org"))
        assert backend.get_policy("team", journal=journal()) == policy

    def test_a_rule_is_removed_and_order_kept(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=list(self.RULES))
        for _ in range(2):
            policy = backend.ensure_policy_rule_absent("team", "*.example.org", journal=journal())
            assert policy.rules == tuple(rule for rule in self.RULES if rule != "*.example.org")
        assert backend.get_policy("team", journal=journal()) == policy

    @pytest.mark.parametrize("pattern", ["*", "db*", "a|b", "!a", "*.org"])
    def test_rules_are_no_patterns(self, pattern: str, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a", "b", "db01.example.org"])

        policy = backend.ensure_policy_rule_absent("team", pattern, journal=journal())

        assert policy.rules == ("a", "b", "db01.example.org")


#: One change of each kind that every driver knows, made on what ``SettleConformance.world`` holds.
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("create_volume", {"volume": "new", "junction_path": "/new", "size_total": 100 * MIB}),
    ("clone_volume", {"volume": "copy", "from_volume": "home", "from_snapshot": "one", "junction_path": "/copy"}),
    ("roll_back_volume", {"volume": "home", "from_snapshot": "one"}),
    ("update_volume", {"volume": "home", "size_total": 200 * MIB, "active_policy_name": "team"}),
    ("restrict_volume", {"volume": "home"}),
    ("create_snapshot", {"volume": "home", "name": "three"}),
    ("delete_snapshot", {"volume": "home", "name": "one"}),
    ("create_policy", {"policy": "new", "rules": ["a", "b"]}),
    ("delete_policy", {"policy": "team"}),
    ("ensure_policy_rule_present", {"policy": "team", "rule": "b"}),
    ("ensure_policy_rule_absent", {"policy": "team", "rule": "a"}),
)

every_change = pytest.mark.parametrize(("operation", "arguments"), CHANGES, ids=[name for name, _ in CHANGES])


class SettleConformance(Conformance):
    """What looking tells of a change whose worker is gone."""

    @pytest.fixture
    def world(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> StorageBackend:
        """A storage system on which each of CHANGES is possible."""
        for name in ("one", "two"):
            backend.create_snapshot("home", name, journal=journal())
        backend.create_policy("team", journal=journal(), rules=["a"])
        return backend

    def state(self, backend: StorageBackend, journal: NewJournal) -> list[Any]:
        volumes = backend.list_volumes(journal=journal())
        snapshots = [backend.list_snapshots(volume.name, journal=journal()) for volume in volumes]
        return [volumes, snapshots, backend.list_policies(journal=journal())]

    @every_change
    def test_what_was_done_is_found_done(
        self, operation: str, arguments: Mapping[str, Any], world: StorageBackend, journal: NewJournal
    ) -> None:
        lost = journal()
        value = getattr(world, operation)(**arguments, journal=lost)
        after = self.state(world, journal)

        settlement = world.settle(operation, arguments, lost.trace(age_s=3600.0), journal=journal())

        allowed = {Outcome.DONE} | ({Outcome.UNKNOWN} if operation in self.untellable else set())
        assert settlement.outcome in allowed
        if settlement.outcome is Outcome.DONE:
            assert settlement.value == value
        assert self.state(world, journal) == after

    @every_change
    def test_what_never_left_is_found_not_done(
        self, operation: str, arguments: Mapping[str, Any], world: StorageBackend, journal: NewJournal
    ) -> None:
        before = self.state(world, journal)
        dying = DyingJournal()
        with pytest.raises(LeaseLost):
            getattr(world, operation)(**arguments, journal=dying)

        settlement = world.settle(operation, arguments, dying.trace(age_s=3600.0), journal=journal())

        allowed = {Outcome.NOT_DONE} | ({Outcome.UNKNOWN} if operation in self.untellable else set())
        assert settlement.outcome in allowed
        assert settlement.error is None
        assert self.state(world, journal) == before
