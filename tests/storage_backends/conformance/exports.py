"""What every driver must do with export policies."""

from __future__ import annotations

import pytest

from storage_backends.base import StorageBackend
from storage_backends.errors import AlreadyExists, InvalidRequest, NoSuchPolicy, PolicyInUse
from storage_backends.models import ExportPolicy, Volume
from tests.storage_backends.conformance.subject import Conformance, NewJournal, names


class ExportConformance(Conformance):
    """Export policies and their rules."""

    RULES = ("192.0.2.0/24", "db01.example.org", "*.example.org", ".example.org", "@cluster", "2001:db8::/32")

    def test_a_new_policy_is_listed_and_found(self, backend: StorageBackend, journal: NewJournal) -> None:
        made = backend.create_policy("team", journal=journal(), rules=list(self.RULES))

        assert made == ExportPolicy("team", self.RULES)
        policy = backend.get_policy("team", journal=journal())
        assert policy.summary == made
        assert [(rule.index, rule.clients) for rule in policy.details] == [
            (index, (match,)) for index, match in enumerate(self.RULES, start=1)
        ]
        for rule in policy.details:
            assert (rule.ro, rule.rw, rule.superuser, rule.protocols) == (("sys",), ("sys",), ("sys",), ("nfs",))
        assert made in backend.list_policies(journal=journal())

    def test_duplicates_are_dropped_and_order_kept(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["b", "a", "b", "c", "a"])

        assert backend.get_policy("team", journal=journal()).rules == ("b", "a", "c")

    def test_a_policy_may_be_empty(self, backend: StorageBackend, journal: NewJournal) -> None:
        made = backend.create_policy("team", journal=journal(), rules=[])
        assert made == ExportPolicy("team")

    def test_a_taken_name_is_refused(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        with pytest.raises(AlreadyExists):
            backend.create_policy("team", journal=journal(), rules=["b"])
        assert backend.get_policy("team", journal=journal()).rules == ("a",)

    def test_patterns_match_no_policy(self, backend: StorageBackend, journal: NewJournal) -> None:
        for name in ("team", "work"):
            backend.create_policy(name, journal=journal(), rules=["a"])
        for pattern in ("*", "tea*", "team|work", "!work", '"team"', "TEAM", "a..z", "null"):
            with pytest.raises(NoSuchPolicy):
                backend.get_policy(pattern, journal=journal())
            with pytest.raises(NoSuchPolicy):
                backend.delete_policy(pattern, journal=journal())
            with pytest.raises(NoSuchPolicy):
                backend.ensure_policy_rule_present(pattern, "b", journal=journal())
            with pytest.raises(NoSuchPolicy):
                backend.ensure_policy_rule_absent(pattern, "a", journal=journal())
        for name in ("team", "work"):
            assert backend.get_policy(name, journal=journal()).rules == ("a",)

    def test_a_deleted_policy_is_gone(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])

        backend.delete_policy("team", journal=journal())

        assert "team" not in names(backend.list_policies(journal=journal()))
        with pytest.raises(NoSuchPolicy):
            backend.get_policy("team", journal=journal())
        with pytest.raises(NoSuchPolicy):
            backend.delete_policy("team", journal=journal())

    def test_a_policy_in_use_stays(self, backend: StorageBackend, home: Volume, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        backend.update_volume("home", journal=journal(), active_policy_name="team")

        with pytest.raises(PolicyInUse):
            backend.delete_policy("team", journal=journal())
        backend.update_volume("home", journal=journal(), active_policy_name="default")
        backend.delete_policy("team", journal=journal())

    def test_an_empty_rule_is_refused(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        for change in (
            lambda: backend.create_policy("other", journal=journal(), rules=["a", ""]),
            lambda: backend.ensure_policy_rule_present("team", "", journal=journal()),
        ):
            with pytest.raises(InvalidRequest) as refusal:
                change()
            assert [error.pointer for error in refusal.value.errors] == ["/rules"]
        assert {"default", "team"} >= set(names(backend.list_policies(journal=journal())))
        assert backend.get_policy("team", journal=journal()).rules == ("a",)

    def test_a_rule_is_appended_once(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a"])
        for _ in range(2):
            policy = backend.ensure_policy_rule_present("team", "*.example.org", journal=journal())
            assert policy.rules == ("a", "*.example.org")
        assert backend.get_policy("team", journal=journal()).summary == policy

    @pytest.mark.parametrize(
        ("there", "again", "canonical"),
        [
            ("Host.Example.ORG", "hOST.example.org", "host.example.org"),
            ("2001:0DB8::0:1", "2001:db8::1/128", "2001:db8::1"),
            ("10.1.2.3/255.255.0.0", "10.1.0.0/16", "10.1.0.0/16"),
            ("::ffff:192.0.2.1", "192.0.2.1/32", "192.0.2.1"),
        ],
    )
    def test_every_spelling_is_the_same_rule(
        self, there: str, again: str, canonical: str, backend: StorageBackend, journal: NewJournal
    ) -> None:
        assert backend.create_policy("team", journal=journal(), rules=["a", there, again]).rules == ("a", canonical)
        assert backend.ensure_policy_rule_present("team", again, journal=journal()).rules == ("a", canonical)
        assert backend.ensure_policy_rule_absent("team", again, journal=journal()).rules == ("a",)
        assert backend.ensure_policy_rule_present("team", there, journal=journal()).rules == ("a", canonical)

    def test_rules_with_another_meaning_stay(self, backend: StorageBackend, journal: NewJournal) -> None:
        rules = [".example.org", "*.example.org", "@Hosts", "@hosts", "10.0.0.0/8", "10.0.0.0/9"]
        backend.create_policy("team", journal=journal(), rules=rules)
        for rule in list(rules):
            rules.remove(rule)
            assert backend.ensure_policy_rule_absent("team", rule, journal=journal()).rules == tuple(rules)

    def test_a_rule_is_removed_and_order_kept(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=list(self.RULES))
        for _ in range(2):
            policy = backend.ensure_policy_rule_absent("team", "*.example.org", journal=journal())
            assert policy.rules == tuple(rule for rule in self.RULES if rule != "*.example.org")
        assert backend.get_policy("team", journal=journal()).summary == policy

    def test_patterns_match_no_rule(self, backend: StorageBackend, journal: NewJournal) -> None:
        backend.create_policy("team", journal=journal(), rules=["a", "b", "db01.example.org"])
        for pattern in ("*", "db*", "a|b", "!a", "*.org"):
            policy = backend.ensure_policy_rule_absent("team", pattern, journal=journal())
            assert policy.rules == ("a", "b", "db01.example.org")
