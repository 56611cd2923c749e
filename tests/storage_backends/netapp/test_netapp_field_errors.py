"""What is made and not listed yet, pages, causes of errors, logins, and volumes that are no data volumes."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.configuration.secret import Secret
from storage_backends.errors import (
    BackendUnavailable,
    InvalidRequest,
    NotADataVolume,
    NotSupported,
    OutcomeUnclear,
    StorageError,
)
from storage_backends.journal import InMemoryJournal
from storage_backends.login_guard import LoginGuard
from storage_backends.netapp.ontap import lookups
from storage_backends.netapp.operations import mutation
from storage_backends.netapp.reconciliation import reconcile
from tests.ontap_simulator import Kind, Simulator
from tests.storage_backends.conformance import MIB
from tests.storage_backends.netapp.changes import CHANGES, attempt, furnish, sent_twice, settled
from tests.storage_backends.netapp.journals import journal
from tests.storage_backends.netapp.signed_in_drivers import open_backend


class TestMadeButNotSeen:
    """A new object may take a while to be visible."""

    @pytest.fixture
    def slow(self, furnished: StorageBackend, ontap: Simulator) -> StorageBackend:
        ontap.world.hidden_seconds = 0.4
        return furnished

    @pytest.mark.parametrize("change", ["create", "create in three steps", "clone", "make snapshot", "purge"])
    def test_a_new_object_is_waited_for(self, change: str, slow: StorageBackend, ontap: Simulator) -> None:
        value, error, _ = attempt(slow, change)

        assert error is None
        assert value.name in {"new", "copy", "three"}
        assert sent_twice(ontap) == [] or change == "purge"

    @pytest.mark.parametrize("change", ["create", "make snapshot"])
    def test_a_new_object_is_polled_with_growing_pauses(
        self, change: str, slow: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Revealing(InMemoryJournal):
            """It is visible after the fourth pause."""

            def wait(self, seconds: float) -> None:
                pauses_s.append(seconds)
                if pauses_s[-4:] == [0.25, 0.5, 1.0, 1.0]:
                    ontap.world._shows_at.clear()

        pauses_s: list[float] = []
        ontap.world.hidden_seconds = 3600.0
        for name, seconds in (("VISIBLE_S", 5.0), ("FIRST_PAUSE_S", 0.25), ("PAUSE_S", 1.0)):
            monkeypatch.setattr(mutation, name, seconds)
        operation, arguments = CHANGES[change]

        assert getattr(slow, operation)(**arguments, journal=Revealing()).name in {"new", "three"}

    @pytest.mark.parametrize("change", ["create", "make snapshot"])
    def test_a_new_object_that_never_becomes_visible_is_in_doubt(
        self, change: str, slow: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mutation, "VISIBLE_S", 0.1)
        _, error, journal = attempt(slow, change)
        assert isinstance(error, OutcomeUnclear)

        assert settled(slow, change, journal) is Outcome.DONE

    @pytest.mark.parametrize("synchronous", ["", "named", "unnamed"])
    @pytest.mark.parametrize("change", ["create", "clone", "make snapshot"])
    def test_a_change_reported_as_done_is_never_reported_as_not_made(
        self, change: str, synchronous: str, slow: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By its job or by its answer; the user would otherwise repeat a change that was made."""
        ontap.world.hidden_seconds, ontap.world.synchronous = 3600.0, synchronous
        for module in (mutation, reconcile):
            monkeypatch.setattr(module, "VISIBLE_S", 0.0)

        _, error, journal = attempt(slow, change)

        assert isinstance(error, OutcomeUnclear)
        assert settled(slow, change, journal) is Outcome.UNKNOWN

    @pytest.mark.parametrize("status", [200, 201, 202, 404, 400, 502])
    @pytest.mark.parametrize("takes_effect", [True, False])
    def test_the_page_of_a_proxy_leaves_a_change_in_doubt(
        self, status: int, takes_effect: bool, furnished: StorageBackend, ontap: Simulator
    ) -> None:
        kind = Kind.WEB_PAGE if takes_effect else Kind.WEB_PAGE_BEFORE
        ontap.fault(kind, method="POST", status=status)

        _, error, journal = attempt(furnished, "create")

        assert isinstance(error, OutcomeUnclear)
        assert settled(furnished, "create", journal) is (Outcome.DONE if takes_effect else Outcome.NOT_DONE)
        assert sent_twice(ontap) == []

    @pytest.mark.parametrize("status", [200, 302, 404, 408, 425, 429, 502, 503, 504])
    def test_the_page_of_a_proxy_does_not_prove_that_an_object_is_missing(
        self, status: int, furnished: StorageBackend, ontap: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage_backends.netapp.ontap.client._PAUSE_S", 0.001)
        ontap.fault(Kind.WEB_PAGE_BEFORE, method="GET", times=9, status=status)
        with pytest.raises(BackendUnavailable):
            furnished.list_snapshots("home", journal=journal())


class TestPages:
    """An empty page is not the end."""

    @pytest.mark.parametrize("times", [1, 3])
    def test_a_listing_continues_after_a_page_that_ended_early(
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
    def test_reasons_why_the_filer_is_unreachable(self, options: dict[str, Any], words: str, ontap: Simulator) -> None:
        with pytest.raises(BackendUnavailable) as refusal:
            open_backend(ontap, **options).list_volumes(journal=journal())
        assert words in refusal.value.detail

    @pytest.mark.timeout(8)
    def test_a_host_that_never_answers_is_unavailable(self, ontap: Simulator) -> None:
        with socket.socket() as full_server:
            full_server.bind(("127.0.0.1", 0))
            full_server.listen(0)
            blocked = [socket.socket() for _ in range(3)]
            for one in blocked:
                one.setblocking(False)
                one.connect_ex(full_server.getsockname())
            backend = open_backend(ontap, port=full_server.getsockname()[1], timeout_s=0.3)
            with pytest.raises(BackendUnavailable, match="in time"):
                backend.list_volumes(journal=journal())
            for one in blocked:
                one.close()

    def test_one_look_that_times_out_is_repeated(self, furnished: StorageBackend, ontap: Simulator) -> None:
        ontap.fault(Kind.HANG, method="GET", seconds=2.0)
        backend = open_backend(ontap, timeout_s=0.3)

        assert backend.update_volume("home", journal=journal(), size_total=200 * MIB).size_total is not None

    def test_a_look_is_not_repeated_without_end(self, furnished: StorageBackend, ontap: Simulator) -> None:
        class ShortTimeJournal(InMemoryJournal):
            until = time.monotonic() + 1.3

            @property
            def seconds_left(self) -> float:
                return self.until - time.monotonic()

        ontap.fault(Kind.HANG, method="GET", times=9, seconds=2.0)
        with pytest.raises(StorageError) as silence:
            open_backend(ontap, timeout_s=0.4).list_volumes(journal=ShortTimeJournal())
        assert silence.value.code == "backend-timeout"
        assert len(ontap.requests) <= 2


class TestLogins:
    """A refused login is left alone; a replaced password is used at once."""

    def test_a_wrong_password_is_not_retried(self, ontap: Simulator) -> None:
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
    """Listed, never changed."""

    @pytest.fixture(params=["dp", "ls", "root"])
    def kind(self, request: pytest.FixtureRequest, ontap: Simulator) -> str:
        furnish(ontap)
        home = next(iter(ontap.world.volumes.values()))
        if request.param == "root":
            home["is_svm_root"] = True
        else:
            home["type"] = request.param
        return str(request.param)

    def test_they_are_listed_with_type(self, kind: str, ontap: Simulator, backend: StorageBackend) -> None:
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
        assert ("the root volume" if kind == "root" else f"of type {kind}") in error.detail
        assert ontap.changes_sent() == []
        assert backend.list_locks("home", journal=journal()) != []


@pytest.mark.parametrize(
    ("code", "field", "kind", "pointers"),
    [
        (262197, '"qos.policy.name"', InvalidRequest, ["/qos_policy"]),
        (262179, "'qos.policy.name'", NotSupported, ["/qos_policy"]),
        (917628, '"qos.policy.name"', InvalidRequest, []),  # The code is about the volume's type, not about a field.
        (262197, '"return_timeout"', InvalidRequest, []),
    ],
)
def test_a_value_that_the_filer_refuses_points_to_the_setting(
    code: int, field: str, kind: type[StorageError], pointers: list[str], furnished: StorageBackend, ontap: Simulator
) -> None:
    message = f'The value "gold" is invalid for field {field}'
    ontap.fault(Kind.REFUSE, method="PATCH", status=400, code=code, message=message)
    with pytest.raises(kind) as refusal:
        furnished.update_volume("home", journal=journal(), comment="c", active_policy_name="team", qos_policy="gold")
    assert type(refusal.value) is kind
    assert [error.pointer for error in refusal.value.errors] == pointers
    assert refusal.value.backend_error is not None
    assert refusal.value.backend_error.code == str(code)
