"""What a new DummyStorage holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage
from storage_backends.errors import StorageError
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

        assert volumes == sorted(
            (Volume(**volume) for volume in json.loads(path.read_text())), key=lambda volume: volume.name
        )

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
        with pytest.raises(ValueError, match="volumes"):
            open_dummy(volumes="/nowhere/records.json")
