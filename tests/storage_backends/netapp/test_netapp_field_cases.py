"""What real filers, releases and proxies do that a clean simulator does not."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.configuration.secret import Secret
from storage_backends.errors import (
    BackendError,
    BackendUnavailable,
    InvalidRequest,
    NotADataVolume,
    NotSupported,
    OutcomeUnclear,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import InMemoryJournal
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp.ontap import lookups, odd_records
from storage_backends.netapp.ontap.error_codes import Translator
from storage_backends.netapp.ontap.responses import OntapError
from storage_backends.netapp.operations import mutation
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.changes import attempt, furnish, sent_twice, settled
from tests.storage_backends.netapp.signed_in_drivers import CONFINED_USER, open_backend


@pytest.fixture
def furnished(ontap: Simulator) -> Iterator[StorageBackend]:
    furnish(ontap)
    backend = open_backend(ontap, timeout_s=1.0)
    yield backend
    backend.close()


def journal() -> InMemoryJournal:
    return InMemoryJournal()


class TestCodes:
    """What the filer said is never lost."""

    @pytest.mark.parametrize(("status", "code"), [(500, 2621574), (500, 160), (503, 4711), (400, 987654)])
    def test_a_code_that_no_table_has_is_kept(
        self, status: int, code: int, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.fault(Kind.REFUSE, method="POST", status=status, code=code, message="No such luck.")

        _, error, _ = attempt(furnished, "create")

        assert error is not None
        assert error.backend_error is not None
        assert (error.backend_error.code, error.backend_error.message) == (str(code), "No such luck.")
        assert isinstance(error, OutcomeUnclear) == (status == 500)

    @pytest.mark.parametrize("code", [1638480, 9437886, 917533, 917775, 524479, 1638543, 1638555, 524481])
    def test_what_waiting_does_not_cure_is_not_retryable(
        self, code: int, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        ontap.fault(Kind.JOB_FAILS, method="PATCH", code=code)

        _, error, _ = attempt(furnished, "roll back")

        assert isinstance(error, ResourceBusy)
        assert (error.retryable, error.transient) == (False, False)

    def test_what_it_may_cure_is(self, furnished: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.JOB_FAILS, method="PATCH", code=13107406)
        _, error, _ = attempt(furnished, "update")
        assert isinstance(error, ResourceBusy)
        assert error.retryable

    @pytest.mark.parametrize(
        ("number", "code", "pointer"),
        [
            (1, "already-exists", None), (4, "not-found", None), (6, "backend-error", None),
            (7, "backend-unavailable", None), (8, "resource-busy", None), (262160, "backend-unavailable", None),
            (524486, "resource-busy", None), (524601, "no-such-volume", None), (525059, "already-exists", None),
            (525062, "too-many-snapshots", None), (787140, "validation-failed", "/aggregate_name"),
            (917505, "backend-unavailable", None), (917526, "already-exists", None),
            (917534, "validation-failed", "/size_total"), (917831, "validation-failed", "/max_autosize"),
            (917835, "validation-failed", "/percentage_snapshot_reserve"), (917888, "validation-failed", "/name"),
            (918252, "validation-failed", "/junction_path"), (918271, "validation-failed", "/active_policy_name"),
            (918701, "not-supported", None), (1638537, "outcome-unknown", None), (1638600, "no-such-snapshot", None),
            (1703945, "policy-in-use", None), (1703947, "policy-in-use", None),
            (1703952, "validation-failed", "/policy"),
            (1703953, "policy-in-use", None), (1703954, "no-such-policy", None),
            (1704049, "validation-failed", "/rules"),
            (1704070, "already-exists", None), (2621462, "backend-unavailable", None), (4711, "backend-error", None),
        ],
    )  # fmt: skip
    def test_what_they_mean(self, number: int, code: str, pointer: str | None) -> None:
        error = Translator(()).error(OntapError(number, "As the filer says."))
        assert (error.code, [field.pointer for field in error.errors]) == (code, [pointer] if pointer else [])

    @pytest.mark.parametrize(
        ("status", "code"), [(401, "backend-unavailable"), (403, "backend-error"), (404, "not-found"),
                             (429, "backend-unavailable"), (503, "backend-unavailable"), (400, "backend-error")],
    )  # fmt: skip
    def test_what_a_status_alone_means(self, status: int, code: str) -> None:
        error = Translator(()).error(None, status=status)
        assert (error.code, error.backend_error) == (code, BackendError(str(status), f"HTTP status {status}"))


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


class TestOddRecords:
    """One of them never hides the others."""

    @pytest.fixture(autouse=True)
    def _nothing_reported_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(odd_records, "_reported", set())

    def test_no_more_than_some_are_logged(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(odd_records, "_MAX_REPORTED", 2)
        for name in "aabcd":
            odd_records.report_odd_record("volume", name, "it has odd values")
        assert [record.args for record in caplog.records] == [("volume", name, "it has odd values") for name in "ab"]

    @pytest.mark.parametrize("oddity", ODD_RECORDS)
    def test_an_odd_volume_has_nulls(
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
        monkeypatch.setattr(odd_records, "_MAX_REPORTED", 2)
        for name in ("a", "a", "b", "c"):
            odd_records.report_odd_record("volume", name, "it is odd")
        assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == ["a", "b"]

    def test_a_record_without_a_name_is_left_out(self, ontap: Simulator, backend: StorageBackend) -> None:
        for number in range(3):
            ontap.world.add_volume(f"v{number}")
        first = next(iter(ontap.world.volumes.values()))
        first["name"] = None

        assert [volume.name for volume in backend.list_volumes(journal=journal())] == ["v1", "v2"]

    def test_odd_snapshots_locks_and_policies(self, ontap: Simulator, backend: StorageBackend) -> None:
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
    """A release that does not know a field is asked without it, and says so."""

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
    def test_a_field_it_does_not_know_reads_as_null(
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

    def test_a_refused_question_is_never_the_users_fault(self, furnished: StorageBackend, ontap: Simulator) -> None:
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
        # It is not asked again and again.
        paths = [seen.path for seen in ontap.requests]
        assert (paths.count("/cluster"), paths.count("/storage/aggregates")) == (1, 1)


class TestMadeButNotSeen:
    """What was made may take a while to show."""

    @pytest.fixture
    def slow(self, furnished: StorageBackend, ontap: Simulator) -> StorageBackend:
        ontap.world.hidden_seconds = 0.4
        return furnished

    @pytest.mark.parametrize("change", ["create", "create in three steps", "clone", "make snapshot", "purge"])
    def test_it_is_waited_for(self, change: str, slow: StorageBackend, ontap: Simulator) -> None:
        value, error, _ = attempt(slow, change)

        assert error is None
        assert value.name in {"new", "copy", "three"}
        assert sent_twice(ontap) == [] or change == "purge"

    @pytest.mark.parametrize("change", ["create", "make snapshot"])
    def test_what_never_shows_is_in_doubt(
        self, change: str, slow: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mutation, "VISIBLE_S", 0.1)
        _, error, journal = attempt(slow, change)
        assert isinstance(error, OutcomeUnclear)

        assert settled(slow, change, journal) is Outcome.DONE

    @pytest.mark.parametrize("status", [200, 201, 202, 404, 400, 502])
    @pytest.mark.parametrize("takes_effect", [True, False])
    def test_a_proxys_page_says_nothing_of_a_change(
        self, status: int, takes_effect: bool, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        kind = Kind.WEB_PAGE if takes_effect else Kind.WEB_PAGE_BEFORE
        ontap.fault(kind, method="POST", status=status)

        _, error, journal = attempt(furnished, "create")

        assert isinstance(error, OutcomeUnclear)
        assert settled(furnished, "create", journal) is (Outcome.DONE if takes_effect else Outcome.NOT_DONE)
        assert sent_twice(ontap) == []

    @pytest.mark.parametrize("status", [200, 404, 429, 502, 503, 504])
    def test_a_proxys_page_says_nothing_of_an_object(
        self, status: int, furnished: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage_backends.netapp.ontap.client._PAUSE_S", 0.001)
        ontap.fault(Kind.WEB_PAGE_BEFORE, method="GET", times=9, status=status)
        with pytest.raises(BackendUnavailable):
            furnished.list_snapshots("home", journal=journal())


class TestPages:
    """An empty page is not the end."""

    @pytest.mark.parametrize("times", [1, 3])
    def test_a_page_that_was_ended_early_is_gone_on_from(
        self, times: int, furnished: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookups, "EMPTY_PAGE_PAUSE_S", 0.01)
        ontap.fault(Kind.EMPTY_PAGE, path="/storage/volumes", times=times)

        assert [volume.name for volume in furnished.list_volumes(journal=journal())] == ["home", "full"]

    def test_pages_that_stay_empty_come_to_an_end(
        self, furnished: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookups, "EMPTY_PAGE_PAUSE_S", 0.001)
        ontap.fault(Kind.EMPTY_PAGE, path="/storage/volumes", times=999)
        with pytest.raises(StorageError, match="does not come to an end"):
            furnished.list_volumes(journal=journal())


class TestCauses:
    """Each reason in its own words."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"hostname": "filer.invalid"}, "host name cannot be resolved"),
            ({"port": 1}, "refuses connections"),
            ({"scheme": "https"}, "encrypted connection"),
        ],
    )
    def test_why_it_cannot_be_reached(self, options: dict[str, Any], words: str, ontap: Simulator) -> None:
        with pytest.raises(BackendUnavailable) as refusal:
            open_backend(ontap, **options).list_volumes(journal=journal())
        assert words in refusal.value.detail

    @pytest.mark.timeout(8)
    def test_a_host_that_never_answers(self, ontap: Simulator) -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            blocked = [socket.socket() for _ in range(3)]
            for one in blocked:
                one.setblocking(False)
                one.connect_ex(deaf.getsockname())
            backend = open_backend(ontap, port=deaf.getsockname()[1], timeout_s=0.3)
            with pytest.raises(BackendUnavailable, match="in time"):
                backend.list_volumes(journal=journal())
            for one in blocked:
                one.close()

    def test_one_look_that_times_out_is_repeated(self, furnished: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.HANG, method="GET", seconds=2.0)
        backend = open_backend(ontap, timeout_s=0.3)

        assert backend.update_volume("home", journal=journal(), size_total=200 * MIB).size_total is not None

    def test_a_look_is_not_repeated_without_end(self, furnished: StorageBackend, ontap: Simulator) -> None:
        class Hasty(InMemoryJournal):
            until = time.monotonic() + 1.3

            @property
            def seconds_left(self) -> float:
                return self.until - time.monotonic()

        ontap.fault(Kind.HANG, method="GET", times=9, seconds=2.0)
        with pytest.raises(StorageError) as silence:
            open_backend(ontap, timeout_s=0.4).list_volumes(journal=Hasty())
        assert silence.value.code == "backend-timeout"
        assert len(ontap.requests) <= 2


class TestLogins:
    """A refused login is left alone; a replaced password is used at once."""

    def test_a_wrong_password_is_not_tried_again_and_again(self, ontap: Simulator) -> None:
        guard = LoginGuard()
        hosts = ("localhost", "LocalHost", "localhost")  # One account, however the configuration spells its host.
        backends = [open_backend(ontap, password="wrong", login_guard=guard, hostname=host) for host in hosts]
        for _ in range(5):
            for backend in backends:
                with pytest.raises(BackendUnavailable, match="login"):
                    backend.list_volumes(journal=journal())
                with pytest.raises(BackendUnavailable, match="login"):
                    backend.check()

        assert ontap.refused_logins == 1

    def test_a_password_that_is_replaced_is_used_without_a_restart(self, ontap: Simulator, tmp_path: Path) -> None:
        file = tmp_path / "password"
        user, (old, scope) = next(iter(ontap.accounts.items()))
        file.write_text(f"{old}\n")
        backend = open_backend(ontap, password=Secret.from_file(file))
        assert backend.check() == ()
        ontap.accounts[user] = ("a-new-one", scope)
        with pytest.raises(BackendUnavailable):
            backend.check()
        with pytest.raises(BackendUnavailable):
            backend.check()
        assert ontap.refused_logins == 1

        file.write_text("a-new-one\n")

        assert backend.check() == ()
        assert backend.list_policies(journal=journal())
        file.unlink()
        assert backend.check() == ()
        assert ontap.refused_logins == 1  # The old one was never tried again.

    def test_a_change_that_is_refused_for_its_login_was_not_made(
        self, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        furnished.list_volumes(journal=journal())
        ontap.fault(Kind.REFUSE, method="PATCH", status=401, code=6691623)

        _, error, _ = attempt(furnished, "update")

        assert isinstance(error, BackendUnavailable)
        assert ontap.world.effects == []


class TestVolumesThatAreNoDataVolumes:
    """Shown, never changed."""

    @pytest.fixture(params=["dp", "ls", "root"])
    def kind(self, request: pytest.FixtureRequest, ontap: Simulator) -> str:
        furnish(ontap)
        home = next(iter(ontap.world.volumes.values()))
        if request.param == "root":
            home["is_svm_root"] = True
        else:
            home["type"] = request.param
        return str(request.param)

    def test_they_are_listed_with_their_type(self, kind: str, ontap: Simulator, backend: StorageBackend) -> None:
        home, _ = backend.list_volumes(journal=journal())
        assert (home.name, home.type) == ("home", "rw" if kind == "root" else kind)

    @pytest.mark.parametrize(
        "change",
        [
            "roll back",
            "update",
            "update in two steps",
            "caching",
            "restrict",
            "make snapshot",
            "delete snapshot",
            "break locks",
        ],
    )
    def test_they_are_never_changed(self, change: str, kind: str, ontap: Simulator, backend: StorageBackend) -> None:
        _, error, _ = attempt(backend, change)

        assert isinstance(error, NotADataVolume)
        assert error.code == "not-a-data-volume"
        assert ontap.changes_sent() == []
        assert backend.list_locks("home", journal=journal()) != []


def test_a_value_that_the_filer_refuses_points_to_the_setting(furnished: StorageBackend, ontap: Simulator) -> None:
    message = 'The value "gold" is invalid for field "qos.policy.name"'
    ontap.fault(Kind.REFUSE, method="PATCH", status=400, code=262197, message=message)
    with pytest.raises(InvalidRequest) as refusal:
        furnished.update_volume("home", journal=journal(), comment="c", active_policy_name="team", qos_policy="gold")
    assert [error.pointer for error in refusal.value.errors] == ["/qos_policy"]
    assert refusal.value.backend_error is not None
    assert refusal.value.backend_error.code == "262197"
