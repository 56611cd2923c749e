"""Listings: page by page, what is left out of them, what an offline volume and an old release do not tell."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import tzset
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import NoSuchVolume, StorageError
from storage_backends.journal import InMemoryJournal
from storage_backends.models import Volume
from storage_backends.netapp.ontap import lookups, mapping
from storage_backends.netapp.ontap.owner_comments import owner_comment
from tests.ontap_simulator import Simulator
from tests.storage_backends.conformance import MIB


def journal() -> InMemoryJournal:
    return InMemoryJournal("0199-job")


class TestListing:
    """One query, page by page."""

    @pytest.mark.parametrize("empty_last_page", [False, True])
    def test_a_listing_takes_one_request_for_each_page(
        self, empty_last_page: bool, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookups, "PAGE", 10)
        ontap.world.empty_last_page = empty_last_page
        for number in range(30):
            ontap.world.add_volume(f"v{number:02}", nas={"path": f"/v{number:02}"})
        watched = journal()

        listed = backend.list_volumes(journal=watched)

        assert [volume.name for volume in listed] == [f"v{number:02}" for number in range(30)]
        pages = [seen for seen in ontap.requests if seen.path == "/storage/volumes"]
        assert len(pages) == (4 if empty_last_page else 3)
        first = dict(pages[0].query)
        assert (first["svm.name"], first["is_constituent"]) == ("vs1", "false")
        # Too expensive for ten thousand of them.
        assert {"efficiency.dedupe", "is_svm_root"}.isdisjoint(first["fields"].split(","))
        assert gc.isenabled()
        assert watched.progress_calls[:4] == [(count, None, "volumes", "listing volumes") for count in (0, 10, 20, 30)]

    def test_a_page_has_no_more_records_than_a_filer_can_send_in_time(
        self, ontap: Simulator, backend: StorageBackend
    ) -> None:
        backend.list_volumes(journal=journal())
        backend.list_policies(journal=journal())
        assert [seen.path for seen in ontap.requests if ("max_records", "500") in seen.query] == [
            "/storage/volumes",
            "/svm/svms",
            "/protocols/nfs/export-policies",
        ]

    def test_other_volumes_are_left_out(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("mine")
        ontap.world.add_volume("off", state="offline")
        ontap.world.add_volume("gone", state="restricted")
        ontap.world.add_volume("vol0", aggregate="aggr0_n1")
        ontap.world.add_volume("part", style="flexgroup_constituent", is_constituent=True)
        ontap.world.add_volume("theirs", svm="vs2")

        assert [volume.name for volume in backend.list_volumes(journal=journal())] == ["mine", "off"]
        for name in ("gone", "vol0", "part", "theirs"):
            with pytest.raises(NoSuchVolume):
                backend.get_volume(name, journal=journal())

    def test_an_offline_volume_has_few_fields(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("off", state="offline")

        volume = backend.get_volume("off", journal=journal())

        assert (volume.state, volume.size_used, volume.autosize_enabled, volume.junction_path) == (
            "offline",
            None,
            None,
            None,
        )
        assert volume.size_total == 95 * MIB
        assert (volume.compression_enabled, volume.inline_compression) == (None, None)

    @pytest.mark.parametrize("collection", ["volumes", "aggregates"])
    def test_a_listing_with_circular_or_foreign_links_ends(
        self, collection: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.world.add_volume("home")
        handle = ontap.handle

        def circling(request: Any) -> Any:
            reply = handle(request)
            reply.body["_links"]["next"] = {"href": f"/api/storage/{collection}?start.uuid=0"}
            return reply

        ontap.handle = circling  # type: ignore[method-assign]
        with pytest.raises(StorageError):
            backend.list_volumes(journal=journal())

    def test_fewer_fields_are_requested_from_an_old_release(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.unknown_fields = frozenset({"nodes.name", "are_rules_truncated"})
        for record in (ontap.world.add_volume("one"), ontap.world.add_volume("two", aggregate="aggr2_n2")):
            del record["nodes"]

        nodes = [volume.filer_address for volume in backend.list_volumes(journal=journal())]

        assert nodes == ["node1", "node2"]
        assert backend.get_volume("two", journal=journal()).filer_address == "node2"
        assert [policy.name for policy in backend.list_policies(journal=journal())] == ["default"]

    def test_nodes_are_looked_up_once_also_for_a_listing_of_several_pages(
        self, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookups, "PAGE", 2)
        ontap.world.aggregates["of-no-node"] = {"free": 0, "node": "node1"}
        for number in range(6):
            aggregate = "aggr2_n2" if number % 2 else "of-no-node"
            del ontap.world.add_volume(f"v{number}", aggregate=aggregate)["nodes"]
        del ontap.world.aggregates["of-no-node"]

        nodes = [volume.filer_address for volume in backend.list_volumes(journal=journal())]

        assert nodes == [None, "node2"] * 3
        assert [seen.path for seen in ontap.requests].count("/storage/aggregates") == 1

    def test_real_volumes_read_as_they_were_written(self, ontap: Simulator, backend: StorageBackend) -> None:
        beside = Path(__file__).parents[4] / "shared"
        path = Path(os.environ.get("SAPI_TEST_SHARED", beside)) / "ontap" / "real-volumes-2017.json"
        if not path.exists():
            pytest.skip("the recorded volumes are not at hand")
        recorded = [one for one in json.loads(path.read_text()) if one["size_total"] is not None]
        for one in recorded:
            ontap.world.aggregates.setdefault(one["aggregate_name"], {"free": 0, "node": one["filer_address"]})
            ontap.world.add_volume(one["name"], **_as_ontap(one))

        listed = backend.list_volumes(journal=journal())

        by_name = {volume.name: volume for volume in listed}
        kept = [one for one in recorded if one["state"] != "restricted" and one["aggregate_name"][:5] != "aggr0"]
        assert len(listed) == len(kept)
        for one in kept:
            volume = by_name[one["name"]]
            for name, value in one.items():
                if name not in {"uuid", "compression_enabled", "inline_compression"}:
                    assert getattr(volume, name) == pytest.approx(value, abs=4096), (one["name"], name)


def _as_ontap(one: dict[str, Any]) -> dict[str, Any]:
    reserve = one["percentage_snapshot_reserve"]
    return {
        "state": one["state"],
        "aggregate": one["aggregate_name"],
        "create_time": one["creation_time"],
        "size": mapping.size_with_reserve(one["size_total"], reserve),
        "nas": {"path": one["junction_path"], "export_policy": {"name": one["active_policy_name"]}},
        "space": {
            "used": one["size_used"],
            "snapshot": {"reserve_percent": reserve, "space_used_percent": one["percentage_snapshot_reserve_used"]},
        },
        "autosize": {"mode": "grow" if one["autosize_enabled"] else "off", "maximum": one["max_autosize"]},
        "flash_pool": {"caching_policy": one["caching_policy"]},
    }


def test_a_record_with_nothing_but_a_name_is_a_volume() -> None:
    assert mapping.volume({"name": "x"}) == Volume("x", compression_enabled=False, inline_compression=False)


@pytest.mark.parametrize(
    ("compression", "path"), [("both", "/home"), ("background", ""), ("inline", "/home"), ("none", "/home")]
)
def test_a_whole_record_reads_as_its_parts_do(compression: str, path: str, ontap: Simulator) -> None:
    comment = owner_comment("01a21bdf-3dfc-7b28-ade2-a41bf9ec12c8", "mine")
    record = ontap.world.add_volume(
        "home", nas={"path": path}, efficiency={"compression": compression}, comment=comment
    )

    volume = mapping._from_complete(record, {})

    assert volume == mapping._tolerant(record, {})
    assert (volume.comment, volume.junction_path) == ("mine", path or None)
    assert volume.compression_enabled is (compression in {"both", "background"})
    assert volume.inline_compression is (compression in {"both", "inline"})


@pytest.fixture
def _with_foreign_link(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours from UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    yield
    monkeypatch.undo()
    tzset()


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2024-01-03T01:00:00+02:00", "2024-01-02T23:00:00Z"),
        ("2024-01-03T01:00:00", "2024-01-03T01:00:00Z"),
        ("2024-01-03 01:00:00+00:00", "2024-01-03T01:00:00Z"),
        ("yesterday+00:00", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("", None),
        (5, None),
    ],
)
@pytest.mark.usefixtures("_with_foreign_link")
def test_times_are_in_utc(time: Any, moment: str | None) -> None:
    assert mapping.utc(time) == moment


class _Filer:
    """It answers every question with this."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.without = frozenset[str]()
        self._answer = answer

    def get(self, _path: str, _query: Any, **_options: Any) -> dict[str, Any]:
        return self._answer


@pytest.mark.parametrize("answer", [{}, {"num_records": 3}, {"records": None}, {"records": {}}])
def test_an_answer_that_is_no_listing_is_no_empty_one(answer: dict[str, Any]) -> None:
    filer: Any = _Filer(answer)
    with pytest.raises(StorageError, match="no listing"):
        lookups.all_records(filer, "/storage/volumes", {}, ("name",), journal=journal())
    filer = _Filer({"num_records": 0})
    assert lookups.all_records(filer, "/storage/volumes", {}, ("name",), journal=journal()) == []


class _Paged(_Filer):
    """It answers with these pages, one after the other."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        super().__init__({})
        self._pages = iter(pages)

    def get(self, _path: str, _query: Any, **_options: Any) -> dict[str, Any]:
        return next(self._pages)

    def get_url(self, _url: str, **_options: Any) -> dict[str, Any]:
        return next(self._pages)


def _page(records: list[Any], following: object) -> dict[str, Any]:
    return {"records": records, "_links": {"next": {"href": f"/api/storage/volumes?start={following}"}}}


def test_a_listing_may_have_any_number_of_pages_also_empty_ones_between_others() -> None:
    most = lookups._MAX_EMPTY_PAGES + 1
    pages = [_page([{"name": str(n)}] if n % 2 else [], n) for n in range(2 * most)]
    filer: Any = _Paged(*pages, {"records": []})
    records = lookups.all_records(filer, "/storage/volumes", {}, ("name",), journal=journal())
    assert [record["name"] for record in records] == [str(n) for n in range(1, 2 * most, 2)]


def test_an_empty_page_that_links_itself_is_requested_again_after_a_pause() -> None:
    class Waited(InMemoryJournal):
        def wait(self, seconds: float) -> None:
            pauses_s.append(seconds)

    pauses_s: list[float] = []
    filer: Any = _Paged(_page([], "x"), _page([], "x"), _page([{"name": "a"}], "y"), {"records": [None, {"name": "b"}]})
    records = lookups.all_records(filer, "/storage/volumes", {}, ("name",), journal=Waited())
    assert records == [{"name": "a"}, {"name": "b"}]
    assert pauses_s == [lookups.EMPTY_PAGE_PAUSE_S]


def test_aggregates_that_cannot_be_read_now_are_read_again() -> None:
    filer: Any = _Filer({})
    filer.svm_scoped = False
    assert lookups.nodes_of_aggregates(filer, journal=journal()) == {}
    assert not filer.svm_scoped


def test_a_record_without_name_is_skipped_and_one_without_uuid_not_changed() -> None:
    filer: Any = _Filer({"uuid": "1"})
    with pytest.raises(StorageError, match="no volume"):
        lookups.volume_by_uuid(filer, "1", journal=journal())
    for uuid in ({}, {"uuid": ""}):
        with pytest.raises(StorageError, match="uuid"):
            lookups.uuid_of({"name": "v", **uuid})


def test_a_volume_that_is_not_mounted_has_no_path() -> None:
    assert lookups.path_of({"name": "home"}) == lookups.path_of({"name": "home", "nas": {}}) == ""
    filer: Any = _Filer({"records": [{"name": "home"}, {"name": "db", "nas": {"path": "/DB"}}]})
    filer.vserver = "vs1"
    found = lookups.volumes_where(filer, "nas.path", "/db", journal=journal())
    assert [record["name"] for record in found] == ["db"]
