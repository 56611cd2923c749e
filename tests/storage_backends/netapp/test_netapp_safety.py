"""What must never happen: changes of other objects, unbounded changes, disclosed secrets, a parent's socket used."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage_backends.base import StorageBackend
from storage_backends.errors import NotFound
from storage_backends.journal import InMemoryJournal
from storage_backends.netapp import NetappStorage
from storage_backends.netapp.ontap.queries import next_page, quote_literal, url_of
from storage_backends.netapp.ontap.url_guard import UnboundedChange, require_one
from tests.ontap_simulator import Simulator
from tests.ontap_simulator.queries import matches
from tests.storage_backends.netapp.signed_in_drivers import open_backend

TRICKY = st.text(alphabet='*|!,<>."{}?ab \\&=#%+/null', min_size=1, max_size=12)


class TestNames:
    """Names are data."""

    @given(name=TRICKY, other=TRICKY)
    @example(name="null", other="null")
    @example(name="a..z", other="b")
    @example(name='"*"', other="*")
    def test_a_literal_matches_itself_alone(self, name: str, other: str) -> None:
        assert matches({"name": name}, {"name": quote_literal(name)})
        assert matches({"name": other}, {"name": quote_literal(name)}) == (name == other)
        assert not matches({}, {"name": quote_literal(name)})

    @pytest.mark.parametrize("name", ["null", "NULL", "Null"])
    def test_the_keyword_is_quoted_however_it_is_written(self, name: str) -> None:
        assert quote_literal(name) == f'"{name}"'

    def test_braces_in_a_name_with_quotation_marks_are_doubled(self) -> None:
        assert quote_literal('a"{b}') == '{a"{{b}}}'

    @given(name=TRICKY)
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_name_changes_another_object(self, name: str, ontap: Simulator) -> None:
        ontap.requests.clear()
        ontap.world.volumes.clear()
        ontap.world.effects.clear()
        home = ontap.world.add_volume("home", nas={"path": "/home"})
        ontap.world.add_snapshot(home, "before")
        backend = open_backend(ontap)
        for call in (
            lambda: backend.update_volume(name, journal=InMemoryJournal(), size_total=10**9),
            lambda: backend.restrict_volume(name, journal=InMemoryJournal()),
            lambda: backend.restrict_volume(f":/{name}", journal=InMemoryJournal()),
            lambda: backend.delete_snapshot("home", name, journal=InMemoryJournal()),
            lambda: backend.roll_back_volume("home", journal=InMemoryJournal(), from_snapshot=name),
            lambda: backend.delete_policy(name, journal=InMemoryJournal()),
            lambda: backend.remove_lock("home", name, journal=InMemoryJournal()),
        ):
            with contextlib.suppress(NotFound):
                call()
        assert ontap.changes_sent() == []

    def test_inexact_matches_of_the_client_are_rejected(
        self, ontap: Simulator, backend: StorageBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def inexact(values: list[Any], term: str) -> bool:
            return any(str(value).lower() == term.lower() for value in values)

        monkeypatch.setattr("tests.ontap_simulator.queries._term", inexact)
        ontap.world.add_snapshot(ontap.world.add_volume("home", nas={"path": "/Home"}), "before")
        ontap.world.add_policy(ontap.world.vserver, "team", [])
        # Paths are the same in upper and lower case, as the filer compares them; names are not.
        assert backend.get_volume(":/hOME", journal=InMemoryJournal()).name == "home"
        for call in (
            lambda: backend.restrict_volume("HOME", journal=InMemoryJournal()),
            lambda: backend.delete_snapshot("home", "BEFORE", journal=InMemoryJournal()),
            lambda: backend.delete_policy("TEAM", journal=InMemoryJournal()),
        ):
            with pytest.raises(NotFound):
                call()
        assert ontap.changes_sent() == []

    def test_values_stay_in_their_parameter(self) -> None:
        assert url_of("/x", {"name": 'a&b=c#d%e f+"'}) == "/api/x?name=a%26b=c%23d%25e%20f%2B%22"

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("/storage/volumes", {}),
            ("/storage/volumes", {"name": "home"}),
            ("/storage/volumes/", {}),
            ("/storage/volumes/*", {}),
            ("/storage/volumes/..", {}),
            ("/storage/volumes/a/snapshots", {"name": "x"}),
            ("/protocols/locks", {"client_address": "192.0.2.1"}),
            ("/protocols/nfs/export-policies", {}),
            ("/protocols/nfs/export-policies/1/rules", {}),
            ("/protocols/nfs/export-policies/1/rules", {"index": "*", "clients.match": "a"}),
            ("/protocols/nfs/export-policies/1/rules", {"index": "1", "clients.match": "a|b"}),
            ("/protocols/nfs/export-policies/1/rules", {"index": "1", "clients.match": "a", "rw_rule": "sys"}),
            ("/private/cli/volume", {"vserver": "vs1"}),
            ("/private/cli/volume", {"vserver": "vs1", "volume": "*"}),
            ("/private/cli/volume", {"vserver": "vs1", "volume": "a..b"}),
            ("/private/cli/volume", {"vserver": "", "volume": "home"}),
            ("/private/cli/volume", {"vserver": "vs1", "volume": 5}),
            ("/private/cli/vserver", {"vserver": "vs1", "volume": "home"}),
            ("/protocols/nfs/export-policies/1/rules", {"index": "1", "clients.match": ""}),
            ("/protocols/nfs/export-policies/1/rules/", {"index": "1", "clients.match": "a"}),
        ],
    )
    def test_a_change_of_more_than_one_object_is_never_sent(
        self, method: str, path: str, query: dict[str, str], ontap: Simulator, backend: NetappStorage
    ) -> None:
        with pytest.raises(UnboundedChange):
            backend._client.change(method, path, query, {}, journal=InMemoryJournal())
        assert ontap.requests == []

    @pytest.mark.parametrize(
        ("method", "path", "query"),
        [
            ("POST", "/storage/volumes", {"return_timeout": 0}),
            ("POST", "/storage/volumes/4-f/snapshots", {}),
            ("POST", "/protocols/nfs/export-policies", {}),
            ("POST", "/protocols/nfs/export-policies/12/rules", {}),
            ("PATCH", "/storage/volumes/4-f", {}),
            ("PATCH", "/cluster/jobs/4-f", {"action": "cancel"}),
            ("PATCH", "/private/cli/volume", {"vserver": "vs1", "volume": "home"}),
            ("DELETE", "/storage/volumes/4-f/snapshots/5-e", {}),
            ("DELETE", "/protocols/locks/4-f", {}),
            ("DELETE", "/protocols/nfs/export-policies/12", {}),
            ("DELETE", "/protocols/nfs/export-policies/12/rules/3", {}),
            ("DELETE", "/protocols/nfs/export-policies/12/rules/3/clients/a", {}),
            ("DELETE", "/protocols/nfs/export-policies/12/rules", {"index": 3, "clients.match": '"a..b"'}),
        ],
    )
    def test_a_change_of_one_object_is_sent(self, method: str, path: str, query: dict[str, object]) -> None:
        require_one(method, path, query)
        for other in ("GET", "PUT"):
            with pytest.raises(UnboundedChange):
                require_one(other, path, query)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/storage/volumes/4-f"),
            ("POST", "/protocols/nfs/export-policies/12"),
            ("POST", "/protocols/locks/4-f"),
            ("POST", "/private/cli/volume"),
            ("DELETE", "/private/cli/volume"),
        ],
    )
    def test_one_object_is_never_changed_by_another_method(self, method: str, path: str) -> None:
        with pytest.raises(UnboundedChange):
            require_one(method, path, {"vserver": "vs1", "volume": "home"})

    def test_one_volume_is_one_object_on_the_command_line(self) -> None:
        address = {"vserver": "vs1", "volume": '"a..b"'}
        require_one("PATCH", "/private/cli/volume", address)
        with pytest.raises(UnboundedChange):
            require_one("PATCH", "/private/cli/volume", {"vserver": "vs1"})
        with pytest.raises(UnboundedChange):
            require_one("POST", "/storage/volumes/a/b", {})

    def test_a_listing_never_leaves_its_client(self) -> None:
        assert next_page("http://elsewhere/api/x?start.uuid=1", "/x") == "/api/x?start.uuid=1"
        assert next_page("/api/y?start.uuid=1", "/x") is None
        assert next_page("/api/x", "/x") is None  # That would begin anew.
