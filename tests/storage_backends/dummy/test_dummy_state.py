"""DummyStorage's state and time: shared by processes and threads, consistent after a kill, slow when configured so."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage_backends.base import Outcome
from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage
from storage_backends.errors import AlreadyExists, BackendUnavailable, InvalidRequest
from storage_backends.journal import Cancelled, InMemoryJournal, LeaseLost
from tests.storage_backends.conftest import OpenDummy


def journal() -> InMemoryJournal:
    return InMemoryJournal()


class WaitingJournal(InMemoryJournal):
    """Records waits instead of waiting, and can stop the job there."""

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
    def test_each_page_of_a_listing_has_its_latency(self, volumes: int, pages: int, open_dummy: OpenDummy) -> None:
        watched = WaitingJournal()

        listed = open_dummy(volumes=volumes, list_latency_s=60.0).list_volumes(journal=watched)

        assert len(listed) == volumes
        assert [volume.name for volume in listed] == sorted({volume.name for volume in listed})
        assert len(watched.waited) == pages
        assert sum(seconds for seconds, _ in watched.waited) == pytest.approx(60.0)
        assert [current for current, *_ in watched.progress_calls][-1] == volumes
        assert {total for _, total, *_ in watched.progress_calls} == {volumes}

    def test_the_total_of_a_listing_is_at_least_the_number_listed(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy(volumes=2)

        class Meanwhile(WaitingJournal):
            def wait(self, seconds: float) -> None:
                if not self.waited:
                    backend.create_volume("a", journal=journal())
                super().wait(seconds)

        watched = Meanwhile()
        assert len(backend.list_volumes(journal=watched)) == 3
        assert watched.progress_calls[-1] == (3, 3, "volumes", "listing")

    def test_a_listing_stops_at_a_page(self, open_dummy: OpenDummy) -> None:
        with pytest.raises(Cancelled):
            open_dummy(volumes=100, list_latency_s=60.0).list_volumes(journal=WaitingJournal(Cancelled()))

    def test_the_latency_of_a_change_follows_its_intent(self, open_dummy: OpenDummy) -> None:
        watched = WaitingJournal()

        open_dummy(latency_s=3.0).create_policy("team", journal=watched, rules=[])

        assert watched.waited == [(3.0, "create_policy")]

    def test_look_ups_and_reconciliations_have_the_latency(self, open_dummy: OpenDummy) -> None:
        backend, watched = open_dummy(latency_s=3.0), WaitingJournal()

        backend.get_policy("default", journal=watched)
        backend.reconcile("create_policy", {}, watched.state(), journal=watched)

        assert watched.waited == [(3.0, None), (3.0, None)]

    @pytest.mark.parametrize("latency_s", [0.0, 3.0])
    def test_a_change_that_lost_its_lease_meanwhile_is_not_made(self, latency_s: float, open_dummy: OpenDummy) -> None:
        backend = open_dummy(latency_s=latency_s)
        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=WaitingJournal(LeaseLost()), rules=[])
        assert [policy.name for policy in backend.list_policies(journal=WaitingJournal())] == ["default"]

    def test_a_worker_without_the_lease_records_no_intent(self, open_dummy: OpenDummy) -> None:
        class Stopped(InMemoryJournal):
            def checkpoint(self) -> None:
                raise LeaseLost

        backend, stopped = open_dummy(), Stopped()
        with pytest.raises(LeaseLost):
            backend.create_policy("team", journal=stopped, rules=[])
        assert stopped.step is None


class TestState:
    def test_is_in_the_configured_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SAPI_STATE_DIR", str(tmp_path / "environment"))
        for name, options in (("one", {"state_dir": str(tmp_path / "option")}), ("two", {})):
            DummyStorage(DummyOptions(**options), name=name).check()
        assert (tmp_path / "option" / "one.sqlite3").exists()
        assert (tmp_path / "environment" / "two.sqlite3").exists()

    def test_is_read_after_reopening(self, open_dummy: OpenDummy) -> None:
        open_dummy().create_volume("home", journal=journal())

        assert [volume.name for volume in open_dummy(volumes=5).list_volumes(journal=journal())] == ["home"]

    def test_is_shared_by_all_processes(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
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

    def test_is_shared_by_all_threads(self, open_dummy: OpenDummy) -> None:
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

    def test_survives_a_worker_killed_during_a_change(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        backend = open_dummy()
        backend.check()
        worker = multiprocessing.get_context("fork").Process(target=_exit_during_a_change, args=(tmp_path,))
        worker.start()
        worker.join()

        assert worker.exitcode == -signal.SIGKILL
        settlement = backend.reconcile("create_volume", {}, InMemoryJournal("job").state(), journal=journal())
        assert settlement.outcome is Outcome.NOT_DONE
        assert backend.list_volumes(journal=journal()) == []
        backend.create_volume("home", journal=journal())

    def test_a_seeding_that_is_killed_leaves_nothing_half_done(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        worker = multiprocessing.get_context("fork").Process(target=_exit_during_seeding, args=(tmp_path,))
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
        with pytest.raises(BackendUnavailable) as refusal:
            DummyStorage(DummyOptions(state_dir=str(tmp_path / "file")), name="dummy").check()
        assert str(tmp_path) not in str(refusal.value)

    def test_is_waited_for_with_a_time_limit(self, open_dummy: OpenDummy) -> None:
        database = open_dummy()._database
        with database.reading() as db:
            assert db.execute("PRAGMA busy_timeout").fetchone() == (15_000,)
        database._lock_timeout_s = 0.0
        # As a fork leaves it whose parent was writing: SQLite's own lock decides.
        with database._writing:
            with database.changing() as db:
                db.execute("DELETE FROM policies")
            assert database._writing.locked()

    def test_what_a_job_did_is_known_for_a_month_and_no_longer(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy()
        for job in ("late", "early"):
            backend.create_volume(job, journal=InMemoryJournal(job))
        with backend._database.changing() as db:
            db.execute("UPDATE effects SET at = at - 31 * 24 * 3600 WHERE job_id = 'early'")
            db.execute("UPDATE effects SET at = at - 29 * 24 * 3600 WHERE job_id = 'late'")

        backend = open_dummy()  # As a process that starts.

        assert backend.create_volume("late", journal=InMemoryJournal("late")).name == "late"
        with pytest.raises(AlreadyExists):
            backend.create_volume("early", journal=InMemoryJournal("early"))

    def test_a_name_that_is_no_text_is_refused(self, open_dummy: OpenDummy) -> None:
        backend = open_dummy()
        with pytest.raises(InvalidRequest):
            backend.get_volume("\ud800", journal=journal())
        assert backend.list_volumes(journal=journal()) == []  # The connection is still usable.
        backend.close()
        backend.check()  # Opened anew.

    def test_is_unavailable_while_the_away_file_exists(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        backend = open_dummy(away_file=str(tmp_path / "away"))
        (tmp_path / "away").touch()
        unsent = journal()
        with pytest.raises(BackendUnavailable):
            backend.create_volume("home", journal=unsent)
        with pytest.raises(BackendUnavailable):
            backend.reconcile("create_volume", {}, unsent.state(), journal=journal())
        with pytest.raises(BackendUnavailable):
            backend.check()
        assert unsent.step is None

        (tmp_path / "away").unlink()
        backend.create_volume("home", journal=journal())


def _add_rule(backend: DummyStorage, rule: str) -> None:
    backend.ensure_policy_rule_present("team", rule, journal=journal())


def _make_policies(folder: Path, number: int) -> None:
    backend = DummyStorage(DummyOptions(volumes=100, state_dir=str(folder)), name="dummy")
    for turn in range(10):
        backend.create_policy(f"p{number}-{turn}", journal=journal(), rules=[])


def _restrict_all(backend: DummyStorage) -> None:
    inherited = backend._database._local.connection
    assert backend._database._connection() is not inherited
    # Closing it would take the parent's locks away.
    assert backend._database._inherited == [inherited]
    for volume in backend.list_volumes(journal=journal()):
        backend.restrict_volume(volume.name, journal=journal())
    backend.close()
    # Raises where the connection is closed.
    assert not inherited.in_transaction


def _exit_during_a_change(folder: Path) -> None:
    backend = DummyStorage(DummyOptions(state_dir=str(folder)), name="dummy")
    with backend._database.changing() as db:
        db.execute("INSERT INTO volumes VALUES ('half', 1, NULL, NULL, '{}')")
        os.kill(os.getpid(), signal.SIGKILL)


def _exit_during_seeding(folder: Path) -> None:
    backend = DummyStorage(DummyOptions(volumes=20, state_dir=str(folder)), name="dummy")
    fill = backend._database._seed

    def fill_and_exit(db: sqlite3.Connection) -> None:
        fill(db)
        os.kill(os.getpid(), signal.SIGKILL)

    backend._database._seed = fill_and_exit
    backend.check()


def test_the_connection_of_a_thread_that_ends_is_closed(open_dummy: OpenDummy) -> None:
    backend = open_dummy()
    for _ in range(20):
        thread = threading.Thread(target=backend.check)
        thread.start()
        thread.join()
    gc.collect()
    assert len(backend._database._opened) <= 1
