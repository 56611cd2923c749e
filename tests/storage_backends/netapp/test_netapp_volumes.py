"""What is particular to NetApp: pages, sizes and reserves, aggregates, caching, old releases, clients of rules."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import Conflict, InvalidRequest, NotSupported, StorageError, TooManySnapshots
from storage_backends.journal import UnwatchedJournal
from storage_backends.models import ExportPolicy, Lock, Volume
from storage_backends.netapp import lookups, records
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.opening import CONFINED_USER, open_backend


def journal() -> UnwatchedJournal:
    return UnwatchedJournal("0199-job")


class TestListing:
    """One query, page by page."""

    @pytest.mark.parametrize("empty_last_page", [False, True])
    def test_it_takes_a_request_per_page(
        self, empty_last_page: bool, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookups.pages, "__kwdefaults__", {"page": 10})
        ontap.world.empty_last_page = empty_last_page
        for number in range(30):
            ontap.world.add_volume(f"v{number:02}", nas={"path": f"/v{number:02}"})
        watched = journal()

        listed = backend.list_volumes(journal=watched)

        assert [volume.name for volume in listed] == [f"v{number:02}" for number in range(30)]
        assert len(ontap.requests) == (4 if empty_last_page else 3)
        assert [shown[0] for shown in watched.shown][:4] == [0, 10, 20, 30]

    def test_what_is_not_a_volume_of_ours_is_left_out(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("mine")
        ontap.world.add_volume("off", state="offline")
        ontap.world.add_volume("gone", state="restricted")
        ontap.world.add_volume("vol0", aggregate="aggr0_n1")
        ontap.world.add_volume("part", style="flexgroup_constituent", is_constituent=True)
        ontap.world.add_volume("theirs", svm="vs2")

        assert [volume.name for volume in backend.list_volumes(journal=journal())] == ["mine", "off"]

    def test_an_offline_volume_lacks_half_of_it(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("off", state="offline")

        volume = backend.get_volume("off", journal=journal())

        assert (volume.state, volume.size_used, volume.autosize_enabled, volume.junction_path) == (
            "offline",
            None,
            None,
            None,
        )
        assert volume.size_total == 95 * MIB

    def test_a_listing_that_runs_in_circles_ends(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("home")
        handle = ontap.handle

        def circling(request: Any) -> Any:
            reply = handle(request)
            reply.body["_links"]["next"] = {"href": "/api/storage/volumes?start.uuid=0"}
            return reply

        ontap.handle = circling  # type: ignore[method-assign]
        with pytest.raises(StorageError):
            backend.list_volumes(journal=journal())

    def test_an_old_release_is_asked_for_less(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.unknown_fields = frozenset({"nodes.name", "are_rules_truncated"})
        for record in (ontap.world.add_volume("one"), ontap.world.add_volume("two", aggregate="aggr2_n2")):
            del record["nodes"]

        nodes = [volume.filer_address for volume in backend.list_volumes(journal=journal())]

        assert nodes == ["node1", "node2"]
        assert [policy.name for policy in backend.list_policies(journal=journal())] == ["default"]

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
            found = by_name[one["name"]]
            for name, value in one.items():
                if name not in {"uuid", "compression_enabled", "inline_compression"}:
                    assert getattr(found, name) == pytest.approx(value, abs=4096), (one["name"], name)


def _as_ontap(one: dict[str, Any]) -> dict[str, Any]:
    reserve = one["percentage_snapshot_reserve"]
    return {
        "state": one["state"],
        "aggregate": one["aggregate_name"],
        "create_time": one["creation_time"],
        "size": records.size_with_reserve(one["size_total"], reserve),
        "nas": {"path": one["junction_path"], "export_policy": {"name": one["active_policy_name"]}},
        "space": {
            "used": one["size_used"],
            "snapshot": {"reserve_percent": reserve, "space_used_percent": one["percentage_snapshot_reserve_used"]},
        },
        "autosize": {"mode": "grow" if one["autosize_enabled"] else "off", "maximum": one["max_autosize"]},
        "flash_pool": {"caching_policy": one["caching_policy"]},
    }


class TestCreation:
    """Where new volumes go, and how."""

    def body(self, ontap: Simulator) -> dict[str, Any]:
        return dict(ontap.world.effects[0].what)

    @pytest.mark.parametrize("user", ["storage-api", CONFINED_USER])
    def test_the_roomiest_data_aggregate_is_taken(self, user: str, ontap: Simulator) -> None:
        made = open_backend(ontap, user).create_volume("new", journal=journal(), junction_path="/new")

        assert made.aggregate_name == "aggr2_n2"

    def test_an_aggregate_may_be_named(self, ontap: Simulator, backend: StorageBackend) -> None:
        made = backend.create_volume("new", journal=journal(), junction_path="/n", aggregate_name="aggr1_n1")

        assert made.aggregate_name == "aggr1_n1"
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("more", journal=journal(), junction_path="/m", aggregate_name="aggr9")
        assert [error.pointer for error in refusal.value.errors] == ["/aggregate_name"]

    def test_it_grows_to_120_per_cent_of_its_size(self, ontap: Simulator, backend: StorageBackend) -> None:
        backend.create_volume("new", journal=journal(), junction_path="/new", size_total=95 * MIB)

        body = self.body(ontap)
        assert (body["size"], body["autosize"]) == (100 * MIB, {"mode": "grow", "maximum": 120 * MIB})
        assert body["comment"] == "job:0199-job"

    def test_it_need_not_grow(self, ontap: Simulator, backend: StorageBackend) -> None:
        backend.create_volume("new", journal=journal(), junction_path="/new", autosize_enabled=False)

        assert self.body(ontap)["autosize"] == {"mode": "off"}

    @pytest.mark.parametrize("reserve", [0, 5, 7, 50, 90])
    def test_the_reserve_comes_on_top(self, reserve: int, backend: StorageBackend) -> None:
        wanted = 123_456_789

        made = backend.create_volume(
            "new", journal=journal(), junction_path="/n", size_total=wanted, percentage_snapshot_reserve=reserve
        )

        assert made.size_total is not None
        assert 0 <= made.size_total - wanted < 8192

    @pytest.mark.parametrize(
        ("pointer", "arguments"),
        [
            ("/junction_path", {"junction_path": None}),
            ("/percentage_snapshot_reserve", {"percentage_snapshot_reserve": 100, "size_total": MIB}),
            ("/percentage_snapshot_reserve", {"percentage_snapshot_reserve": 95}),
            ("/size_total", {"size_total": MIB}),
            ("/size_total", {"size_total": 2**63 - 1}),
            ("/size_total", {"size_total": 2**62}),
            ("/max_autosize", {"max_autosize": MIB}),
            ("/name", {"volume": "9lives"}),
            ("/name", {"volume": "with-dash"}),
            ("/caching_policy", {"caching_policy": "Standard"}),
        ],
    )
    def test_what_cannot_be_is_pointed_at(
        self, pointer: str, arguments: dict[str, Any], backend: StorageBackend
    ) -> None:
        given: dict[str, Any] = {"volume": "new", "junction_path": "/new"} | arguments
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume(**given, journal=journal())
        assert [error.pointer for error in refusal.value.errors] == [pointer]

    @pytest.mark.parametrize(
        ("background", "inline", "ontaps"),
        [(True, True, "both"), (True, False, "background"), (False, True, "inline"), (False, False, "none")],
    )
    def test_compression(
        self, background: bool, inline: bool, ontaps: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        made = backend.create_volume(
            "new", journal=journal(), junction_path="/n", compression_enabled=background, inline_compression=inline
        )

        assert (made.compression_enabled, made.inline_compression) == (background, inline)
        (record,) = ontap.world.volumes.values()
        assert record["efficiency"]["compression"] == ontaps


class TestUpdate:
    """Each setting alone, and nothing more than is needed."""

    @pytest.fixture
    def home(self, ontap: Simulator) -> dict[str, Any]:
        return ontap.world.add_volume("home", nas={"path": "/home"})

    @pytest.mark.parametrize(
        ("setting", "value", "body"),
        [
            ("size_total", 190 * MIB, {"size": 200 * MIB}),
            ("size_total", 19 * 5 * MIB // 2, {"size": 50 * MIB}),
            ("autosize_enabled", True, {"autosize": {"mode": "grow"}}),
            ("max_autosize", 500 * MIB, {"autosize": {"maximum": 500 * MIB}}),
            ("percentage_snapshot_reserve", 20, {"space": {"snapshot": {"reserve_percent": 20}}}),
            ("active_policy_name", "team", {"nas": {"export_policy": {"name": "team"}}}),
            ("compression_enabled", True, {"efficiency": {"compression": "background", "dedupe": "background"}}),
            ("inline_compression", True, {"efficiency": {"compression": "inline", "dedupe": "background"}}),
            ("caching_policy", "all", {"volume": "home", "caching_policy": "all"}),
        ],
    )
    def test_one_setting(
        self, setting: str, value: Any, body: dict[str, Any], home: Any, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.world.add_policy(ontap.world.vserver, "team", [])
        settings: dict[str, Any] = {setting: value}

        changed = backend.update_volume("home", journal=journal(), **settings)
        again = backend.update_volume("home", journal=journal(), **settings)

        assert getattr(changed, setting) == value
        assert again == changed
        assert [effect.what for effect in ontap.world.effects] == [body]

    def test_a_volume_that_outgrows_its_limit_takes_the_limit_along(
        self, home: Any, ontap: Simulator, backend: StorageBackend
    ) -> None:
        backend.update_volume("home", journal=journal(), autosize_enabled=True)

        changed = backend.update_volume("home", journal=journal(), size_total=950 * MIB)

        assert changed.max_autosize == 1200 * MIB

    def test_shrinking_growth_stays_as_it_is(self, home: Any, ontap: Simulator, backend: StorageBackend) -> None:
        home["autosize"]["mode"] = "grow_shrink"

        assert backend.update_volume("home", journal=journal(), autosize_enabled=True).autosize_enabled is True
        assert ontap.world.effects == []

    def test_a_root_volume_stays_in_service(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("root", is_svm_root=True, nas={"path": "/"})

        with pytest.raises(Conflict):
            backend.restrict_volume("root", journal=journal())
        assert ontap.world.effects == []


class TestSnapshots:
    """The oldest that may go."""

    def test_owned_and_locked_ones_stay(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.snapshot_limit = 3
        home = ontap.world.add_volume("home")
        ontap.world.add_snapshot(home, "owned", owners=["volume_clone"], create_time="2024-01-01T00:00:00+00:00")
        ontap.world.add_snapshot(home, "locked", expiry_time="2099-01-01", create_time="2024-01-02T00:00:00+00:00")
        ontap.world.add_snapshot(home, "old", create_time="2024-01-03T01:00:00+02:00")

        backend.create_snapshot("home", "new", journal=journal(), purge_old_if_needed=True)

        names = [snapshot.name for snapshot in backend.list_snapshots("home", journal=journal())]
        assert names == ["owned", "locked", "new"]

    def test_where_none_may_go_it_is_too_many(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.snapshot_limit = 1
        ontap.world.add_snapshot(ontap.world.add_volume("home"), "owned", owners=["volume_clone"])

        with pytest.raises(TooManySnapshots):
            backend.create_snapshot("home", "new", journal=journal(), purge_old_if_needed=True)

    def test_what_it_holds_is_told_in_kilobytes(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_snapshot(ontap.world.add_volume("home"), "s", create_time="2024-01-03T01:00:00+02:00")

        (snapshot,) = backend.list_snapshots("home", journal=journal())

        assert (snapshot.size_kbytes, snapshot.creation_time) == (128, "2024-01-02T23:00:00Z")


class TestLocksAndRules:
    """Locks by host; rules by client."""

    def test_locks_of_one_host_go_together(self, ontap: Simulator, backend: StorageBackend) -> None:
        home, other = ontap.world.add_volume("home"), ontap.world.add_volume("other")
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            ontap.world.add_lock(home, client)
        ontap.world.add_lock(other, "192.0.2.1")
        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.1"), Lock("192.0.2.2")]

        backend.remove_lock("home", "192.0.2.1", journal=journal())

        assert backend.list_locks("home", journal=journal()) == [Lock("192.0.2.2")]
        assert backend.list_locks("other", journal=journal()) == [Lock("192.0.2.1")]
        with pytest.raises(NotSupported):
            backend.create_lock("home", "192.0.2.1", journal=journal())

    def test_a_rule_of_several_clients_keeps_the_others(self, ontap: Simulator, backend: StorageBackend) -> None:
        policy = ontap.world.add_policy(ontap.world.vserver, "team", [["a", "b", "c"], ["d"], ["b"]])

        left = backend.ensure_policy_rule_absent("team", "b", journal=journal())

        assert left == ExportPolicy("team", ("a", "c", "d"))
        assert [rule["index"] for rule in policy["rules"]] == [1, 2]
        assert backend.ensure_policy_rule_present("team", "c", journal=journal()) == left
        assert len(ontap.world.effects) == 2

    def test_a_long_policy_is_read_whole(self, ontap: Simulator, backend: StorageBackend) -> None:
        clients = [f"host{number}" for number in range(150)]
        ontap.world.add_policy(ontap.world.vserver, "long", [[client] for client in clients])

        listed = {policy.name: policy for policy in backend.list_policies(journal=journal())}

        assert listed["long"].rules == tuple(clients)
        assert backend.get_policy("long", journal=journal()) == listed["long"]

    def test_a_redirect_of_a_question_is_no_answer(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.fault(Kind.REDIRECT)
        with pytest.raises(StorageError) as refusal:
            backend.list_policies(journal=journal())
        assert refusal.value.code == "backend-error"


def test_a_record_with_nothing_but_a_name_is_a_volume() -> None:
    assert records.volume({"name": "x"}) == Volume("x", compression_enabled=False, inline_compression=False)


def test_a_whole_record_reads_as_its_parts_do(ontap: Simulator) -> None:
    record = ontap.world.add_volume("home", nas={"path": "/home"}, efficiency={"compression": "both"})

    assert records._whole(record) == records._partial(record, {})
