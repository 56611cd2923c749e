"""Export rules: what access they give, and what spellings mean."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import ResourceBusy
from storage_backends.journal import InMemoryJournal
from storage_backends.models import ExportRule
from storage_backends.netapp.operations.export_rules import rules_of
from storage_backends.netapp.operations.rule_removal import holders
from tests.ontap_simulator import Kind, Simulator
from tests.ontap_simulator.protocols import insert_rule
from tests.ontap_simulator.world import full_rule
from tests.storage_backends.netapp.journals import clients, journal
from tests.storage_backends.netapp.lost_changes import reconciled


@pytest.fixture
def policy(ontap: Simulator) -> dict[str, Any]:
    return ontap.world.add_policy("vs1", "team", [["a"], ["b"], ["c"]])


class TestAccess:
    """Present means that the client has the access that our rules give."""

    def test_the_rights_of_rules_are_shown(self, ontap: Simulator, backend: StorageBackend) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(7, ["B"], ro_rule=["any"], rw_rule=["never"]), full_rule(2, ["a", "10.0.0.1/32"])]

        policy = backend.get_policy("team", journal=journal())

        assert policy.rules == ("a", "10.0.0.1", "b")
        assert policy.details == (
            ExportRule(2, ("a", "10.0.0.1"), ("sys",), ("sys",), ("sys",), ("nfs",)),
            ExportRule(7, ("b",), ("any",), ("never",), ("sys",), ("nfs",)),
        )
        assert policy.summary in backend.list_policies(journal=journal())  # Where the filer has them in no order.

    @pytest.mark.parametrize(
        "rights",
        [
            {"rw_rule": ["never"], "superuser": ["none"]},
            {"ro_rule": ["krb5"], "rw_rule": ["krb5"], "superuser": ["krb5"]},
            {"superuser": ["none"]},
            {"protocols": ["nfs3"]},
            {"protocols": ["any"], "rw_rule": ["never"]},
        ],
    )
    def test_a_rule_with_fewer_rights_is_reported_and_kept(
        self, rights: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"].append(full_rule(5, ["h"], **rights))

        with pytest.raises(ResourceBusy, match=r"Rule 5 \(h: ") as refusal:
            backend.ensure_policy_rule_present("team", "h", journal=journal())

        assert (refusal.value.retryable, refusal.value.transient) == (False, False)
        assert ontap.changes_sent() == []

    @pytest.mark.parametrize(
        ("wide", "narrow"),
        [("10.0.0.0/8", "10.1.2.3"), ("0.0.0.0/0", "h"), ("::/0", "h"), (".example.org", "h.example.org"),
         ("::/0", "2001:db8::1"), ("10.0.0.0/255.0.0.0", "10.1.0.0/16")],
    )  # fmt: skip
    def test_an_earlier_rule_that_shadows_it_is_reported(
        self, wide: str, narrow: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(1, [wide], rw_rule=["never"]), full_rule(2, ["other"])]
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", narrow, journal=journal())
        team["rules"][0]["protocols"] = []  # As if for all of them.
        team["rules"].append(full_rule(3, [narrow]))  # It exists, and is never reached.
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", narrow, journal=journal())
        assert ontap.changes_sent() == []

    @pytest.mark.parametrize("other", [["cifs"], ["cifs", "flexcache"]])
    def test_a_rule_of_another_protocol_does_not_shadow(
        self, other: list[str], ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(1, ["0.0.0.0/0"], rw_rule=["never"], protocols=other)]

        assert backend.ensure_policy_rule_present("team", "h", journal=journal()).rules == ("0.0.0.0/0", "h")

    @pytest.mark.parametrize("other", [["cifs"], ["cifs", "flexcache"]])
    def test_a_rule_of_another_protocol_is_not_the_rule(
        self, other: list[str], ontap: Simulator, backend: StorageBackend
    ) -> None:
        """The client would have no access by NFS."""
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(1, ["H"], protocols=other)]
        lost = InMemoryJournal()
        lost.record_intent("add-rule")
        arguments = {"policy": "team", "rule": "h"}
        assert reconciled(backend, lost, "ensure_policy_rule_present", arguments).outcome is Outcome.NOT_DONE

        assert backend.ensure_policy_rule_present("team", "h", journal=journal()).rules == ("h",)

        assert [rule["protocols"] for rule in team["rules"]] == [other, ["nfs"]]
        assert reconciled(backend, lost, "ensure_policy_rule_present", arguments).outcome is Outcome.DONE

    def test_a_rule_that_prevents_others_is_reported(self, ontap: Simulator, backend: StorageBackend) -> None:
        team = ontap.world.add_policy("vs1", "team", [])
        team["rules"] = [full_rule(4, ["h"], protocols=["cifs"])]
        ontap.fault(Kind.REFUSE, method="POST", status=409, code=1704070)

        with pytest.raises(ResourceBusy, match=r"Rule 4 \(h: ") as refusal:
            backend.ensure_policy_rule_present("team", "h", journal=journal())

        assert (refusal.value.retryable, refusal.value.transient) == (False, False)

    @pytest.mark.parametrize(
        "rights",
        [
            {"rw_rule": ["any"]},
            {"rw_rule": ["krb5", "sys"]},
            {"protocols": ["any"]},
            {"superuser": []},
            {"protocols": []},
        ],
    )
    def test_a_rule_that_gives_as_much_is_enough(
        self, rights: dict[str, Any], ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        policy["rules"].append(full_rule(5, ["h"], **rights))

        backend.ensure_policy_rule_present("team", "H", journal=journal())

        assert ontap.changes_sent() == []

    def test_a_wider_rule_that_gives_as_much_is_not_the_rule(self, ontap: Simulator, backend: StorageBackend) -> None:
        """It may be removed; the requested rule stays."""
        team = ontap.world.add_policy("vs1", "team", [["10.0.0.0/8"]])

        after = backend.ensure_policy_rule_present("team", "10.1.2.3", journal=journal())

        assert after.rules == ("10.0.0.0/8", "10.1.2.3")
        assert team["rules"][1] == full_rule(2, ["10.1.2.3"])

    def test_a_denying_rule_added_meanwhile_is_reported(
        self, ontap: Simulator, backend: StorageBackend, policy: dict[str, Any]
    ) -> None:
        handle = ontap.handle

        def intruding(request: Any) -> Any:
            if request.method == "POST":
                insert_rule(policy, full_rule(1, ["0.0.0.0/0"], ro_rule=["never"]))
            return handle(request)

        ontap.handle = intruding  # type: ignore[method-assign]
        with pytest.raises(ResourceBusy, match="Rule 1 "):
            backend.ensure_policy_rule_present("team", "h", journal=journal())


class TestSpellings:
    """Every spelling of a client is that client."""

    @pytest.mark.parametrize(
        ("there", "spelling"),
        [
            ("2001:db8::1", "2001:0DB8:0:0::0001"), ("2001:0db8::1", "2001:db8::1/128"),
            ("H.Example.ORG", "h.example.org"), ("10.0.0.1/32", "10.0.0.1"), ("*.Example.org", "*.example.ORG"),
            ("10.1.0.0/255.255.0.0", "10.1.2.3/16"), ("::ffff:192.0.2.1", "192.0.2.1"),
        ],
    )  # fmt: skip
    def test_a_rule_is_found_and_removed(
        self, there: str, spelling: str, ontap: Simulator, backend: StorageBackend
    ) -> None:
        team = ontap.world.add_policy("vs1", "team", [["x"], [there, "y"], [there]])
        rules = backend.get_policy("team", journal=journal()).rules
        assert len(rules) == 3

        assert backend.ensure_policy_rule_present("team", spelling, journal=journal()).rules == rules
        assert ontap.changes_sent() == []
        assert backend.ensure_policy_rule_absent("team", spelling, journal=journal()).rules == ("x", "y")
        assert clients(team) == [["x"], ["y"]]

    def test_rules_are_made_in_canonical_form(self, ontap: Simulator, backend: StorageBackend) -> None:
        made = backend.create_policy(
            "team", journal=journal(), rules=["H", "h", "10.0.0.9/8", "10.0.0.0/255.0.0.0", "@Net", "@net", ".d", "*.d"]
        )
        assert made.rules == ("h", "10.0.0.0/8", "@Net", "@net", ".d", "*.d")

    @pytest.mark.parametrize(
        ("there", "spelling"), [("2001:0DB8::1", "2001:db8::1"), ("H1.example.org", "h1.EXAMPLE.org")]
    )
    def test_lock_hosts_too(self, there: str, spelling: str, ontap: Simulator, backend: StorageBackend) -> None:
        home = ontap.world.add_volume("home")
        ontap.world.add_lock(home, there)
        ontap.world.add_lock(home, "192.0.2.9")
        first, _ = backend.list_locks("home", journal=journal())
        assert first.host == spelling.lower()

        backend.remove_lock("home", spelling, journal=journal())

        assert [lock["client_address"] for lock in ontap.world.locks.values()] == ["192.0.2.9"]


def test_a_client_is_matched_in_each_of_its_spellings() -> None:
    rules = rules_of([full_rule(1, ["A", "a", "b"]), full_rule(2, ["b"]), full_rule(3, ["a"])], "team")
    assert [holders(rules, client) for client in ("a", "b", "c")] == [3, 2, 0]
