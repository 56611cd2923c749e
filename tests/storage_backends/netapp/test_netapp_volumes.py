"""Volumes made and changed: sizes and reserves, aggregates, growth, compression, caching."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import (
    AlreadyExists,
    BackendUnavailable,
    Conflict,
    InvalidRequest,
    NotADataVolume,
    StorageError,
)
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.exchange import Reply, Request
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.changes import attempt, furnish
from tests.storage_backends.netapp.concurrent_changes import after_each
from tests.storage_backends.netapp.signed_in_drivers import CONFINED_USER, open_backend


def journal() -> InMemoryJournal:
    return InMemoryJournal("0199-job")


class TestCreation:
    """Where new volumes go, and how."""

    def body(self, ontap: Simulator) -> dict[str, Any]:
        return dict(ontap.world.effects[0].what)

    @pytest.mark.parametrize("user", ["storage-api", CONFINED_USER])
    def test_the_data_aggregate_with_most_free_space_is_used(self, user: str, ontap: Simulator) -> None:
        made = open_backend(ontap, user).create_volume("new", journal=journal(), junction_path="/new")

        assert made.aggregate_name == "aggr2_n2"

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"aggr2_n2": {"state": "offline"}}, "aggr1_n1"),
            ({"aggr2_n2": {"space": {}}}, "aggr1_n1"),
            ({"aggr2_n2": {"state": None}}, "aggr2_n2"),
            ({name: {"state": "offline"} for name in ("aggr0_n1", "aggr1_n1", "aggr2_n2")}, "aggr2_n2"),
        ],
    )
    def test_an_aggregate_with_known_free_space_is_used(
        self, changes: dict[str, Any], expected: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        def altered(request: Request, reply: Reply) -> None:
            for record in reply.body["records"] if request.path == "/storage/aggregates" else ():
                record.update(changes.get(record["name"], {}))
                if record["state"] is None:
                    del record["state"]
            if request.path == "/storage/aggregates":
                root = {"name": "aggr0_n2", "state": "online", "space": {"block_storage": {"available": 10**16}}}
                reply.body["records"].append(root | changes.get("aggr0_n1", {}))

        after_each(ontap, altered)
        assert backend.create_volume("new", journal=journal(), size_total=MIB * 100).aggregate_name == expected

    @pytest.mark.parametrize("kind", [Kind.DROP, Kind.REFUSE])
    def test_a_filer_that_does_not_tell_its_aggregates_now_is_not_taken_for_one_that_may_not(
        self, kind: Kind, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.fault(kind, path="/storage/aggregates", times=3, code=7, headers={"Retry-After": "0"})
        with pytest.raises(BackendUnavailable):
            backend.create_volume("new", journal=journal())
        assert ontap.changes_sent() == []
        ontap.fault(Kind.REFUSE, path="/storage/aggregates", status=400, code=987654)
        for name in ("new", "newer"):
            assert backend.create_volume(name, journal=journal()).aggregate_name == "aggr2_n2"
        assert len([seen for seen in ontap.requests if seen.path == "/storage/aggregates"]) == 5

    def test_an_answer_that_lists_no_aggregates_is_no_reason_to_guess(
        self, ontap: Simulator, backend: StorageBackend
    ) -> None:
        after_each(ontap, lambda request, _: Reply(200, {}) if request.path == "/storage/aggregates" else None)
        with pytest.raises(StorageError, match="no listing"):
            backend.create_volume("new", journal=journal())
        assert ontap.changes_sent() == []

    def test_an_aggregate_may_be_named(self, ontap: Simulator, backend: StorageBackend) -> None:
        made = backend.create_volume("new", journal=journal(), junction_path="/n", aggregate_name="aggr1_n1")

        assert made.aggregate_name == "aggr1_n1"
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume("more", journal=journal(), junction_path="/m", aggregate_name="aggr9")
        assert [error.pointer for error in refusal.value.errors] == ["/aggregate_name"]

    def test_a_new_volume_grows_to_120_per_cent_of_its_size(self, ontap: Simulator, backend: StorageBackend) -> None:
        backend.create_volume("new", journal=journal(), junction_path="/new", size_total=95 * MIB)

        body = self.body(ontap)
        assert (body["size"], body["autosize"]) == (100 * MIB, {"mode": "grow", "maximum": 120 * MIB})
        assert body["comment"] == "job:0199-job"

    def test_autosize_can_be_off(self, ontap: Simulator, backend: StorageBackend) -> None:
        backend.create_volume("new", journal=journal(), junction_path="/new", autosize_enabled=False)

        assert self.body(ontap)["autosize"] == {"mode": "off"}

    @pytest.mark.parametrize("reserve", [0, 5, 7, 50, 90])
    def test_the_snapshot_reserve_is_added_to_the_size(self, reserve: int, backend: StorageBackend) -> None:
        size_bytes = 123_456_789

        made = backend.create_volume(
            "new", journal=journal(), junction_path="/n", size_total=size_bytes, percentage_snapshot_reserve=reserve
        )

        assert made.size_total is not None
        assert 0 <= made.size_total - size_bytes < 8192

    @pytest.mark.parametrize(
        ("pointer", "arguments"),
        [
            ("/junction_path", {"junction_path": "/"}),
            ("/junction_path", {"junction_path": "data"}),
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
    def test_invalid_settings_are_refused_with_their_pointer(
        self, pointer: str, arguments: dict[str, Any], backend: StorageBackend
    ) -> None:
        request: dict[str, Any] = {"volume": "new", "junction_path": "/new"} | arguments
        with pytest.raises(InvalidRequest) as refusal:
            backend.create_volume(**request, journal=journal())
        assert [error.pointer for error in refusal.value.errors] == [pointer]

    @pytest.mark.parametrize("user", ["storage-api", CONFINED_USER])
    def test_without_an_aggregate_nothing_is_sent(self, user: str, ontap: Simulator) -> None:
        for name in [name for name in ontap.world.aggregates if not name.startswith("aggr0")]:
            del ontap.world.aggregates[name]

        with pytest.raises(StorageError, match="no aggregate"):
            open_backend(ontap, user).create_volume("new", journal=journal(), junction_path="/new")
        assert ontap.changes_sent() == []

    @pytest.mark.parametrize(
        ("background", "inline", "ontaps"),
        [(True, True, "both"), (True, False, "background"), (False, True, "inline"), (False, False, "none")],
    )
    def test_each_compression_setting(
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
    def test_each_setting_is_changed_alone(
        self, setting: str, value: Any, body: dict[str, Any], home: Any, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.world.add_policy(ontap.world.vserver, "team", [])
        settings: dict[str, Any] = {setting: value}

        changed = backend.update_volume("home", journal=journal(), **settings)
        again = backend.update_volume("home", journal=journal(), **settings)

        assert getattr(changed, setting) == value
        assert again == changed
        assert [effect.what for effect in ontap.world.effects] == [body]

    def test_a_size_above_the_limit_raises_the_limit(
        self, home: Any, ontap: Simulator, backend: StorageBackend
    ) -> None:
        backend.update_volume("home", journal=journal(), autosize_enabled=True)

        changed = backend.update_volume("home", journal=journal(), size_total=950 * MIB)

        assert changed.max_autosize == 1200 * MIB

    def test_shrinking_growth_stays_as_it_is(self, home: Any, ontap: Simulator, backend: StorageBackend) -> None:
        home["autosize"]["mode"] = "grow_shrink"

        assert backend.update_volume("home", journal=journal(), autosize_enabled=True).autosize_enabled is True
        assert ontap.world.effects == []

    def test_parts_of_a_flexgroup_are_not_listed_as_restricted(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("out", state="restricted")
        ontap.world.add_volume("part", state="restricted", style="flexgroup_constituent", is_constituent=True)
        ontap.world.add_volume("mirror", state="restricted", type="dp")
        ontap.world.add_volume("root", state="restricted", is_svm_root=True)
        ontap.world.add_volume("theirs", state="restricted", svm="vs2")

        watched = journal()
        assert [volume.name for volume in backend.list_restricted_volumes(journal=watched)] == ["out"]
        assert watched.progress_calls == [(1, None, "volumes", "listing restricted volumes")]
        # The parts are not even sent, and nothing more is needed where each volume has its node.
        (request,) = ontap.requests
        assert {("is_constituent", "false"), ("state", "restricted")} <= set(request.query)
        for name in ("mirror", "root"):
            with pytest.raises(NotADataVolume):
                backend.reinstate_volume(name, journal=journal())
        assert ontap.changes_sent() == []

    def test_the_nodes_of_restricted_volumes_are_looked_up_once(
        self, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.world.unknown_fields = frozenset({"nodes.name"})
        for name in ("one", "two", "three"):
            del ontap.world.add_volume(name, state="restricted")["nodes"]

        volumes = backend.list_restricted_volumes(journal=journal())

        assert [volume.filer_address is None for volume in volumes] == [False] * 3
        assert [seen.path for seen in ontap.requests].count("/storage/aggregates") == 1

    def test_nodes_are_not_looked_up_for_volumes_on_no_aggregate(
        self, ontap: Simulator, backend: StorageBackend
    ) -> None:
        for name, state in (("home", "online"), ("out", "restricted")):
            record = ontap.world.add_volume(name, state=state, aggregates=[])
            del record["nodes"]

        assert backend.get_volume("home", journal=journal()).filer_address is None
        assert [volume.filer_address for volume in backend.list_restricted_volumes(journal=journal())] == [None]
        assert {seen.path for seen in ontap.requests} == {"/storage/volumes"}

    @pytest.mark.parametrize("mounted", ["/out", "/OUT"])
    def test_a_volume_can_be_reinstated_at_its_own_path(
        self, mounted: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        ontap.world.add_volume("out", state="restricted", nas={"path": mounted})
        ontap.world.add_volume("other", nas={"path": "/other"})

        with pytest.raises(AlreadyExists):
            backend.reinstate_volume("out", journal=journal(), junction_path="/other")
        assert backend.reinstate_volume("out", journal=journal()).junction_path == "/out"

    def test_a_root_volume_stays_in_service(self, ontap: Simulator, backend: StorageBackend) -> None:
        ontap.world.add_volume("root", is_svm_root=True, nas={"path": "/"})

        with pytest.raises(Conflict):
            backend.restrict_volume("root", journal=journal())
        assert ontap.world.effects == []


@pytest.mark.parametrize("change", ["create", "clone with its own", "update", "restrict", "reinstate", "make snapshot"])
def test_an_account_of_one_vserver_can_do_everything(change: str, ontap: Simulator) -> None:
    furnish(ontap)
    backend = open_backend(ontap, CONFINED_USER)
    for record in ontap.world.volumes.values():
        del record["nodes"]  # An older release: such an account cannot ask the aggregates for them.

    value, error, _ = attempt(backend, change)

    assert error is None
    assert ontap.world.effects
    backend.create_volume("another", journal=journal())
    aggregates = [dict(seen.query) for seen in ontap.requests if seen.path == "/svm/svms" and "aggregates" in str(seen)]
    assert aggregates
    assert {query["name"] for query in aggregates} == {"vs1"}
    if change in {"create", "clone with its own", "update"}:
        assert (value.aggregate_name, value.state) == ("aggr2_n2" if change == "create" else "aggr1_n1", "online")
    assert [volume.filer_address for volume in backend.list_volumes(journal=journal()) if volume.name == "full"] == [
        None
    ]
    # What was refused once is not requested again.
    assert len([seen for seen in ontap.requests if seen.path == "/storage/aggregates"]) == 1
