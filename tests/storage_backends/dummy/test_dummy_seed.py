"""What a new DummyStorage holds."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from pathlib import Path

import pytest

from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage, database
from storage_backends.errors import BackendUnavailable, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.models import Volume
from tests.storage_backends.conftest import OpenDummy


def journal() -> InMemoryJournal:
    return InMemoryJournal()


class TestSeeds:
    def test_volumes_are_always_the_same_and_their_policies_exist(self, tmp_path: Path) -> None:
        first, second = (
            DummyStorage(DummyOptions(volumes=130, state_dir=str(tmp_path)), name=name) for name in ("one", "two")
        )
        volumes = first.list_volumes(journal=journal())

        assert volumes == second.list_volumes(journal=journal())
        assert len({volume.junction_path for volume in volumes}) == len(volumes) == 130
        assert all((volume.max_autosize or 0) > (volume.size_total or 0) > 0 for volume in volumes)
        policies = {policy.name for policy in first.list_policies(journal=journal())}
        assert {volume.active_policy_name for volume in volumes} <= policies

    def test_recorded_volumes_are_served(self, open_dummy: OpenDummy, tmp_path: Path) -> None:
        records = [
            {"name": "b", "uuid": "1", "junction_path": "/b", "active_policy_name": "team", "size_total": 5},
            {"name": "a", "state": None, "active_policy_name": "default"},
            {"name": "aa", "state": "restricted", "junction_path": "/b"},
            {"name": "gone", "state": "restricted", "junction_path": "/gone"},
        ]
        (tmp_path / "records.json").write_text(json.dumps(records))

        backend = open_dummy(volumes=str(tmp_path / "records.json"))
        watched = journal()

        assert backend.list_volumes(journal=watched) == [
            Volume("a", active_policy_name="default"),
            Volume("b", uuid="1", junction_path="/b", active_policy_name="team", size_total=5),
        ]
        assert backend.get_policy("team", journal=journal()).rules
        # Restricted ones neither count nor have a path.
        assert {total for _, total, *_ in watched.progress_calls} == {2}
        assert backend.get_volume(":/b", journal=journal()).name == "b"
        assert backend.create_volume("new", journal=journal(), junction_path="/gone").junction_path == "/gone"

    def test_a_limit_below_the_size_that_was_recorded_stays_when_something_else_changes(
        self, open_dummy: OpenDummy, tmp_path: Path
    ) -> None:
        record = {"name": "a", "size_total": 100, "size_used": 0, "autosize_enabled": True, "max_autosize": 50}
        (tmp_path / "records.json").write_text(json.dumps([record]))
        backend = open_dummy(volumes=str(tmp_path / "records.json"))

        assert backend.update_volume("a", journal=journal(), comment="mine").max_autosize == 50
        assert backend.update_volume("a", journal=journal(), size_total=200).max_autosize == 240

    def test_the_recorded_volumes_of_a_laboratory_are_served(self, open_dummy: OpenDummy) -> None:
        default = Path(__file__).resolve().parents[4] / "shared"
        path = Path(os.environ.get("SAPI_TEST_SHARED") or default) / "ontap" / "real-volumes-2017.json"
        if not path.exists():
            pytest.skip("the recorded volumes are not here")

        volumes = open_dummy(volumes=str(path)).list_volumes(journal=journal())

        assert volumes == sorted(
            (Volume(**volume) for volume in json.loads(path.read_text())), key=lambda volume: volume.name
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{}", "records is not a JSON list"),
            ("nonsense", "records is not JSON"),
            ("[1]", "record 1 .* has no name"),
            ('[{"name": "a"}, {"name": ""}]', "record 2 .* has no name"),
            ('[{"name": "a", "size_total": "5"}]', "record 1 .* has a size_total that is not int"),
            ('[{"name": "a", "autosize_enabled": 1}]', "has a autosize_enabled that is not bool"),
            ('[{"name": "a", "size_total": true}]', "has a size_total that is not int"),
            ('[{"name": "a", "colour": "red"}]', "has an unknown field 'colour'"),
            ('[{"name": "a"}, {"name": "a"}]', "names a volume or a junction path twice"),
            ('[{"name": "a", "junction_path": "/A"}, {"name": "b", "junction_path": "/a"}]', "names a volume or a"),
        ],
    )
    def test_an_invalid_file_is_refused(self, text: str, reason: str, open_dummy: OpenDummy, tmp_path: Path) -> None:
        (tmp_path / "records.json").write_text(text)
        with pytest.raises(StorageError, match=reason):
            open_dummy(volumes=str(tmp_path / "records.json")).check()

    @pytest.mark.parametrize("path", ["/nowhere/records.json", "/"])
    def test_a_missing_file_is_refused(self, path: str, open_dummy: OpenDummy) -> None:
        with pytest.raises(ValueError, match="volumes"):
            open_dummy(volumes=path)


def test_a_state_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    made: list[object] = []

    def seed(connection: sqlite3.Connection) -> None:
        with (tmp_path / "state.lock").open("a") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made.append(connection)

    state = database.Database(tmp_path / "state", seed=seed, prune=lambda _: None)
    with state.reading():
        assert len(made) == 1
    state.close()


def test_a_state_that_another_process_opens_for_too_long_is_unavailable(open_dummy: OpenDummy, tmp_path: Path) -> None:
    dummy = open_dummy()
    dummy._database._lock_timeout_s = 0.0
    with (tmp_path / "dummy.sqlite3.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BackendUnavailable):
            dummy.check()
