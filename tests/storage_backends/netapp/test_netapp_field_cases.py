"""Codes, malformed records and older releases, as real filers answer."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import (
    BackendError,
    NotSupported,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.netapp.ontap import malformed_records
from storage_backends.netapp.ontap.error_codes import Translator
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.changes import attempt, furnish
from tests.storage_backends.netapp.journals import journal
from tests.storage_backends.netapp.signed_in_drivers import CONFINED_USER, open_backend


class TestCodes:
    """What the filer said is never lost."""

    @pytest.mark.parametrize(("status", "code"), [(500, 2621574), (500, 160), (503, 4711), (400, 987654)])
    def test_an_unknown_code_is_reported(
        self, status: int, code: int, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.fault(Kind.REFUSE, method="POST", status=status, code=code, message="No such luck.")

        _, error, _ = attempt(furnished, "create")

        assert error is not None
        assert error.backend_error is not None
        assert (error.backend_error.code, error.backend_error.message) == (str(code), "No such luck.")
        assert isinstance(error, OutcomeUnclear) == (status == 500)

    @pytest.mark.parametrize("code", [1638480, 9437886, 917533, 917775, 524479, 1638543, 1638555, 524481])
    def test_permanent_errors_are_not_retryable(self, code: int, furnished: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.JOB_FAILS, method="PATCH", code=code)

        _, error, _ = attempt(furnished, "roll back")

        assert isinstance(error, ResourceBusy)
        assert (error.retryable, error.transient) == (False, False)

    def test_temporary_errors_are_retryable(self, furnished: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.JOB_FAILS, method="PATCH", code=13107406)
        _, error, _ = attempt(furnished, "update")
        assert isinstance(error, ResourceBusy)
        assert error.retryable

    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (400, "backend-error", "refused"), (401, "backend-unavailable", "refused the service's login"),
            (403, "backend-error", "lacks a right"), (404, "not-found", "does not have it"),
            (429, "backend-unavailable", "too busy"), (503, "backend-unavailable", "too busy"),
        ],
    )  # fmt: skip
    def test_statuses_without_a_code(self, status: int, code: str, words: str) -> None:
        error = Translator(()).error(None, status=status)
        assert (error.code, error.backend_error) == (code, BackendError(str(status), f"HTTP status {status}"))
        assert words in error.detail


ODD_RECORDS: dict[str, dict[str, Any]] = {
    "nas": {"nas": None},
    "space": {"space": None},
    "text in the place of an object": {"space": "lots", "autosize": "on"},
    "aggregates": {"aggregates": None},
    "a number as text": {"size": "107374182400", "space": {"afs_total": "107374182400", "used": "12"}},
    "permissions as text": {"nas": {"path": "/v2", "export_policy": {"name": "default"}, "unix_permissions": "0755"}},
    "a list of nothing": {"aggregates": [None], "nodes": [None]},
    "flags in the place of numbers": {"space": {"used": True, "snapshot": {"reserve_percent": False}}},
    "numbers in the place of texts": {"state": 1, "create_time": 5, "comment": 7, "snapshot_policy": {"name": 3}},
    "all of it": dict.fromkeys(("nas", "space", "autosize", "efficiency", "flash_pool", "qos", "tiering", "guarantee")),
}


class TestMalformedRecords:
    """One of them never hides the others."""

    @pytest.fixture(autouse=True)
    def _nothing_reported_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(malformed_records, "_reported", set())

    def test_the_number_of_logged_records_is_limited(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(malformed_records, "_MAX_REPORTED", 2)
        for name in "aabcd":
            malformed_records.report_malformed_record("volume", name, "it has odd values")
        assert [record.args for record in caplog.records] == [("volume", name, "it has odd values") for name in "ab"]

    @pytest.mark.parametrize("oddity", ODD_RECORDS)
    def test_a_malformed_volume_has_nulls(
        self, oddity: str, ontap: Simulator, backend: StorageBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(4):
            ontap.world.add_volume(f"v{number}", nas={"path": f"/v{number}"})
        whole = backend.list_volumes(journal=journal())
        odd = next(volume for volume in ontap.world.volumes.values() if volume["name"] == "v2")
        odd |= ODD_RECORDS[oddity]

        for _ in range(2):
            listed = backend.list_volumes(journal=journal())

        assert [volume.name for volume in listed] == ["v0", "v1", "v2", "v3"]
        assert [volume for volume in listed if volume.name != "v2"] == [v for v in whole if v.name != "v2"]
        (mapped,) = [volume for volume in listed if volume.name == "v2"]
        for value in (mapped.size_total, mapped.size_used, mapped.max_autosize, mapped.percentage_snapshot_reserve):
            assert value is None or type(value) is int
        for text in (mapped.state, mapped.junction_path, mapped.aggregate_name, mapped.comment, mapped.snapshot_policy):
            assert text is None or type(text) is str
        assert mapped == backend.get_volume("v2", journal=journal())
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len([line for line in lines if "'v2'" in line]) == 1

    def test_a_log_is_not_flooded(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(malformed_records, "_MAX_REPORTED", 2)
        for name in ("a", "a", "b", "c"):
            malformed_records.report_malformed_record("volume", name, "it is odd")
        assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == ["a", "b"]

    def test_a_record_without_a_name_is_left_out(self, ontap: Simulator, backend: StorageBackend) -> None:
        for number in range(3):
            ontap.world.add_volume(f"v{number}")
        first = next(iter(ontap.world.volumes.values()))
        first["name"] = None

        assert [volume.name for volume in backend.list_volumes(journal=journal())] == ["v1", "v2"]

    def test_malformed_snapshots_locks_and_policies(self, ontap: Simulator, backend: StorageBackend) -> None:
        home = ontap.world.add_volume("home")
        ontap.world.add_snapshot(home, "odd", reclaimable_space="12", create_time=None)
        ontap.world.add_snapshot(home, "good")
        ontap.world.add_snapshot(home, "nameless")["name"] = None
        ontap.world.add_lock(home, "192.0.2.1")
        ontap.world.add_lock(home, "192.0.2.2")["client_address"] = None
        ontap.world.add_policy("vs1", "odd", [["a"], ["b"]])["rules"][0]["clients"] = None
        ontap.world.add_policy("vs1", "none", [["a"]])["rules"] = None
        ontap.world.add_policy("vs1", "good", [["a"]])
        ontap.world.add_policy("vs1", "nameless", [["a"]])["name"] = None

        snapshots = {snapshot.name: snapshot for snapshot in backend.list_snapshots("home", journal=journal())}
        assert snapshots.keys() == {"odd", "good"}
        assert (snapshots["odd"].size_kbytes, snapshots["odd"].creation_time) == (None, None)
        assert snapshots["good"].size_kbytes == 128
        assert [lock.host for lock in backend.list_locks("home", journal=journal())] == ["192.0.2.1"]
        policies = {policy.name: policy.rules for policy in backend.list_policies(journal=journal())}
        assert policies == {"default": ("0.0.0.0/0",), "odd": ("b",), "none": (), "good": ("a",)}


class TestReleases:
    """A release that does not know a field gets requests without it, and a warning is logged."""

    @pytest.mark.parametrize("is_vague", [False, True])
    @pytest.mark.parametrize(
        "unknown",
        [
            {"space.snapshot.space_used_percent"},
            {"flash_pool.caching_policy", "qos.policy.name"},
            {"owners", "reclaimable_space"},
            {"rules.superuser", "superuser"},
        ],
        ids=lambda names: " ".join(sorted(names)),
    )
    def test_an_unknown_field_reads_as_null(
        self, unknown: set[str], is_vague: bool, ontap: Simulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        furnish(ontap)
        ontap.world.unknown_fields = frozenset(unknown)
        ontap.world.is_vague_about_fields = is_vague
        backend = open_backend(ontap)

        for _ in range(2):
            assert [volume.name for volume in backend.list_volumes(journal=journal())] == ["home", "full"]
            assert len(backend.list_snapshots("home", journal=journal())) == 2
            assert backend.get_volume("home", journal=journal()).size_total is not None
            assert backend.get_policy("team", journal=journal()).rules == ("a",)
            assert ("a",) in [policy.rules for policy in backend.list_policies(journal=journal())]
        request_count = len(ontap.requests)
        backend.list_volumes(journal=journal())
        assert len(ontap.requests) == request_count + 1  # By now it is known.

        (note,) = backend.check()
        assert all(name in note for name in unknown)
        warnings = [record for record in caplog.records if "does not know" in record.getMessage()]
        assert 1 <= len(warnings) <= len(unknown)

    @pytest.mark.parametrize("is_vague", [False, True])
    @pytest.mark.parametrize("field", ["uuid", "name"])
    def test_a_field_without_which_a_record_is_useless_is_not_left_out(
        self, field: str, is_vague: bool, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.world.unknown_fields = frozenset({field})
        ontap.world.is_vague_about_fields = is_vague
        for _ in range(2):
            with pytest.raises(StorageError, match="refused"):
                furnished.list_volumes(journal=journal())
        ontap.world.unknown_fields = frozenset()
        assert furnished.check() == ()

    def test_a_refused_read_is_never_an_error_of_the_user(self, furnished: StorageBackend, ontap: Simulator) -> None:
        for code in (262197, 262179):
            ontap.fault(Kind.REFUSE, path="/storage/volumes", times=9, status=400, code=code, message="What?")
            with pytest.raises(StorageError) as refusal:
                furnished.list_volumes(journal=journal())
            assert refusal.value.code == "backend-error"
            assert refusal.value.backend_error is not None
            assert refusal.value.backend_error.code == str(code)
            ontap.faults.clear()

    @pytest.mark.parametrize("operation", ["create", "update"])
    def test_a_setting_it_cannot_keep_is_not_supported_and_nothing_is_done(
        self, operation: str, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.world.unknown_fields = frozenset({"tiering.policy"})
        for _ in range(2):  # Once by the filer's refusal, once because it is known by then.
            change = furnished.create_volume if operation == "create" else furnished.update_volume
            name = "new" if operation == "create" else "home"
            with pytest.raises(NotSupported) as refusal:
                change(name, journal=journal(), size_total=200 * MIB, tiering_policy="auto")
            assert [error.pointer for error in refusal.value.errors] == ["/tiering_policy"]
            furnished.list_volumes(journal=journal())
        assert len(ontap.changes_sent()) == (1 if operation == "create" else 0)
        assert ontap.world.effects == []

    @pytest.mark.parametrize(
        ("version", "is_taken"), [((9, 9, 1), False), ((9, 10, 0), False), ((9, 10, 1), True), ((10, 0, 0), True)]
    )
    def test_too_old_a_release_is_refused(
        self, version: tuple[int, int, int], is_taken: bool, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.world.version = version
        for _ in range(2):
            if is_taken:
                assert furnished.check() == ()
            else:
                with pytest.raises(NotSupported, match=r"9\.10\.1"):
                    furnished.check()
        assert len([seen for seen in ontap.requests if seen.path == "/cluster"]) == 1

    @pytest.mark.parametrize(("status", "code"), [(403, 6), (404, 4)])
    def test_an_account_that_may_not_ask_for_the_release_or_the_aggregates(
        self, status: int, code: int, ontap: Simulator
    ) -> None:
        del ontap.world.add_volume("home")["nodes"]
        ontap.fault(Kind.REFUSE, path="/cluster", status=status, code=code)
        backend = open_backend(ontap, CONFINED_USER)
        for _ in range(2):
            assert backend.check() == ()
            assert [volume.filer_address for volume in backend.list_volumes(journal=journal())] == [None]
        # The request is not repeated.
        paths = [seen.path for seen in ontap.requests]
        assert (paths.count("/cluster"), paths.count("/storage/aggregates")) == (1, 1)
