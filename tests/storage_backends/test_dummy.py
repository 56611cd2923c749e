"""DummyStorage: what every driver must do, and what only it can show."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.dummy import DummyStorage
from storage_backends.errors import BackendUnavailable, InvalidRequest, NoSuchVolume, PolicyInUse, StorageError
from storage_backends.journal import Cancelled, LeaseLost, UnwatchedJournal
from storage_backends.models import Volume
from storage_backends.options import DummyOptions
from tests.storage_backends.conformance import (
    MIB,
    Conformance,
    DyingJournal,
    ExportConformance,
    LockConformance,
    SettleConformance,
    SnapshotConformance,
    VolumeConformance,
)

OpenDummy = Callable[..., DummyStorage]


@pytest.fixture
def open_dummy(tmp_path: Path) -> Iterator[OpenDummy]:
    """Open the same state as often as one likes, as several workers do."""
    opened: list[DummyStorage] = []

    def open_one(**options: Any) -> DummyStorage:
        given: dict[str, Any] = {"volumes": 0, "state_dir": str(tmp_path), "snapshot_limit": 4} | options
        opened.append(DummyStorage(DummyOptions(**given), name="dummy"))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


class OfDummy(Conformance):
    size_tolerance_bytes = 0
    snapshot_limit = 4

    @pytest.fixture
    def backend(self, open_dummy: OpenDummy) -> StorageBackend:
        return open_dummy()


class TestVolumes(OfDummy, VolumeConformance):
    pass


class TestSnapshots(OfDummy, SnapshotConformance):
    pass


class TestLocks(OfDummy, LockConformance):
    pass


class TestExports(OfDummy, ExportConformance):
    pass


class TestSettling(OfDummy, SettleConformance):
    def test_what_was_settled_as_not_done_can_never_be_done(self, backend: StorageBackend) -> None:
        dying = DyingJournal("job")
        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=dying, rules=[])
        backend.settle("create_policy", {}, dying.trace(), journal=UnwatchedJournal())

        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=UnwatchedJournal("job"), rules=[])

        assert [policy.name for policy in backend.list_policies(journal=UnwatchedJournal())] == ["default"]

    def test_a_job_that_comes_again_returns_what_it_returned(self, backend: StorageBackend) -> None:
        first = backend.create_volume("home", journal=UnwatchedJournal("job"))

        assert backend.create_volume("home", journal=UnwatchedJournal("job")) == first

    def test_a_job_cannot_make_two_kinds_of_change(self, backend: StorageBackend) -> None:
        backend.create_volume("home", journal=UnwatchedJournal("job"))
        with pytest.raises(StorageError):
            backend.restrict_volume("home", journal=UnwatchedJournal("job"))

    def test_a_refused_change_leaves_no_mark(self, backend: StorageBackend) -> None:
        with pytest.raises(NoSuchVolume):
            backend.create_lock("home", "db01", journal=UnwatchedJournal("job"))
        backend.create_volume("home", journal=UnwatchedJournal())

        assert backend.create_lock("home", "db01", journal=UnwatchedJournal("job")).host == "db01"


def journal() -> UnwatchedJournal:
    return UnwatchedJournal()


class TestRollingBack(OfDummy):
    def test_brings_the_settings_back(self, backend: StorageBackend) -> None:
        before = backend.create_volume("home", journal=journal(), size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())
        backend.create_policy("team", journal=journal(), rules=[])
        backend.update_volume(
            "home", journal=journal(), size_total=200 * MIB, autosize_enabled=False, active_policy_name="team"
        )

        assert backend.roll_back_volume("home", journal=journal(), from_snapshot="before") == before
        assert backend.get_volume("home", journal=journal()) == before

    def test_keeps_the_policy_when_the_old_one_is_gone(self, backend: StorageBackend) -> None:
        backend.create_policy("old", journal=journal(), rules=[])
        backend.create_volume("home", journal=journal(), active_policy_name="old")
        backend.create_snapshot("home", "before", journal=journal())
        backend.update_volume("home", journal=journal(), active_policy_name="default")
        backend.delete_policy("old", journal=journal())

        volume = backend.roll_back_volume("home", journal=journal(), from_snapshot="before")

        assert volume.active_policy_name == "default"

    def test_a_clone_is_of_the_snapshot_not_of_the_present(self, backend: StorageBackend) -> None:
        before = backend.create_volume("home", journal=journal(), size_total=100 * MIB)
        backend.create_snapshot("home", "before", journal=journal())
        backend.update_volume("home", journal=journal(), size_total=200 * MIB)

        clone = backend.clone_volume("copy", journal=journal(), from_volume="home", from_snapshot="before")

        expected = replace(before, name="copy", junction_path="/copy", uuid=clone.uuid)
        assert replace(clone, creation_time=None) == replace(expected, creation_time=None)


class TestSettings(OfDummy):
    def test_a_volume_is_mounted_at_its_name_when_that_is_free(self, backend: StorageBackend) -> None:
        backend.create_volume("other", journal=journal(), junction_path="/HOME")

        assert backend.create_volume("work", journal=journal()).junction_path == "/work"
        assert backend.create_volume("home", journal=journal()).junction_path is None

    def test_a_limit_below_the_size_is_refused(self, backend: StorageBackend) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("home", journal=journal(), size_total=100 * MIB, max_autosize=99 * MIB)
        assert refusal.value.errors[0].pointer == "/max_autosize"

    def test_a_limit_follows_the_size_unless_it_is_given(self, backend: StorageBackend) -> None:
        backend.create_volume("home", journal=journal(), size_total=100 * MIB)

        assert backend.update_volume("home", journal=journal(), size_total=200 * MIB).max_autosize == 240 * MIB
        with pytest.raises(InvalidRequest):
            backend.update_volume("home", journal=journal(), size_total=300 * MIB, max_autosize=240 * MIB)

    def test_a_volume_cannot_become_smaller_than_what_it_holds(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy(volumes=1)
        (volume,) = backend.list_volumes(journal=journal())
        assert volume.size_used
        with pytest.raises(InvalidRequest):
            backend.update_volume(volume.name, journal=journal(), size_total=volume.size_used - 1)

    def test_the_default_policy_stays(self, backend: StorageBackend) -> None:
        with pytest.raises(PolicyInUse):
            backend.delete_policy("default", journal=journal())

    def test_a_restricted_volume_does_not_use_its_policy(self, backend: StorageBackend) -> None:
        backend.create_policy("team", journal=journal(), rules=[])
        backend.create_volume("home", journal=journal(), active_policy_name="team")
        backend.restrict_volume("home", journal=journal())

        backend.delete_policy("team", journal=journal())


class WaitingJournal(UnwatchedJournal):
    """Counts what is waited for instead of waiting, and can stop the job there."""

    def __init__(self, stop: Exception | None = None) -> None:
        super().__init__()
        self.stop = stop
        self.waited: list[tuple[float, str | None]] = []

    def wait(self, seconds: float) -> None:
        self.waited.append((seconds, self.step))
        if self.stop is not None:
            raise self.stop


class TestLatency:
    @pytest.mark.parametrize(("volumes", "pages"), [(0, 1), (1, 1), (12, 12), (100, 10), (1234, 11), (6000, 12)])
    def test_a_listing_takes_its_time_page_by_page(self, volumes: int, pages: int, open_dummy: OpenDummy) -> None:
        watched = WaitingJournal()

        listed = open_dummy(volumes=volumes, list_latency_s=60.0).list_volumes(journal=watched)

        assert len(listed) == volumes
        assert [volume.name for volume in listed] == sorted({volume.name for volume in listed})
        assert len(watched.waited) == pages
        assert sum(seconds for seconds, _ in watched.waited) == pytest.approx(60.0)
        assert [current for current, *_ in watched.shown][-1] == volumes
        assert {total for _, total, *_ in watched.shown} == {volumes}

    def test_a_listing_stops_at_a_page(self, open_dummy: OpenDummy) -> None:
        with pytest.raises(Cancelled):
            open_dummy(volumes=100, list_latency_s=60.0).list_volumes(journal=WaitingJournal(Cancelled()))

    def test_a_change_takes_its_time_once_it_is_sent(self, open_dummy: OpenDummy) -> None:
        watched = WaitingJournal()

        open_dummy(latency_s=3.0).create_policy("team", journal=watched, rules=[])

        assert watched.waited == [(3.0, "create_policy")]

    def test_a_change_that_lost_its_lease_meanwhile_is_not_made(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy(latency_s=3.0)
        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=WaitingJournal(LeaseLost()), rules=[])
        assert [policy.name for policy in backend.list_policies(journal=WaitingJournal())] == ["default"]


class TestState:
    def test_is_found_again(self, open_dummy: OpenDummy) -> None:
        open_dummy().create_volume("home", journal=journal())

        assert [volume.name for volume in open_dummy(volumes=5).list_volumes(journal=journal())] == ["home"]

    def test_is_one_for_all_processes(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        """Forty changes by four processes that start on a state that is not there yet."""
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_make_policies, args=(tmp_path, number)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        backend = open_dummy()
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert len(backend.list_volumes(journal=journal())) == 100
        names = {policy.name for policy in backend.list_policies(journal=journal())}
        assert {f"p{number}-{turn}" for number in range(4) for turn in range(10)} <= names

    def test_is_one_for_all_threads(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy()
        backend.create_policy("team", journal=journal(), rules=[])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda rule: _add_rule(backend, f"host{rule}"), range(40)))

        assert len(backend.get_policy("team", journal=journal()).rules) == 40

    def test_a_connection_is_not_shared_with_a_forked_process(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy(volumes=3)
        backend.check()
        worker = multiprocessing.get_context("fork").Process(target=_restrict_all, args=(backend,))
        worker.start()
        worker.join()

        assert worker.exitcode == 0
        assert backend.list_volumes(journal=journal()) == []

    def test_survives_a_worker_that_is_killed_in_a_change(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        backend = open_dummy()
        backend.check()
        worker = multiprocessing.get_context("fork").Process(target=_die_in_a_change, args=(tmp_path,))
        worker.start()
        worker.join()

        assert worker.exitcode == -signal.SIGKILL
        settlement = backend.settle("create_volume", {}, UnwatchedJournal("job").trace(), journal=journal())
        assert settlement.outcome is Outcome.NOT_DONE
        assert backend.list_volumes(journal=journal()) == []
        backend.create_volume("home", journal=journal())

    def test_a_seeding_that_is_killed_leaves_nothing_half_done(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        worker = multiprocessing.get_context("fork").Process(target=_die_in_seeding, args=(tmp_path,))
        worker.start()
        worker.join()

        assert worker.exitcode == -signal.SIGKILL
        assert len(open_dummy(volumes=20).list_volumes(journal=journal())) == 20

    def test_that_is_locked_for_too_long_is_unavailable(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        backend = open_dummy()
        backend.check()
        backend._database._lock_timeout_s = 0.0
        backend.close()
        with sqlite3.connect(tmp_path / "dummy.sqlite3") as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BackendUnavailable) as refusal:
                backend.create_volume("home", journal=journal())
        assert refusal.value.transient
        assert str(tmp_path) not in str(refusal.value)

    def test_that_cannot_be_written_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(BackendUnavailable):
            DummyStorage(DummyOptions(state_dir=str(tmp_path / "file")), name="dummy").check()

    def test_a_name_that_is_no_text_is_refused(self, open_dummy: OpenDummy) -> None:
        with pytest.raises(InvalidRequest):
            open_dummy().get_volume("\ud800", journal=journal())

    def test_is_away_while_the_file_is_there(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        backend = open_dummy(away_file=str(tmp_path / "away"))
        (tmp_path / "away").touch()
        unsent = journal()
        with pytest.raises(BackendUnavailable):
            backend.create_volume("home", journal=unsent)
        with pytest.raises(BackendUnavailable):
            backend.check()
        assert unsent.step is None

        (tmp_path / "away").unlink()
        backend.create_volume("home", journal=journal())


class TestSeeds:
    def test_volumes_are_always_the_same_and_their_policies_exist(self, tmp_path: Path) -> None:
        first, second = (
            DummyStorage(DummyOptions(volumes=130, state_dir=str(tmp_path)), name=name) for name in ("one", "two")
        )
        volumes = first.list_volumes(journal=journal())

        assert volumes == second.list_volumes(journal=journal())
        assert len({volume.junction_path for volume in volumes}) == len(volumes) == 130
        policies = {policy.name for policy in first.list_policies(journal=journal())}
        assert {volume.active_policy_name for volume in volumes} <= policies

    def test_recorded_volumes_are_served(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        records = [
            {"name": "b", "uuid": "1", "junction_path": "/b", "active_policy_name": "team", "size_total": 5},
            {"name": "a", "state": None},
            {"name": "gone", "state": "restricted"},
        ]
        (tmp_path / "records.json").write_text(json.dumps(records))

        backend = open_dummy(volumes=str(tmp_path / "records.json"))

        assert backend.list_volumes(journal=journal()) == [
            Volume("a"),
            Volume("b", uuid="1", junction_path="/b", active_policy_name="team", size_total=5),
        ]
        assert backend.get_policy("team", journal=journal()).rules

    def test_the_recorded_volumes_of_a_laboratory_are_served(self, open_dummy: OpenDummy) -> None:
        default = Path(__file__).resolve().parents[3] / "shared"
        path = Path(os.environ.get("SAPI_TEST_SHARED") or default) / "ontap" / "real-volumes-2017.json"
        if not path.exists():
            pytest.skip("the recorded volumes are not here")

        volumes = open_dummy(volumes=str(path)).list_volumes(journal=journal())

        assert volumes == sorted((Volume(**each) for each in json.loads(path.read_text())), key=lambda each: each.name)

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            "nonsense",
            "[1]",
            '[{"name": ""}]',
            '[{"name": "a", "size_total": "5"}]',
            '[{"name": "a", "autosize_enabled": 1}]',
            '[{"name": "a", "colour": "red"}]',
            '[{"name": "a"}, {"name": "a"}]',
            '[{"name": "a", "junction_path": "/A"}, {"name": "b", "junction_path": "/a"}]',
        ],
    )
    def test_a_wrong_file_is_refused(self, text: str, open_dummy: OpenDummy, tmp_path: Path) -> None:
        (tmp_path / "records.json").write_text(text)
        with pytest.raises(StorageError) as refusal:
            open_dummy(volumes=str(tmp_path / "records.json")).check()
        assert "record" in refusal.value.detail

    def test_a_missing_file_is_refused(self, open_dummy: OpenDummy) -> None:
        with pytest.raises(StorageError):
            open_dummy(volumes="/nowhere/records.json").check()


def _add_rule(backend: DummyStorage, rule: str) -> None:
    backend.ensure_policy_rule_present("team", rule, journal=journal())


def _make_policies(folder: Path, number: int) -> None:
    backend = DummyStorage(DummyOptions(volumes=100, state_dir=str(folder)), name="dummy")
    for turn in range(10):
        backend.create_policy(f"p{number}-{turn}", journal=journal(), rules=[])


def _restrict_all(backend: DummyStorage) -> None:
    for volume in backend.list_volumes(journal=journal()):
        backend.restrict_volume(volume.name, journal=journal())


def _die_in_a_change(folder: Path) -> None:
    backend = DummyStorage(DummyOptions(state_dir=str(folder)), name="dummy")
    with backend._database.changing() as db:
        db.execute("INSERT INTO volumes VALUES ('half', 1, NULL, NULL, '{}')")
        os.kill(os.getpid(), signal.SIGKILL)


def _die_in_seeding(folder: Path) -> None:
    backend = DummyStorage(DummyOptions(volumes=20, state_dir=str(folder)), name="dummy")
    fill = backend._database._seed

    def fill_and_die(db: sqlite3.Connection) -> None:
        fill(db)
        os.kill(os.getpid(), signal.SIGKILL)

    backend._database._seed = fill_and_die
    backend.check()


def test_a_thread_that_ends_lets_go_of_its_connection(open_dummy: OpenDummy) -> None:
    backend = open_dummy()
    for _ in range(20):
        thread = threading.Thread(target=backend.check)
        thread.start()
        thread.join()
    gc.collect()
    assert len(backend._database._opened) <= 1
